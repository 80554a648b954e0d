//! The kept corpora of the fuzz targets, held against the same oracles.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use crate::decode::oracle::TARGETS;

/// Bytes of one corpus: people clone them.
const CORPUS_BYTES_MAX: usize = 1 << 20;

/// The entries of a folder of `fuzz`, in order.
fn entries(folder: &str) -> Vec<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(folder);
    let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_check_has_its_fuzz_target_and_its_corpus() {
    let names = |folder: &str| -> Vec<String> {
        let stem = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
        entries(folder).iter().map(stem).collect()
    };
    let targets: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names("fuzz_targets"), targets);
    assert_eq!(names("corpus"), targets);
}

#[test]
fn what_was_found_by_fuzzing_is_decoded_as_it_must_be() {
    for (name, check) in TARGETS {
        let (mut files, mut corpus_bytes) = (0, 0);
        for path in entries(&format!("corpus/{name}")) {
            let bytes = fs::read(&path).unwrap();
            catch_unwind(|| check(&bytes))
                .unwrap_or_else(|_| panic!("{} is not decoded as it must be", path.display()));
            files += 1;
            corpus_bytes += bytes.len();
        }
        assert!(files >= 20, "the corpus of {name} has {files} files");
        assert!(corpus_bytes <= CORPUS_BYTES_MAX, "that of {name} has {corpus_bytes} bytes");
    }
}
