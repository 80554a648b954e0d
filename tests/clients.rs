//! Clients that no one here wrote: the Influx project's own, for its three versions, and curl.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::server::{Home, Server, tell};

/// The Python with the clients of `tests/clients.txt`, which `./test` installs.
pub(crate) fn python() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/clients/bin/python");
    // A half installed environment is none.
    python.exists().then_some(python).filter(|_| root.join("target/clients/requirements").exists())
}

/// Runs a client, which writes ten samples of the metric `metric` into `db`.
fn client_writes(script: &str, db: &str, metric: &str) {
    let Some(python) = python() else {
        return tell(&format!("target/clients is not there: {script} is skipped; ./test makes it"));
    };
    let home = Home::new();
    let server = home.serve();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script);
    let (host, port) = server.address.split_once(':').unwrap();
    let output = Command::new(python).arg(script).args([host, port]).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "a client that warns is not served well");
    assert_rows(&server, db, metric);
    assert_eq!(server.stop(), 0);
}

/// Ten rows, one second apart, half of them by host `a`.
fn assert_rows(server: &Server, db: &str, metric: &str) {
    let rows = server.sql(&format!(
        "SELECT host, count(*) AS n, sum(value) AS sum, min(time) AS first, max(time) AS last \
         FROM \"{db}\".\"{metric}\" GROUP BY host ORDER BY host"
    ));
    let expected = serde_json::json!([
        { "host": "a", "n": 5, "sum": 22.5,
          "first": "2023-11-14T22:13:20Z", "last": "2023-11-14T22:13:28Z" },
        { "host": "b c", "n": 5, "sum": 27.5,
          "first": "2023-11-14T22:13:21Z", "last": "2023-11-14T22:13:29Z" },
    ]);
    assert_eq!(serde_json::Value::Array(rows), expected);
}

#[test]
fn the_client_of_influxdb_1_makes_a_database_and_writes() {
    client_writes("v1.py", "lab", "cpu");
}

#[test]
fn the_client_of_influxdb_2_writes() {
    client_writes("v2.py", "lab", "cpu");
}

#[test]
fn the_client_of_influxdb_3_writes() {
    client_writes("v3.py", "lab", "cpu");
}

#[test]
fn curl_writes_as_the_first_page_says() {
    if Command::new("curl").arg("--version").output().is_err() {
        return tell("curl is not here (skipped)");
    }
    let home = Home::new();
    let server = home.serve();
    let url = format!("{}/write", server.url());
    let curl = ["-sS", "-o", "/dev/stderr", "-w", "%{http_code}", "-d", "cpu,host=a value=0.64"];
    let output = Command::new("curl").args(curl).arg(&url).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "204", "{output:?}");
    let rows = server.sql("SELECT host, value FROM cpu");
    assert_eq!(rows, [serde_json::json!({ "host": "a", "value": 0.64 })]);
}

/// A child that ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn prometheus_writes_what_it_scrapes_of_this_server() {
    if Command::new("prometheus").arg("--version").output().is_err() {
        return tell("prometheus is not here: its remote write is skipped; Debian has it");
    }
    let home = Home::new();
    let server = home.serve();
    let config = home.file("prometheus.yml");
    let text = format!(
        "global: {{ scrape_interval: 1s }}\n\
         scrape_configs: [{{ job_name: tidewatch, static_configs: [{{ targets: [\"{0}\"] }}] }}]\n\
         remote_write: [{{ url: \"http://{0}/api/v1/write?db=prometheus\" }}]\n",
        server.address
    );
    std::fs::write(&config, text).unwrap();
    let mut prometheus = Command::new("prometheus");
    prometheus
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", home.file("tsdb").display()))
        .arg("--web.listen-address=127.0.0.1:0")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let prometheus = Ends(prometheus.spawn().unwrap());
    let count = "SELECT count(*) FROM tidewatch.samples WHERE db = 'prometheus' AND metric = 'up'";
    let arrived = (0..600).any(|_| {
        std::thread::park_timeout(Duration::from_millis(200));
        server.number(count) >= 3
    });
    assert!(arrived, "nothing of Prometheus arrived");
    drop(prometheus);
    let up = server.sql("SELECT DISTINCT value, instance, job FROM prometheus.up");
    let expected =
        serde_json::json!({ "value": 1.0, "instance": server.address, "job": "tidewatch" });
    assert_eq!(up, [expected]);
    let own = "SELECT count(*) FROM prometheus.tidewatch_connectors_samples_decoded_total";
    assert!(server.number(own) >= 3);
    let metrics = server.get("/metrics").body;
    assert!(!metrics.contains("samples_rejected_total{"), "{metrics}");
}
