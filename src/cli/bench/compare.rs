//! This run beside an earlier one.

use comfy_table::{CellAlignment, Table};

use crate::cli::bench::report::{Outcome, Report};

const COLUMNS: [&str; 6] =
    ["case", "server", "samples/s", "samples/CPU-s", "ack p99", "bytes/sample"];

/// The ratios of `new` to `old`, for results that both have.
pub(crate) fn compare(new: &Report, old: &Report) -> String {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING).set_header(COLUMNS);
    for outcome in &new.outcomes {
        let same = |old: &&Outcome| old.case == outcome.case && old.target == outcome.target;
        if let Some(old) = old.outcomes.iter().find(same) {
            table.add_row(cells(outcome, old));
        }
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text = format!("This run by the one of {} ({}):\n{table}\n", old.version, old.build);
    if new.machine != old.machine || new.build != old.build {
        text.push_str("The machines or the builds differ: these ratios tell little.\n");
    }
    text
}

fn cells(new: &Outcome, old: &Outcome) -> [String; COLUMNS.len()] {
    let ratio = |new: Option<f64>, old: Option<f64>| match new.zip(old) {
        Some((new, old)) if old > 0.0 => format!("{:.2}", new / old),
        Some(_) | None => "-".to_owned(),
    };
    [
        new.case.clone(),
        new.target.clone(),
        ratio(Some(new.samples_per_s), Some(old.samples_per_s)),
        ratio(new.samples_per_cpu_s, old.samples_per_cpu_s),
        ratio(Some(new.ack.p99_us), Some(old.ack.p99_us)),
        ratio(new.segment_bytes_per_sample, old.segment_bytes_per_sample),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::floor::{Floor, Latency};
    use crate::cli::bench::machine::Machine;

    fn report(cores: usize, outcomes: Vec<Outcome>) -> Report {
        let machine = Machine {
            cores,
            cpu: String::new(),
            memory_bytes: 0,
            kernel: String::new(),
            file_system: String::new(),
        };
        let latency = Latency { p50_us: 1.0, p99_us: 1.0 };
        Report::new(machine, Floor { small: latency, large: latency }, outcomes)
    }

    fn outcome(case: &str, samples_per_s: f64) -> Outcome {
        Outcome { case: case.to_owned(), samples_per_s, ..Outcome::default() }
    }

    #[test]
    fn only_what_both_runs_have_is_compared() {
        let new = report(2, vec![outcome("p1", 3e6), outcome("p2", 1e6)]);
        let text = compare(&new, &report(2, vec![outcome("p1", 2e6)]));
        assert!(text.contains("1.50"), "{text}");
        assert!(!text.contains("p2") && !text.contains("tell little"), "{text}");
    }

    #[test]
    fn another_machine_is_pointed_out() {
        let text = compare(&report(2, Vec::new()), &report(4, Vec::new()));
        assert!(text.contains("tell little"), "{text}");
    }
}
