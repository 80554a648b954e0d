//! What the demo tells, for people.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use chrono::DateTime;
use tidewatch_metrics::EventTime;

use crate::cli::demo::feed::Alert;
use crate::cli::demo::judge::{Judge, Verdict};
use crate::cli::demo::script::SPEED;
use crate::cli::demo::server::DemoServer;
use crate::cli::error::CliError;
use crate::cli::generate::{Anomaly, GeneratedSeries};

/// Tells the demo as it goes on; in colour on a terminal.
pub(crate) struct Story<'a> {
    out: &'a mut dyn Write,
    colour: bool,
}

/// How a piece of text looks on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Strong,
    Quiet,
    Alarm,
    Good,
}

impl Look {
    /// The escape sequence that begins it.
    const fn sequence(self) -> &'static str {
        match self {
            Self::Strong => "\u{1b}[1m",
            Self::Quiet => "\u{1b}[2m",
            Self::Alarm => "\u{1b}[1;31m",
            Self::Good => "\u{1b}[32m",
        }
    }
}

impl fmt::Debug for Story<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Story").field("colour", &self.colour).finish_non_exhaustive()
    }
}

impl<'a> Story<'a> {
    /// A story told to `out`.
    pub(crate) fn new(out: &'a mut dyn Write, colour: bool) -> Self {
        Self { out, colour }
    }

    /// What is running, and where.
    ///
    /// # Errors
    /// If it cannot be written; so for all that follow.
    pub(crate) fn open(&mut self, server: &DemoServer) -> Result<(), CliError> {
        let title = self.look(Look::Strong, "Tidewatch demo");
        let kept = if server.is_temporary() { "removed at the end" } else { "kept" };
        self.tell(&format!(
            "{title}: a server in this process, at {}\n\
             \x20 data    {} ({kept})\n\
             \x20 series  24 generated ones of six hosts, with six anomalies; beside them this machine's own\n\
             \x20 rule    severity > 6 for 10s on the generated series; this machine's are scored, but not\n\
             \x20         alerted on: a minute does not tell what is normal for it\n",
            server.url(),
            server.data_dir().display(),
        ))
    }

    /// The history is written.
    pub(crate) fn history(&mut self, samples: u64, took: Duration) -> Result<(), CliError> {
        let seconds = took.as_secs_f64();
        self.tell(&format!(
            "\nTwo days of history are written and scored: {samples} samples, {seconds:.1} s after the start.\n\
             Live from here, played {SPEED} times faster than measured: a second shows a minute.\n"
        ))
    }

    /// An anomaly begins.
    pub(crate) fn injected(
        &mut self,
        anomaly: &Anomaly,
        series: &GeneratedSeries,
    ) -> Result<(), CliError> {
        let text = format!(
            "{}  injected  {} in {}",
            clock_time(anomaly.onset),
            words(anomaly),
            generated_name(series)
        );
        let line = self.look(Look::Quiet, &text);
        self.tell(&format!("\n{line}\n"))
    }

    /// An alert fires.
    pub(crate) fn firing(
        &mut self,
        alert: &Alert,
        verdict: Verdict,
        judge: &Judge,
    ) -> Result<(), CliError> {
        let meaning = match verdict {
            Verdict::Detected(index) => {
                let truth = &judge.truths()[index];
                let delay = truth.detected.unwrap_or_default().as_secs();
                let text = format!("the {}, {delay} s after its onset", words(&truth.anomaly));
                self.look(Look::Good, &text)
            }
            Verdict::Repeated(index) => {
                let kind = words(&judge.truths()[index].anomaly);
                self.look(Look::Quiet, &format!("the {kind} again, or the return from it"))
            }
            Verdict::False => self.look(Look::Alarm, "a false alert: nothing was injected here"),
        };
        let (firing, name) = (self.look(Look::Alarm, "FIRING  "), series_name(alert));
        self.tell(&format!(
            "{}  {firing}  {}\n          {}\n          {}  {meaning}\n",
            clock_time(alert.event),
            self.look(Look::Strong, &name),
            alert.reason,
            alert.sparkline,
        ))
    }

    /// An alert is over.
    pub(crate) fn resolved(&mut self, alert: &Alert) -> Result<(), CliError> {
        let (time, name) = (clock_time(alert.event), series_name(alert));
        let text = format!("{time}  resolved  {name}: {}", alert.reason);
        let line = self.look(Look::Quiet, &text);
        self.tell(&format!("{line}\n"))
    }

