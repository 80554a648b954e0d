//! Line protocol: this decoder beside the crate `influxdb-line-protocol`, samples per second on one core.

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidewatch_connectors::decode::{LineBatch, LineOptions, decode};

struct Load {
    name: &'static str,
    hosts: usize,
    fields: usize,
    /// Tags before the host's.
    before: &'static str,
    /// Tags behind it.
    after: &'static str,
}

const LOADS: [Load; 4] = [
    Load { name: "10 fields x 100 hosts", hosts: 100, fields: 10, before: "", after: "" },
    Load { name: "1 field x 5000 hosts", hosts: 5_000, fields: 1, before: "", after: "" },
    Load {
        name: "10 fields, 10 sorted tags",
        hosts: 500,
        fields: 10,
        before: ",arch=x64,datacenter=eu-central-1a",
        after: ",os=Ubuntu16.10,rack=67,region=eu-central-1,service=7,service_environment=test,\
                service_version=1,team=SF",
    },
    Load {
        name: "10 fields, 10 unsorted tags",
        hosts: 500,
        fields: 10,
        before: "",
        after: ",region=eu-central-1,datacenter=eu-central-1a,rack=67,os=Ubuntu16.10,arch=x64,team=SF,\
                service=7,service_version=1,service_environment=test",
    },
];

const FIELDS: [&str; 10] = [
    "usage_user",
    "usage_system",
    "usage_idle",
    "usage_nice",
    "usage_iowait",
    "usage_irq",
    "usage_softirq",
    "usage_steal",
    "usage_guest",
    "usage_guest_nice",
];

/// Values as agents send them: two to four fraction digits, now and then an integer.
fn body(load: &Load) -> String {
    let mut out = String::new();
    let mut state = 7_u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    for host in 0..load.hosts {
        write!(out, "cpu{},host=host_{host}{} ", load.before, load.after).expect("memory");
        for (index, field) in FIELDS.iter().take(load.fields).enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match next() % 4 {
                0 => write!(out, "{comma}{field}={}i", next() % 100),
                1 => write!(out, "{comma}{field}={}.{:02}", next() % 100, next() % 100),
                _ => write!(out, "{comma}{field}={}.{:04}", next() % 100, next() % 10_000),
            }
            .expect("memory");
        }
        writeln!(out, " {}", 1_700_000_000_000_000_000_u64 + next()).expect("memory");
    }
    out
}

fn bench(criterion: &mut Criterion) {
    for load in &LOADS {
        let body = body(load);
        let mut batch = LineBatch::new();
        let options = LineOptions::default();
        decode(body.as_bytes(), &options, &mut batch).expect("within the limits");
        assert_eq!(batch.samples(), load.hosts * load.fields, "every sample is decoded");
        assert!(batch.errors().is_empty());
        let mut group = criterion.benchmark_group(load.name);
        group.throughput(Throughput::Elements((load.hosts * load.fields) as u64));
        group.bench_function("tidewatch", |bencher| {
            bencher.iter(|| decode(black_box(body.as_bytes()), &options, &mut batch));
        });
        group.bench_function("influxdb-line-protocol", |bencher| {
            bencher.iter(|| {
                let lines = influxdb_line_protocol::parse_lines(black_box(&body));
                lines.map(|line| line.expect("valid").field_set.len()).sum::<usize>()
            });
        });
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
