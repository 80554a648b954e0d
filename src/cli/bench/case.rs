//! The shapes of load that are measured.

use clap::ValueEnum;

/// Fields of a host in the cases that have ten.
const TEN_FIELDS: [&str; 10] =
    ["user", "system", "idle", "nice", "iowait", "irq", "softirq", "steal", "guest", "guest_nice"];

/// Which case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CaseName {
    /// Ten fields of 10,000 hosts, batches of 5,000 lines
    P1,
    /// One field of 100,000 hosts, batches of 5,000 lines
    P2,
    /// Ten fields of 9,600 hosts, batches of 10 lines, 16 connections
    Small,
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
    /// Lines of a request.
    pub(crate) batch_lines: u64,
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

    /// Series, over all connections.
    pub(crate) fn series(&self) -> u64 {
        self.hosts * self.line_samples()
    }
}
