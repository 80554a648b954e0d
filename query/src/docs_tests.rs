//! Every example of `docs/sql.md` is answered.

use std::path::Path;

use crate::fixtures::{Arrival, Asked, SECOND, World};

#[test]
fn every_example_of_the_document_is_answered() {
    let world = World::new(1);
    let mut rows = Vec::new();
    for minute in 0..120 {
        for (host, region) in [("web-1", "eu-west"), ("web-2", "us-east")] {
            let labels = [("host", host), ("region", region)];
            for name in ["cpu", "latency_ms", "requests"] {
                rows.push(Arrival {
                    series: world.series("default", name, &labels),
                    time: (1_704_067_200 + minute * 60) * SECOND,
                    value: f64::from(i32::try_from(minute).unwrap()),
                    severity: if minute == 77 { 7.5 } else { 0.0 },
                });
            }
        }
    }
    world.write(&rows);
    world.flush(0);
    let asked = Asked::new(&world);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sql.md");
    let text = std::fs::read_to_string(path).unwrap();
    let blocks = text.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut examples = 0;
    for sql in blocks {
        let answer = asked.csv(sql).unwrap_or_else(|error| panic!("{sql}\n{error}"));
        let is_events =
            ["tidewatch.alerts", "tidewatch.deliveries", "tidewatch.dlq", "tidewatch.percentiles"]
                .iter()
                .any(|t| sql.contains(t));
        assert!(answer.lines().count() > 1 || is_events, "no row for\n{sql}");
        examples += 1;
    }
    assert!(examples >= 12, "{examples} examples");
}
