//! What `deploy` has, as far as it can be tried without containers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::server::{Home, run, tell};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

#[test]
fn the_configuration_is_good_and_its_names_are_those_of_the_services() {
    let config = file("tidewatch.toml");
    let output = run(&["check", "--config", config.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let config: toml::Table = fs::read_to_string(config).unwrap().parse().unwrap();
    let compose = fs::read_to_string(file("compose.yaml")).unwrap();
    let (source, sink) = (&config["source"]["kafka"][0], &config["sink"]["kafka"][0]);
    let topics = [&source["topics"][0], &sink["topic"]].map(|topic| topic.as_str().unwrap());
    assert!(compose.contains(&format!("for topic in {}:8 {}:1;", topics[0], topics[1])));
    assert!(compose.contains(&format!("--topic {} ", topics[0])));
    for brokers in [&source["brokers"], &sink["brokers"]] {
        let address = format!("INSIDE://{},", brokers.as_str().unwrap());
        assert!(compose.contains(&address), "{address}");
    }
}

#[test]
fn the_producers_lines_are_samples_behind_their_keys() {
    let made =
        Command::new("awk").args(["-v", "seconds=1", "-f"]).arg(file("samples.awk")).output();
    let Ok(made) = made else { return tell("awk is not there: the producer is not tested") };
    let text = String::from_utf8(made.stdout).unwrap();
    let parts: Vec<_> = text.lines().map(|line| line.split_once('|').unwrap()).collect();
    assert_eq!(parts.iter().map(|(key, _)| *key).collect::<Vec<_>>(), ["web-1", "web-2", "web-3"]);
    let home = Home::new();
    let server = home.serve();
    let samples: Vec<_> = parts.iter().map(|(_, sample)| *sample).collect();
    let lines = [("Content-Type", "application/x-ndjson")];
    let answer = server.post_with("/api/v1/write", &lines, samples.join("\n"));
    assert!((200..300).contains(&answer.status), "{}", answer.body);
    let sql = "SELECT count(*) FROM cpu_user WHERE host LIKE 'web-%' AND time > now() - INTERVAL '1 hour' \
               AND value BETWEEN 25 AND 110";
    assert_eq!(server.number(sql), 3, "{text}");
}
