//! Line protocol against the crate `influxdb-line-protocol`.

use influxdb_line_protocol::parse_lines;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use tidewatch_metrics::limits::EXACT_INTEGER_MAX;

use super::*;
use crate::decode::oracle::line_protocol::{by_the_crate, by_us, check_line};

/// A name as a client sends it, not ending with a backslash.
fn name() -> impl Strategy<Value = String> {
    let plain = "[a-zA-Z0-9_.:/\"-]{1,10}";
    let odd = "[a-z ,=\\\\\"\u{e4}\u{20ac}#]{0,6}[a-z0-9]";
    prop_oneof![4 => plain, 1 => odd]
}

fn escape(name: &str, special: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if special.contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn value() -> impl Strategy<Value = String> {
    let exact = i64::try_from(EXACT_INTEGER_MAX).expect("2^53");
    prop_oneof![
        any::<f64>().prop_filter("finite", |v| v.is_finite()).prop_map(|v| format!("{v}")),
        any::<f32>().prop_filter("finite", |v| v.is_finite()).prop_map(|v| format!("{v:e}")),
        "-?[0-9]{1,6}\\.[0-9]{1,6}",
        (-exact..=exact).prop_map(|v| format!("{v}i")),
        (0..=exact).prop_map(|v| format!("{v}u")),
        "(t|T|true|True|TRUE|f|F|false|False|FALSE)",
        "[a-z ,=#\n\u{e4}]{0,9}".prop_map(|s| format!("\"{s}\"")),
        Just("\"q\\\"uo\\\\te\"".to_owned()),
    ]
}

prop_compose! {
    fn line()(
        measurement in name().prop_filter("no comment", |name| !name.starts_with('#')),
        tags in btree_map(name(), name(), 0..6),
        shuffle in any::<bool>(),
        fields in vec((name(), value()), 1..8),
        time in proptest::option::of(-i64::MAX..=i64::MAX),
        spaces in 1_usize..3,
    ) -> String {
        let mut tags: Vec<_> = tags.into_iter().collect();
        if shuffle {
            tags.reverse();
        }
        let mut out = escape(&measurement, ", \\");
        for (key, value) in &tags {
            out += &format!(",{}={}", escape(key, ", =\\"), escape(value, ", =\\"));
        }
        let fields = fields.iter().map(|(key, value)| format!("{}={value}", escape(key, ", =\\")));
        out += &" ".repeat(spaces);
        out += &fields.collect::<Vec<_>>().join(",");
        if let Some(time) = time {
            out += &format!("{}{time}", " ".repeat(spaces));
        }
        out
    }
}

/// Not indented by spaces: behind these the crate takes a quote in a measurement for a string's.
fn between() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just(""), 1 => Just("\n"), 1 => Just("# comment, a=b 1\n"), 1 => Just("\t\t")]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn valid_bodies_are_read_as_by_the_crate(
        lines in vec((between(), line()), 0..6),
        crlf in any::<bool>(),
    ) {
        let body = |end: &str| {
            lines.iter().map(|(before, line)| format!("{before}{line}{end}")).collect::<String>()
        };
        let ours = body(if crlf { "\r\n" } else { "\n" });
        let theirs = body("\n");
        let batch = decoded(&ours);
        prop_assert_eq!(batch.errors().first(), &[]);
        let parsed = parse_lines(&theirs).map(|line| line.expect("valid"));
        let expected: Vec<_> = parsed.map(|line| by_the_crate(&line)).collect();
        prop_assert_eq!(batch.lines_accepted(), expected.len() as u64);
        let expected: Vec<_> = expected.into_iter().filter(|line| !line.fields.is_empty()).collect();
        prop_assert_eq!(by_us(ours.as_bytes(), &batch), expected);
    }

    #[test]
    fn a_damaged_line_is_accepted_by_both_or_refused_by_both(
        line in line().prop_filter("one line", |line| !line.contains('\n')),
        damage in vec(
            (any::<prop::sample::Index>(), 0_usize..3, "[,= \\\\\"#0-9iue.tT+-]{0,2}"), 1..4),
    ) {
        let mut chars: Vec<char> = line.chars().collect();
        for (at, removed, inserted) in damage {
            let from = at.index(chars.len() + 1);
            let to = (from + removed).min(chars.len());
            chars.splice(from..to, inserted.chars());
        }
        let line: String = chars.into_iter().collect();
        check_line(&line);
    }
}
