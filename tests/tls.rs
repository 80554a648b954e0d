//! TLS: the server with a certificate, its change while it runs, and clients that trust it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidewatch_env::{Clock, RealClock};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::server::{Home, Server, Start, run};

/// A changed certificate is seen at the first connection after a second.
const SEEN_WITHIN: Duration = Duration::from_secs(30);

/// A certificate for this machine and its key.
fn issued() -> (String, String) {
    let issued = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    (issued.cert.pem(), issued.signing_key.serialize_pem())
}

struct Files {
    cert: PathBuf,
    key: PathBuf,
}

impl Files {
    fn new(home: &Home) -> Self {
        Self { cert: home.file("cert.pem"), key: home.file("key.pem") }
    }

    fn put(&self, (cert, key): &(String, String)) {
        fs::write(&self.cert, cert).unwrap();
        fs::write(&self.key, key).unwrap();
    }

    fn serve(&self, home: &Home) -> Server {
        let set = |name: &str, path: &PathBuf| format!("http.tls.{name}={}", path.display());
        let start = Start::on(&home.data()).set(&set("cert", &self.cert));
        start.set(&set("key", &self.key)).up()
    }
}

/// The exit code of a statement that trusts the certificates in `ca`.
fn query(server: &Server, ca: &[&str]) -> Option<i32> {
    let url = format!("https://{}", server.address);
    run(&[&["query", "--url", &url, "SELECT 1"], ca].concat()).status.code()
}

#[test]
fn connections_are_encrypted_and_the_certificate_may_change_while_the_server_runs() {
    let home = Home::new();
    let files = Files::new(&home);
    let (first, second) = (issued(), issued());
    files.put(&first);
    let server = files.serve(&home);
    let (old, new) = (home.file("old.pem"), home.file("new.pem"));
    fs::write(&old, &first.0).unwrap();
    fs::write(&new, &second.0).unwrap();
    let [old, new] = [&old, &new].map(|ca| ["--ca-file", ca.to_str().unwrap()]);
    assert_eq!(query(&server, &old), Some(0));
    assert_eq!(query(&server, &new), Some(3), "signed by nobody whom the client trusts");
    assert_eq!(query(&server, &[]), Some(3));
    let plain = run(&["query", "--url", &server.url(), "SELECT 1"]);
    assert_eq!(plain.status.code(), Some(3), "nothing is told without encryption: {plain:?}");
    // A certificate that is no more than half of another one is not used.
    fs::write(&files.cert, "-----BEGIN CERTIFICATE-----\n").unwrap();
    let clock = RealClock::new();
    let log = || fs::read_to_string(home.file("data.stderr")).unwrap();
    while !log().contains("the old one is kept") {
        assert!(clock.monotonic() < SEEN_WITHIN, "{}", log());
        assert_eq!(query(&server, &old), Some(0));
    }
    files.put(&second);
    let clock = RealClock::new();
    while query(&server, &new) != Some(0) {
        assert!(clock.monotonic() < SEEN_WITHIN, "the new certificate is not used: {}", log());
    }
    assert_eq!(query(&server, &old), Some(3), "the old one is gone");
    let metrics = |root: &str| {
        let roots = Arc::new(vec![Certificate::from_pem(root.as_bytes()).unwrap()]);
        let tls = TlsConfig::builder().root_certs(RootCerts::Specific(roots)).build();
        let agent = ureq::Agent::config_builder().proxy(None).tls_config(tls).build().new_agent();
        agent.get(format!("https://{}/metrics", server.address)).call().unwrap()
    };
    let mut answer = metrics(&second.0);
    assert!(
        answer.headers()["strict-transport-security"].to_str().unwrap().starts_with("max-age=")
    );
    let text = answer.body_mut().read_to_string().unwrap();
    let line =
        text.lines().find_map(|line| line.strip_prefix("tidewatch_http_tls_failures_total "));
    assert!(line.unwrap().parse::<u64>().unwrap() >= 3, "those that were not agreed on: {line:?}");
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_server_whose_certificate_cannot_be_used_does_not_start() {
    let home = Home::new();
    let files = Files::new(&home);
    let ((cert, _), (_, key)) = (issued(), issued());
    files.put(&(cert, key));
    let data = home.data();
    let [cert, key] = [("cert", &files.cert), ("key", &files.key)]
        .map(|(name, path)| format!("http.tls.{name}={}", path.display()));
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap(), "--set"];
    for (settings, told) in [
        (vec![&*cert, "--set", &*key], "cert.pem"),
        (vec![&*cert], "http.tls.key is missing"),
        (vec!["http.tls.cert=/nowhere", "--set", &*key], "/nowhere"),
    ] {
        let output = run(&[&serve, &*settings].concat());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(told), "{told}: {output:?}");
    }
}
