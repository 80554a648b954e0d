//! The figures of a run: as a document, and as a table for people.

use std::fmt::Write;

use comfy_table::{CellAlignment, Table};
use serde::{Deserialize, Serialize};

use crate::cli::bench::child::DiskUse;
use crate::cli::bench::floor::{Floor, Latency};
use crate::cli::bench::machine::Machine;

const COLUMNS: [&str; 11] = [
    "case",
    "server",
    "M samples/s",
    "M acked/s",
    "M samples/CPU-s",
    "client CPU-s",
    "ack p50 ms",
    "ack p99 ms",
    "p99/floor",
    "bytes/sample",
    "RSS MiB",
];

/// All figures of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Which benchmark.
    pub(crate) bench: String,
    /// The program's version.
    pub(crate) version: String,
    /// `optimized` or `debug`.
    pub(crate) build: String,
    /// The machine.
    pub(crate) machine: Machine,
    /// The disk's own latency, in the same run.
    pub(crate) floor: Floor,
    /// A result per case and server.
    pub(crate) outcomes: Vec<Outcome>,
    /// This program's figures over the peers'.
    pub(crate) ratios: Vec<Ratio>,
}

/// One server's figures in one case; medians are over rounds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// The case.
    pub(crate) case: String,
    /// The case, for people.
    pub(crate) what: String,
    /// The server.
    pub(crate) target: String,
    /// Series written.
    pub(crate) series: u64,
    /// Samples of a request.
    pub(crate) request_samples: u64,
    /// Connections with one request in flight each.
    pub(crate) connections: u64,
    /// Samples acknowledged, warm-up included.
    pub(crate) sent_samples: u64,
    /// Samples found afterwards.
    pub(crate) stored_samples: u64,
    /// Whether count and sum are what was acknowledged.
    pub(crate) stored_equals_sent: bool,
    /// Median of samples by the time from the first request until all work that it caused was done.
    pub(crate) samples_per_s: f64,
    /// Median of samples by the time until the last acknowledgement.
    pub(crate) acknowledged_per_s: f64,
    /// `samples_per_s` of each round.
    pub(crate) samples_per_s_rounds: Vec<f64>,
    /// Median of samples by the server's CPU-seconds, until all work was done.
    pub(crate) samples_per_cpu_s: Option<f64>,
    /// The server's CPU-seconds, over all rounds.
    pub(crate) server_cpu_s: Option<f64>,
    /// The client's CPU-seconds, over all rounds: it shares the machine.
    pub(crate) client_cpu_s: f64,
    /// Seconds of load, over all rounds.
    pub(crate) load_s: f64,
    /// Seconds of load and of the work left behind, over all rounds.
    pub(crate) whole_s: f64,
    /// Requests acknowledged.
    pub(crate) requests: u64,
    /// Answers that asked to come again later.
    pub(crate) busy_answers: u64,
    /// From a request's first byte to its acknowledgement.
    pub(crate) ack: Latency,
    /// `ack` by the disk's own latency for 4 KiB, at the 99th percentile.
    pub(crate) ack_p99_by_floor: f64,
    /// Memory after the last round.
    pub(crate) resident_bytes: Option<u64>,
    /// Memory at most.
    pub(crate) resident_bytes_peak: Option<u64>,
    /// The data directory after a stop in order.
    pub(crate) disk: Option<DiskUse>,
    /// Bytes of segments by samples.
    pub(crate) segment_bytes_per_sample: Option<f64>,
}

/// This program's figures by those of a peer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ratio {
    /// The case.
    pub(crate) case: String,
    /// The peer.
    pub(crate) peer: String,
    /// Of `samples_per_s`.
    pub(crate) samples_per_s: f64,
    /// Of `samples_per_cpu_s`, where the peer's process is known.
    pub(crate) samples_per_cpu_s: Option<f64>,
}

impl Report {
    /// Puts the figures of a run together.
    pub(crate) fn new(machine: Machine, floor: Floor, mut outcomes: Vec<Outcome>) -> Self {
        for outcome in &mut outcomes {
            outcome.ack_p99_by_floor = outcome.ack.p99_us / floor.small.p99_us.max(1.0);
        }
        Self {
            bench: "ingest".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: if cfg!(debug_assertions) { "debug" } else { "optimized" }.to_owned(),
            machine,
            floor,
            ratios: ratios(&outcomes),
            outcomes,
        }
    }

