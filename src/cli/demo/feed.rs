//! The alerts as a sink delivers them: a JSON line each, at the end of a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use serde::Deserialize;
use tidewatch_connectors::decode::time::parse_date_time;
use tidewatch_metrics::EventTime;

/// What the demo needs of a delivered transition.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Alert {
    /// The series.
    pub(crate) series_id: String,
    /// Its metric.
    pub(crate) metric: String,
    /// Its labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// `firing` or `resolved`.
    pub(crate) transition: String,
    /// Why, in words.
    pub(crate) reason: String,
    /// When the condition began to hold.
    #[serde(deserialize_with = "time")]
    pub(crate) onset: EventTime,
    /// The sample that caused the transition.
    #[serde(deserialize_with = "time")]
    pub(crate) event: EventTime,
    /// The series' last values as a picture.
    pub(crate) sparkline: String,
}

impl Alert {
    /// Whether the alert goes on, not off.
    pub(crate) fn is_firing(&self) -> bool {
        self.transition == "firing"
    }
}

/// Reads what is appended to the file.
#[derive(Debug)]
pub(crate) struct Feed {
    path: PathBuf,
    file: Option<File>,
    /// Bytes behind the last whole line.
    rest: Vec<u8>,
}

impl Feed {
    /// The feed of the file at `path`, which need not be there yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, file: None, rest: Vec::new() }
    }

    /// The alerts that were delivered since the last look.
    ///
    /// # Errors
    /// If the file cannot be read, or does not hold alerts.
    pub(crate) fn poll(&mut self) -> io::Result<Vec<Alert>> {
        if self.file.is_none() {
            self.file = match File::open(&self.path) {
                Ok(file) => Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
        }
        let Some(file) = &mut self.file else { return Ok(Vec::new()) };
        file.read_to_end(&mut self.rest)?;
        let Some(last) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(Vec::new());
        };
        let rest = self.rest.split_off(last + 1);
        let lines = std::mem::replace(&mut self.rest, rest);
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).map_err(io::Error::from)).collect()
    }
}

fn time<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<EventTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_date_time(text.as_bytes()).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use super::*;

    const LINE: &str = r#"{"key":"00","rule":"r","series_id":"ab","metric":"m","labels":{"host":"a"},"transition":"firing","reason":"severity 7.0 > 6","onset":"2026-01-01T00:00:00Z","severity":7.0,"value":1.0,"expected":null,"event":"2026-01-01T00:00:10.5Z","sparkline":"▁█"}"#;

    #[test]
    fn every_whole_line_comes_once_and_a_torn_one_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alerts.jsonl");
        let mut feed = Feed::new(path.clone());
        assert_eq!(feed.poll().unwrap().len(), 0, "no file yet");
        let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        let (head, tail) = LINE.as_bytes().split_at(100);
        file.write_all(&[LINE.as_bytes(), b"\n", head].concat()).unwrap();
        let alerts = feed.poll().unwrap();
        assert_eq!(alerts.len(), 1);
        assert_eq!((alerts[0].metric.as_str(), alerts[0].labels["host"].as_str()), ("m", "a"));
        assert!(alerts[0].is_firing());
        assert_eq!(alerts[0].event.nanos() - alerts[0].onset.nanos(), 10_500_000_000);
        assert_eq!(feed.poll().unwrap().len(), 0);
        file.write_all(&[tail, b"\n"].concat()).unwrap();
        assert_eq!(feed.poll().unwrap().len(), 1);
    }

    #[test]
    fn a_line_that_is_no_alert_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alerts.jsonl");
        std::fs::write(&path, "{}\n").unwrap();
        assert!(Feed::new(path).poll().is_err());
    }
}
