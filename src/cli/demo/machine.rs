//! This machine's own metrics, from `/proc`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes of a sector in `/proc/diskstats`, whatever the device's own are.
const SECTOR_BYTES: u64 = 512;
/// Devices that stand for others or for memory.
const STACKED_DISKS: [&str; 6] = ["loop", "ram", "zram", "dm-", "md", "sr"];

/// Counters that only grow; what is not there stays `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counters {
    cpu: Option<CpuTicks>,
    disk: Option<Traffic>,
    network: Option<Traffic>,
}

/// Processor time in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CpuTicks {
    busy: u64,
    all: u64,
}

/// Bytes in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Traffic {
    /// Read, or received.
    inward: u64,
    /// Written, or sent.
    outward: u64,
}

/// Reads the machine's metrics; rates are between two readings.
#[derive(Debug)]
pub(crate) struct Machine {
    proc: PathBuf,
    host: String,
    before: Option<(Counters, Duration)>,
}

impl Machine {
    /// The machine whose kernel speaks at `proc`.
    pub(crate) fn new(proc: &Path) -> Self {
        let name = fs::read_to_string(proc.join("sys/kernel/hostname")).unwrap_or_default();
        let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let host: String = name.chars().filter(plain).collect();
        let host = if host.is_empty() { "localhost".to_owned() } else { host };
        Self { proc: proc.to_owned(), host, before: None }
    }

    /// Appends a line of line protocol for everything that is known, at `time_nanos`.
    ///
    /// `elapsed` is the time of a clock that never jumps. Where the system has no such files,
    /// nothing is appended.
    pub(crate) fn push_lines(&mut self, time_nanos: i64, elapsed: Duration, out: &mut String) {
        let read = |name: &str| fs::read_to_string(self.proc.join(name)).unwrap_or_default();
        let now = Counters {
            cpu: cpu_ticks(&read("stat")),
            disk: disk_traffic(&read("diskstats")),
            network: network_traffic(&read("net/dev")),
        };
        let mut readings = vec![
            ("machine_load1", load1(&read("loadavg"))),
            ("machine_memory_percent", memory_percent(&read("meminfo"))),
        ];
        if let Some((before, then)) = self.before.replace((now, elapsed)) {
            let seconds = elapsed.saturating_sub(then).as_secs_f64();
            readings.extend(rates(&before, &now, seconds));
        }
        for (metric, value) in readings {
            if let Some(value) = value.filter(|value| value.is_finite()) {
                let value = (value * 100.0).round() / 100.0;
                out.push_str(&format!("{metric},host={} value={value} {time_nanos}\n", self.host));
            }
        }
    }
}

/// What the counters say of the `seconds` between two readings.
fn rates(before: &Counters, now: &Counters, seconds: f64) -> [(&'static str, Option<f64>); 5] {
    let cpu = || {
        let (before, now) = (before.cpu?, now.cpu?);
        let all = now.all.checked_sub(before.all).filter(|all| *all > 0)?;
        Some(100.0 * now.busy.saturating_sub(before.busy) as f64 / all as f64)
    };
    let (disk, network) = (before.disk.zip(now.disk), before.network.zip(now.network));
    // A device that was taken away makes the sum smaller: no rate is better than a wrong one.
    let per_second = |bytes: Option<u64>| Some(bytes? as f64 / seconds).filter(|_| seconds > 0.0);
    let inward = |(before, now): (Traffic, Traffic)| now.inward.checked_sub(before.inward);
    let outward = |(before, now): (Traffic, Traffic)| now.outward.checked_sub(before.outward);
    [
        ("machine_cpu_percent", cpu()),
        ("machine_disk_read_bytes_per_second", per_second(disk.and_then(inward))),
        ("machine_disk_written_bytes_per_second", per_second(disk.and_then(outward))),
        ("machine_network_received_bytes_per_second", per_second(network.and_then(inward))),
        ("machine_network_sent_bytes_per_second", per_second(network.and_then(outward))),
    ]
}

/// `/proc/stat`: user nice system idle iowait irq softirq steal, and guests, whose time is in user's.
fn cpu_ticks(stat: &str) -> Option<CpuTicks> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|n| n.parse().ok()).collect();
    let [user, nice, system, idle, rest @ ..] = ticks.as_slice() else { return None };
    let waiting = rest.first().copied().unwrap_or(0);
    let interrupts: u64 = rest.iter().skip(1).sum();
    let busy = user + nice + system + interrupts;
    Some(CpuTicks { busy, all: busy + idle + waiting })
}

/// `/proc/meminfo`: the share that programs cannot have.
fn memory_percent(meminfo: &str) -> Option<f64> {
    let kib = |name: &str| {
        let rest = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        rest.strip_prefix(':')?.split_whitespace().next()?.parse::<f64>().ok()
    };
    let (total, available) = (kib("MemTotal")?, kib("MemAvailable")?);
    (total > 0.0).then(|| 100.0 * (1.0 - available / total))
}

/// `/proc/loadavg`: the first number.
fn load1(loadavg: &str) -> Option<f64> {
    loadavg.split_whitespace().next()?.parse().ok()
}

/// `/proc/diskstats`: sectors of whole disks; their partitions would count twice.
fn disk_traffic(diskstats: &str) -> Option<Traffic> {
    let rows: Vec<(&str, u64, u64)> = diskstats
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(2);
            let name = fields.next()?;
            let read = fields.nth(2)?.parse().ok()?;
            Some((name, read, fields.nth(3)?.parse().ok()?))
        })
        .filter(|(name, ..)| !STACKED_DISKS.iter().any(|stacked| name.starts_with(stacked)))
        .collect();
    let whole =
        rows.iter().filter(|(name, ..)| !rows.iter().any(|(disk, ..)| is_partition_of(name, disk)));
    whole.fold(None, |sum: Option<Traffic>, (_, read, written)| {
        let sum = sum.unwrap_or_default();
        Some(Traffic {
            inward: sum.inward.saturating_add(read.saturating_mul(SECTOR_BYTES)),
            outward: sum.outward.saturating_add(written.saturating_mul(SECTOR_BYTES)),
        })
    })
}

/// `sda1` of `sda`, `nvme0n1p2` of `nvme0n1`.
fn is_partition_of(name: &str, disk: &str) -> bool {
    let Some(rest) = name.strip_prefix(disk) else { return false };
    let number = match disk.ends_with(|c: char| c.is_ascii_digit()) {
        true => rest.strip_prefix('p').unwrap_or_default(),
        false => rest,
    };
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// `/proc/net/dev`: all interfaces but the machine's talk with itself.
fn network_traffic(net_dev: &str) -> Option<Traffic> {
    let rows = net_dev.lines().filter_map(|line| {
        let (name, rest) = line.split_once(':')?;
        let mut fields = rest.split_whitespace();
        let received: u64 = fields.next()?.parse().ok()?;
        let sent: u64 = fields.nth(7)?.parse().ok()?;
        (name.trim() != "lo").then_some((received, sent))
    });
    rows.fold(None, |sum: Option<Traffic>, (received, sent)| {
        let sum = sum.unwrap_or_default();
        Some(Traffic {
            inward: sum.inward.saturating_add(received),
            outward: sum.outward.saturating_add(sent),
        })
    })
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