    /// The first result whose server does not hold what it acknowledged.
    pub(crate) fn incomplete(&self) -> Option<&Outcome> {
        self.outcomes.iter().find(|outcome| !outcome.stored_equals_sent)
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let Machine { cores, cpu, memory_bytes, kernel, file_system } = &self.machine;
        let mut text = format!(
            "tidewatch {} ({}), {cores} cores of {cpu}, {} GiB, Linux {kernel}, {file_system}\n",
            self.version,
            self.build,
            memory_bytes >> 30
        );
        let Floor { small, large } = self.floor;
        line(
            &mut text,
            format_args!(
                "fdatasync of this disk: 4 KiB p50 {:.0} us, p99 {:.0} us; 1 MiB p50 {:.0} us, p99 {:.0} us\n",
                small.p50_us, small.p99_us, large.p50_us, large.p99_us
            ),
        );
        line(&mut text, format_args!("{}\n", self.table()));
        let mut told = "";
        for outcome in &self.outcomes {
            if outcome.case != told {
                line(&mut text, format_args!("{}: {}", outcome.case, outcome.what));
                told = &outcome.case;
            }
        }
        for Ratio { case, peer, samples_per_s, samples_per_cpu_s } in &self.ratios {
            let by_cpu = samples_per_cpu_s.map_or_else(
                || "CPU unknown without --peer-pid".to_owned(),
                |ratio| format!("{ratio:.2} x its samples per CPU-second"),
            );
            line(
                &mut text,
                format_args!("{case}: {samples_per_s:.2} x the samples/s of {peer}, {by_cpu}"),
            );
        }
        text
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(comfy_table::presets::NOTHING).set_header(COLUMNS);
        for outcome in &self.outcomes {
            table.add_row(cells(outcome));
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

fn cells(outcome: &Outcome) -> [String; COLUMNS.len()] {
    let millions = |figure: f64| format!("{:.2}", figure / 1e6);
    let millis = |micros: f64| format!("{:.2}", micros / 1e3);
    let none = || "-".to_owned();
    [
        outcome.case.clone(),
        outcome.target.clone(),
        millions(outcome.samples_per_s),
        millions(outcome.acknowledged_per_s),
        outcome.samples_per_cpu_s.map_or_else(none, millions),
        format!("{:.1}", outcome.client_cpu_s),
        millis(outcome.ack.p50_us),
        millis(outcome.ack.p99_us),
        format!("{:.1}", outcome.ack_p99_by_floor),
        outcome.segment_bytes_per_sample.map_or_else(none, |bytes| format!("{bytes:.2}")),
        outcome.resident_bytes_peak.map_or_else(none, |bytes| (bytes >> 20).to_string()),
    ]
}

fn ratios(outcomes: &[Outcome]) -> Vec<Ratio> {
    let peers = outcomes.iter().filter(|outcome| outcome.target != "tidewatch");
    let ratios = peers.filter_map(|peer| {
        let ours = |outcome: &&Outcome| outcome.target == "tidewatch" && outcome.case == peer.case;
        let ours = outcomes.iter().find(ours)?;
        Some(Ratio {
            case: peer.case.clone(),
            peer: peer.target.clone(),
            samples_per_s: ours.samples_per_s / peer.samples_per_s,
            samples_per_cpu_s: ours
                .samples_per_cpu_s
                .zip(peer.samples_per_cpu_s)
                .map(|(ours, theirs)| ours / theirs),
        })
    });
    ratios.collect()
}

/// The middle one, or the middle between the two in the middle; 0 of none.
pub(crate) fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = figures.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.len() % 2) {
        (Some(upper), 0) => sorted.get(middle - 1).map_or(*upper, |lower| (lower + upper) / 2.0),
        (Some(figure), _) => *figure,
        (None, _) => 0.0,
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a string takes all that is written");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(target: &str, samples_per_s: f64, samples_per_cpu_s: Option<f64>) -> Outcome {
        Outcome {
            case: "p1".to_owned(),
            target: target.to_owned(),
            samples_per_s,
            samples_per_cpu_s,
            stored_equals_sent: true,
            ..Outcome::default()
        }
    }

    fn report(outcomes: Vec<Outcome>) -> Report {
        let machine = Machine {
            cores: 2,
            cpu: "CPU".to_owned(),
            memory_bytes: 24 << 30,
            kernel: "6.1".to_owned(),
            file_system: "ext4".to_owned(),
        };
        let latency = Latency { p50_us: 70.0, p99_us: 100.0 };
        Report::new(machine, Floor { small: latency, large: latency }, outcomes)
    }

    #[test]
    fn the_ratio_is_ours_by_theirs() {
        let outcomes = vec![
            outcome("tidewatch", 6e6, Some(4e6)),
            outcome("questdb", 2e6, Some(1e6)),
            outcome("questdb", 3e6, None),
        ];
        let report = report(outcomes);
        let found: Vec<_> =
            report.ratios.iter().map(|r| (r.samples_per_s, r.samples_per_cpu_s)).collect();
        assert_eq!(found, [(3.0, Some(4.0)), (2.0, None)]);
        let text = report.text();
        assert!(text.contains("p1: 3.00 x the samples/s of questdb, 4.00 x its"), "{text}");
        assert!(text.contains("2 cores of CPU, 24 GiB, Linux 6.1, ext4"), "{text}");
    }

    #[test]
    fn a_report_reads_what_it_wrote_and_tells_who_lost_samples() {
        let lossy = Outcome { stored_equals_sent: false, ..outcome("questdb", 1.0, None) };
        let written = serde_json::to_string(&report(vec![outcome("tidewatch", 1.0, None), lossy]));
        let read: Report = serde_json::from_str(&written.unwrap()).unwrap();
        assert_eq!(read.incomplete().unwrap().target, "questdb");
        assert_eq!(read.outcomes.len(), 2);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert!((median([3.0, 1.0, 2.0].into_iter()) - 2.0).abs() < 1e-12);
        assert!((median([4.0, 1.0, 2.0, 3.0].into_iter()) - 2.5).abs() < 1e-12);
        assert!(median(std::iter::empty()).abs() < 1e-12);
    }
}
