//! Rules that a machine can check: arrows between crates, sizes of files, links in documents.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file, tests apart.
const FILE_LINES_MAX: usize = 600;

/// What each crate may use of the others (ARCHITECTURE.md): arrows point down, siblings are blind.
const ARROWS: [(&str, &[&str]); 12] = [
    ("metrics", &[]),
    ("env", &["metrics"]),
    ("operators", &["metrics"]),
    ("wal", &["env", "metrics"]),
    ("kafka", &[]),
    ("connectors", &["env", "kafka", "metrics"]),
    ("sinks", &["env", "kafka", "metrics"]),
    ("segments", &["env", "metrics"]),
    ("eval", &["connectors", "env", "metrics", "operators"]),
    ("query", &["env", "metrics", "operators", "segments"]),
    ("engine", &["connectors", "env", "metrics", "operators", "segments", "sinks", "wal"]),
    (
        ".",
        &[
            "connectors",
            "engine",
            "env",
            "eval",
            "kafka",
            "metrics",
            "operators",
            "query",
            "segments",
            "sinks",
            "wal",
        ],
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `dir` that git would track, by ending.
fn files(dir: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" && name != "tidewatch-data" {
                files(&path, ending, found);
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

fn all(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(root(), ending, &mut found);
    found.sort();
    assert!(!found.is_empty(), "no file ends with {ending}");
    found
}

#[test]
fn arrows_between_crates_point_down() {
    for (crate_dir, allowed) in ARROWS {
        let manifest = fs::read_to_string(root().join(crate_dir).join("Cargo.toml")).unwrap();
        let package = manifest.split("[package]").nth(1).unwrap();
        let dependencies = package.split("[dev-dependencies]").next().unwrap();
        let used = dependencies.lines().filter_map(|line| line.strip_prefix("tidewatch-"));
        for used in used.map(|line| line.split(['.', ' ']).next().unwrap()) {
            assert!(allowed.contains(&used), "{crate_dir} may not use {used}");
        }
    }
}

#[test]
fn every_crate_folder_is_known_here() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = manifest.lines().find(|line| line.starts_with("members = ")).unwrap();
    for member in members.split('"').skip(1).step_by(2) {
        assert!(ARROWS.iter().any(|(known, _)| *known == member), "{member} has no arrows");
    }
}

#[test]
fn the_first_command_of_the_readme_finds_its_program() {
    // `cargo run` takes the only program, or the one that a package names. It is asked, and not run: without the
    // tests' features it would build everything once more.
    let cargo = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    let told: serde_json::Value = serde_json::from_slice(&cargo.stdout).unwrap();
    let packages = told["packages"].as_array().unwrap();
    let named: Vec<_> = packages.iter().filter_map(|one| one["default_run"].as_str()).collect();
    assert_eq!(named, ["tidewatch"]);
}

#[test]
fn no_file_is_longer_than_it_may_be() {
    for path in all(".rs") {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with("_tests.rs") || path.starts_with(root().join("tests")) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        assert!(code <= FILE_LINES_MAX, "{} has {code} lines", path.display());
    }
}

#[test]
fn async_is_only_where_it_belongs() {
    let allowed = ["src", "query", "tests"].map(|dir| root().join(dir));
    for path in all(".rs") {
        if allowed.iter().any(|dir| path.starts_with(dir)) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("async fn"), "{} is async", path.display());
    }
}

#[test]
fn links_in_documents_lead_somewhere() {
    for path in all(".md") {
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#', ' ']).next().unwrap();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let there = path.parent().unwrap().join(target);
            assert!(there.exists(), "{} links to {target}", path.display());
        }
    }
}

#[test]
fn files_named_in_the_architecture_exist() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let named = text.split('`').skip(1).step_by(2).filter(|word| word.ends_with(".rs"));
    let mut count = 0;
    for file in named {
        assert!(root().join(file).exists(), "ARCHITECTURE.md names {file}");
        count += 1;
    }
    assert!(count > 10, "a sample's way is told by files");
}

/// Words that were replaced by a term of the glossary: one word per thing.
#[test]
fn documents_use_the_words_of_the_glossary() {
    let banned: BTreeMap<&str, &str> = BTreeMap::from([
        ("memtable", "head"),
        ("watermark", "tick"),
        ("time series database", "stream-processing engine"),
        ("datapoint", "sample"),
        ("data point", "sample"),
    ]);
    for path in all(".md") {
        let text = fs::read_to_string(&path).unwrap().to_lowercase();
        for (word, instead) in &banned {
            assert!(!text.contains(word), "{}: say {instead}, not {word}", path.display());
        }
    }
}
