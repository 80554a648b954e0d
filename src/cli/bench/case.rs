//! The shapes of load that are measured.

use clap::ValueEnum;

use crate::cli::bench::bodies::BodyFormat;

/// Fields of a host in the cases that have ten.
const TEN_FIELDS: [&str; 10] =
    ["user", "system", "idle", "nice", "iowait", "irq", "softirq", "steal", "guest", "guest_nice"];

/// Labels as scrapes have them.
const P4_LABELS: [(&str, &str); 6] = [
    ("cluster", "eu-production-1"),
    ("environment", "production"),
    ("job", "node-exporter"),
    ("namespace", "monitoring"),
    ("region", "eu-west-1"),
    ("service", "node"),
];

/// Which case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CaseName {
    /// Ten fields of 10,000 hosts, batches of 5,000 lines
    P1,
    /// One field of 100,000 hosts, batches of 5,000 lines
    P2,
    /// Ten fields of 9,600 hosts, batches of 10 lines, 16 connections
    Small,
    /// One field of 96,000 hosts with seven labels, remote write of 2,000 samples
    P4,
}

/// One shape of load.
///
/// Each connection owns an equal share of the hosts and writes their lines in the order of time, as
/// agents do, so that no sample is late.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// Its name in reports.
    pub(crate) name: &'static str,
    /// What it is, for people.
    pub(crate) what: &'static str,
    /// The measurement; another one in each case, so that a peer keeps them in tables of their own.
    pub(crate) measurement: &'static str,
    /// The fields of each line.
    pub(crate) fields: &'static [&'static str],
    /// Hosts, over all connections.
    pub(crate) hosts: u64,
    /// Connections at a time, each with one request in flight.
    pub(crate) connections: u64,
    /// Lines of a request. In formats without lines a line is all series of a host.
    pub(crate) batch_lines: u64,
    /// Labels of all series beside their host.
    pub(crate) labels: &'static [(&'static str, &'static str)],
    /// The protocol.
    pub(crate) format: BodyFormat,
    /// Whether peers are measured too.
    pub(crate) peers: bool,
}

impl CaseName {
    /// The case of this name.
    pub(crate) fn case(self) -> Case {
        match self {
            Self::P1 => Case {
                name: "p1",
                what: "10 fields x 10,000 hosts, 5,000 lines a request, 4 connections",
                measurement: "cpu",
                fields: &TEN_FIELDS,
                hosts: 10_000,
                connections: 4,
                batch_lines: 5_000,
                labels: &[],
                format: BodyFormat::Lp,
                peers: true,
            },
            Self::P2 => Case {
                name: "p2",
                what: "1 field x 100,000 hosts, 5,000 lines a request, 4 connections",
                measurement: "load",
                fields: &["value"],
                hosts: 100_000,
                connections: 4,
                batch_lines: 5_000,
                labels: &[],
                format: BodyFormat::Lp,
                peers: true,
            },
            Self::Small => Case {
                name: "small",
                what: "10 fields x 9,600 hosts, 10 lines a request, 16 connections",
                measurement: "cpu",
                fields: &TEN_FIELDS,
                hosts: 9_600,
                connections: 16,
                batch_lines: 10,
                labels: &[],
                format: BodyFormat::Lp,
                peers: false,
            },
            Self::P4 => Case {
                name: "p4",
                what: "1 sample x 96,000 series with 7 labels, 2,000 samples a request, 4 connections",
                measurement: "node_load1",
                fields: &["value"],
                hosts: 96_000,
                connections: 4,
                batch_lines: 2_000,
                labels: &P4_LABELS,
                format: BodyFormat::RemoteWrite,
                peers: false,
            },
        }
    }
}

impl Case {
    /// Samples of a line.
    pub(crate) fn line_samples(&self) -> u64 {
        u64::try_from(self.fields.len()).expect("a handful of fields")
    }

    /// The same load in another protocol, in requests that it allows, without peers unless they know it.
    pub(crate) fn in_format(mut self, format: BodyFormat) -> Self {
        self.format = format;
        self.batch_lines = self.batch_lines.min(format.samples_max() / self.line_samples());
        self.peers &= format == BodyFormat::Lp;
        self
    }

    /// The name of a field's metric.
    pub(crate) fn metric(&self, field: &str) -> String {
        match field {
            "value" => self.measurement.to_owned(),
            field => format!("{}_{field}", self.measurement),
        }
    }

    /// Series, over all connections.
    pub(crate) fn series(&self) -> u64 {
        self.hosts * self.line_samples()
    }
}
