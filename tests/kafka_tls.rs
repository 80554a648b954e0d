//! TLS and passwords at a real Kafka broker, for sources and sinks: the right ones work, wrong ones are told in plain
//! words, and no secret is in anything that is put out.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tidewatch_env::{Clock, RealClock};

use crate::broker::{Broker, PASSWORD, USER, flush, send};
use crate::kafka::wait;
use crate::kafka_alerts::{read, sinks, write_wave};
use crate::server::{Home, Server, Start, run};

const WRONG_PASSWORD: &str = "wrong-secret-0815";

/// How a client comes in: its name, whether by a password, and its options.
struct Door {
    name: &'static str,
    has_password: bool,
    options: String,
    /// The variable of the environment that holds the password.
    password: &'static str,
    /// What is told of a client that does not come in.
    told: Option<&'static str>,
}

fn doors(right: &Path, wrong: &Path) -> Vec<Door> {
    let ca = |file: &Path| format!("\"ssl.ca.location\" = \"{}\"", file.display());
    let sasl = |mechanism: &str| {
        format!(
            "\"security.protocol\" = \"sasl_ssl\", \"sasl.mechanism\" = \"{mechanism}\", \
             \"sasl.username\" = \"{USER}\""
        )
    };
    let scram = sasl("SCRAM-SHA-256");
    let by_password = |name, options: &str, password, told| Door {
        name,
        has_password: true,
        options: format!("{options}, {}", ca(right)),
        password,
        told,
    };
    let by_certificate = |name, options: String, told| Door {
        name,
        has_password: false,
        options: format!("\"security.protocol\" = \"ssl\"{options}"),
        password: "RIGHT",
        told,
    };
    vec![
        by_password("scram", &scram, "RIGHT", None),
        by_password("plain", &sasl("PLAIN"), "RIGHT", None),
        by_certificate("ssl", format!(", {}", ca(right)), None),
        by_password("wrong-password", &scram, "WRONG", Some("Authentication failed")),
        by_password("wrong-plain", &sasl("PLAIN"), "WRONG", Some("Authentication failed")),
        by_certificate("wrong-ca", format!(", {}", ca(wrong)), Some("certificate")),
        by_certificate("no-ca", String::new(), Some("certificate")),
    ]
}

/// A source and a sink for each door.
fn config(doors: &[Door], broker: &Broker) -> String {
    let mut text = "[[rule]]\nname = \"too hot\"\nmatch = { metric = \"temperature\" }\n\
                    when = \"value > 50\"\n\n"
        .to_owned();
    for Door { name, has_password, options, password, .. } in doors {
        let brokers = if *has_password { broker.sasl_ssl() } else { broker.ssl() };
        let common = format!(
            "name = \"{name}\"\nbrokers = \"{brokers}\"\noptions = {{ {options} }}\n\
             options_env = {{ {} }}\n",
            if *has_password {
                format!("\"sasl.password\" = \"{password}\"")
            } else {
                String::new()
            }
        );
        text.push_str(&format!(
            "[[source.kafka]]\n{common}topics = [\"load\"]\ndb = \"db_{name}\"\n\n"
        ));
        text.push_str(&format!("[[sink.kafka]]\n{common}topic = \"alerts\"\n\n"));
    }
    text
}

fn sources(server: &Server) -> String {
    let health = server.get("/api/v1/health").json();
    let components = health["components"].as_array().unwrap();
    let sources = components.iter().find(|part| part["name"] == "sources").unwrap();
    sources["message"].as_str().unwrap().to_owned()
}

/// What health tells of one of several, after its name.
fn told_of(message: &str, name: &str) -> Option<String> {
    let parts = message.split("; ").skip_while(|part| !part.starts_with(&format!("{name}: ")));
    parts.take(1).next().map(str::to_owned)
}

/// Warnings and errors in the log about a source or a sink.
fn warnings<'a>(log: &'a str, kind: &str, name: &str) -> Vec<&'a str> {
    let of = |line: &&str| {
        let is_warning = line.contains("\"WARN\"") || line.contains("\"ERROR\"");
        is_warning && line.contains(&format!("\"{kind}\":\"{name}\""))
    };
    log.lines().filter(of).collect()
}

#[test]
fn right_certificates_and_passwords_work_and_wrong_ones_are_told_without_their_secrets() {
    let home = Home::new();
    let issue = || rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (ours, other) = (issue(), issue());
    let keystore = ours.signing_key.serialize_pem() + &ours.cert.pem();
    let Some(broker) = Broker::locked(&home.file("broker"), &keystore) else { return };
    broker.create("load", 1, &[]);
    broker.create("alerts", 1, &[]);
    let (right, wrong) = (home.file("ca.pem"), home.file("other.pem"));
    fs::write(&right, ours.cert.pem()).unwrap();
    fs::write(&wrong, other.cert.pem()).unwrap();
    let doors = doors(&right, &wrong);
    let file = home.file("tidewatch.toml");
    fs::write(&file, config(&doors, &broker)).unwrap();
    let start = Start::on(&home.data()).config(&file).env("RIGHT", PASSWORD);
    let clock = RealClock::new();
    let server = start.env("WRONG", WRONG_PASSWORD).up();

    let (good, bad): (Vec<_>, Vec<_>) = doors.iter().partition(|door| door.told.is_none());
    wait(&server, "all troubles", || {
        let messages = [sources(&server), sinks(&server).1];
        bad.iter().all(|door| {
            let is_told = |message: &String| {
                told_of(message, door.name).is_some_and(|told| told.contains(door.told.unwrap()))
            };
            messages.iter().all(is_told)
        })
    });
    let took = clock.monotonic();
    let producer = broker.producer();
    let sample = b"{\"metric\":\"load\",\"time\":1700000000,\"value\":1}";
    send(&producer, "load", 0, Some(sample));
    flush(&producer);
    wait(&server, "the message through each door", || {
        server.number("SELECT count(*) FROM tidewatch.arrivals") == good.len() as u64
    });
    write_wave(&server, 1, RealClock::new().now().nanos() / 1_000_000_000 - 600);
    wait(&server, "the alert through each door", || {
        read(&broker.address(), "alerts", 1).len() == 2 * good.len()
    });
    let tried = "SELECT DISTINCT sink, outcome FROM tidewatch.deliveries ORDER BY sink";
    wait(&server, "attempts at each door", || server.sql(tried).len() == doors.len());
    for row in server.sql(tried) {
        let is_good = good.iter().any(|door| row["sink"] == door.name);
        assert_eq!(row["outcome"], if is_good { "delivered" } else { "retry" }, "{row}");
    }

    let log = fs::read_to_string(home.data().with_extension("stderr")).unwrap();
    for text in [
        log.clone(),
        server.get("/api/v1/health").body,
        server.get("/metrics").body,
        Value::Array(server.sql("SELECT * FROM tidewatch.deliveries")).to_string(),
        format!("{:?}", run(&["check", "--json", "--config", file.to_str().unwrap()])),
    ] {
        assert!(!text.contains("-secret-"), "{text}");
    }
    for Door { name, told, .. } in bad {
        for kind in ["source", "sink"] {
            let warnings = warnings(&log, kind, name);
            let [warning] = warnings[..] else { panic!("{name}: {warnings:#?}") };
            assert!(warning.contains(told.unwrap()), "{warning}");
        }
    }
    assert!(took.as_secs() < 60, "{took:?}");
    assert_eq!(server.stop(), 0);
}
