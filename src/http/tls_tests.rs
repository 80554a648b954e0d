use tidewatch_env::SimClock;
use tidewatch_metrics::UnixNanos;

use super::*;

/// A certificate for `name` and its key.
fn issued(name: &str) -> (String, String) {
    let issued = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    (issued.cert.pem(), issued.signing_key.serialize_pem())
}

struct Files {
    _dir: tempfile::TempDir,
    config: TlsConfig,
    clock: Arc<SimClock>,
}

impl Files {
    fn with((cert, key): &(String, String)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config =
            TlsConfig { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
        let clock = Arc::new(SimClock::new(UnixNanos::new(0)));
        let files = Self { _dir: dir, config, clock };
        files.put(cert, key);
        files
    }

    /// Replaces both files, as of another moment than before.
    fn put(&self, cert: &str, key: &str) {
        for (path, text) in [(&self.config.cert, cert), (&self.config.key, key)] {
            let before = fs::metadata(path).and_then(|metadata| metadata.modified());
            fs::write(path, text).unwrap();
            let at = before.unwrap_or(SystemTime::UNIX_EPOCH) + Duration::from_secs(5);
            fs::File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
        }
    }

    fn open(&self) -> Result<Tls, TlsError> {
        Tls::open(&self.config, Arc::<SimClock>::clone(&self.clock))
    }
}

#[test]
fn a_changed_certificate_is_used_once_it_is_good() {
    let [first, second] = ["one.test", "two.test"].map(issued);
    let files = Files::with(&first);
    let tls = files.open().unwrap();
    let old = tls.config();
    files.put(&second.0, &second.1);
    assert!(Arc::ptr_eq(&old, &tls.config()), "looked at once a second");
    files.clock.advance(LOOK_PAUSE);
    let new = tls.config();
    assert!(!Arc::ptr_eq(&old, &new), "read again");
    files.clock.advance(LOOK_PAUSE);
    assert!(Arc::ptr_eq(&new, &tls.config()), "unchanged files are not read again");
    for (cert, key) in [(&*first.0, &*second.1), ("rubbish", &*second.1), ("", "")] {
        files.put(cert, key);
        files.clock.advance(LOOK_PAUSE);
        assert!(Arc::ptr_eq(&new, &tls.config()), "a bad one is not used");
    }
    files.put(&first.0, &first.1);
    files.clock.advance(LOOK_PAUSE);
    assert!(!Arc::ptr_eq(&new, &tls.config()), "and a good one after it is");
}

#[test]
fn what_cannot_be_used_is_told_with_its_file() {
    let [good, other] = ["one.test", "two.test"].map(issued);
    for (cert, key, file, told) in [
        ("", &*good.1, "cert.pem", "no certificate"),
        (&*good.1, &*good.1, "cert.pem", "no certificate"),
        (&*good.0, "rubbish", "key.pem", "no private key"),
        (&*good.0, &*other.1, "cert.pem", "cannot be used with its key"),
    ] {
        let files = Files::with(&(cert.to_owned(), key.to_owned()));
        let error = files.open().unwrap_err().to_string();
        assert!(error.contains(file) && error.contains(told), "{error}");
    }
    let files = Files::with(&good);
    fs::remove_file(&files.config.key).unwrap();
    assert!(files.open().unwrap_err().to_string().contains("key.pem"));
}