    /// What was injected and what was found.
    pub(crate) fn verdict(
        &mut self,
        judge: &Judge,
        moment: EventTime,
        names: &[GeneratedSeries],
    ) -> Result<(), CliError> {
        let title = self.look(Look::Strong, "What was injected, and what was found");
        let mut text = format!("\n{title}\n");
        for truth in judge.begun(moment) {
            let found = match truth.detected {
                Some(delay) => {
                    self.look(Look::Good, &format!("after {} s of event time", delay.as_secs()))
                }
                None => self.look(Look::Alarm, "not found so far"),
            };
            let (time, kind) = (clock_time(truth.anomaly.onset), words(&truth.anomaly));
            let name = generated_name(&names[truth.anomaly.series]);
            text.push_str(&format!("  {time}  {kind:<16}  {name:<40}  {found}\n"));
        }
        text.push_str(&summary(judge, moment));
        self.tell(&text)
    }

    /// A statement with its answer.
    pub(crate) fn answer(&mut self, title: &str, sql: &str, table: &str) -> Result<(), CliError> {
        let title = self.look(Look::Strong, title);
        let sql = self.look(Look::Quiet, sql);
        self.tell(&format!("\n{title}\n{sql}\n{}\n", table.trim_end()))
    }

    /// How to go on while the demo runs.
    pub(crate) fn next_steps(
        &mut self,
        server: &DemoServer,
        end: Option<Duration>,
    ) -> Result<(), CliError> {
        let title = self.look(Look::Strong, "Go on from here, in another terminal");
        let url = server.url();
        let option = if server.is_default() { String::new() } else { format!(" --url {url}") };
        let until = match end {
            Some(end) => format!("The demo ends {} s after its start, or at Ctrl-C", end.as_secs()),
            None => "The demo goes on, at the pace of the clock, until Ctrl-C".to_owned(),
        };
        self.tell(&format!(
            "\n{title}\n\
             \x20 tidewatch query{option} 'SELECT metric, labels, rows FROM tidewatch.series'\n\
             \x20 tidewatch query{option} \"SELECT time, value, severity FROM latency_ms ORDER BY severity DESC LIMIT 10\"\n\
             \x20 curl -d 'room,floor=2 temperature=21.5' {url}/write\n\
             \x20 curl {url}/api/v3/query_sql --data-urlencode 'q=SELECT * FROM room_temperature' -G -d format=pretty\n\
             \x20 curl {url}/metrics\n\
             {until}.\n"
        ))
    }

    /// The end.
    pub(crate) fn close(
        &mut self,
        server: &DemoServer,
        judge: &Judge,
        moment: EventTime,
    ) -> Result<(), CliError> {
        let data_dir = server.data_dir().display();
        let rest = if server.is_temporary() {
            format!("{data_dir} is removed. Your own: tidewatch serve")
        } else {
            format!("{data_dir} is kept. Go on with it: tidewatch serve --data-dir {data_dir}")
        };
        let summary = summary(judge, moment);
        self.tell(&format!("\n{summary}{rest}\n"))
    }

    fn tell(&mut self, text: &str) -> Result<(), CliError> {
        self.out.write_all(text.as_bytes()).map_err(CliError::output)?;
        // People watch it happen.
        self.out.flush().map_err(CliError::output)
    }

    fn look(&self, look: Look, text: &str) -> String {
        if self.colour { format!("{}{text}\u{1b}[0m", look.sequence()) } else { text.to_owned() }
    }
}

/// The figures in a line.
fn summary(judge: &Judge, moment: EventTime) -> String {
    let injected = judge.begun(moment);
    let detected = injected.iter().filter(|truth| truth.detected.is_some()).count();
    let first = match judge.first_alert() {
        Some(time) => format!("first alert {:.1} s after the start", time.as_secs_f64()),
        None => "no alert yet".to_owned(),
    };
    let (injected, wrong) = (injected.len(), judge.false_alerts());
    let plural = if wrong == 1 { "" } else { "s" };
    format!("{detected} of {injected} anomalies found, {wrong} false alert{plural}, {first}.\n")
}

/// The kind as people say it.
fn words(anomaly: &Anomaly) -> String {
    anomaly.kind.name().replace('_', " ")
}

fn generated_name(series: &GeneratedSeries) -> String {
    let host = series.labels.iter().find(|(key, _)| *key == "host");
    format!("{} of {}", series.metric, host.map_or("", |(_, host)| host))
}

fn series_name(alert: &Alert) -> String {
    let host = alert.labels.get("host").map_or("", String::as_str);
    format!("{} of {host}", alert.metric)
}

/// The time of day, UTC.
fn clock_time(time: EventTime) -> String {
    DateTime::from_timestamp_nanos(time.nanos()).format("%H:%M:%S").to_string()
}
