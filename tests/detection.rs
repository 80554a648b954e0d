//! `[[detect]]` in a real server: what it stores is what `eval` says of the same rows, through kills, starts and any number of
//! shards; SQL tells the same again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use serde_json::Value;
use tidewatch_env::Rng;

use crate::server::{Home, Server, Start, json_of, run};

/// 2024-01-01 00:00:00.
const START: i64 = 1_704_067_200;
const ROWS: usize = 3_000;
const NAMES: [&str; 3] = ["calm", "busy", "steps"];

/// A row of a corpus: seconds, value, label.
type Row = (i64, f64, u8);

/// Noise about a daily season five minutes apart, with peaks and drops, a step, repeats and late rows.
fn rows(name: &str) -> Vec<Row> {
    let mut rng = Rng::from_seed(name.bytes().map(u64::from).sum());
    let row = |row: usize, rng: &mut Rng| {
        let time = START + i64::try_from(row).unwrap() * 300;
        let hour = i32::try_from(time / 3_600 % 24).unwrap();
        let season = f64::from((hour - 12).abs());
        let noise = rng.unit_f64() + rng.unit_f64() + rng.unit_f64();
        let step = if name == "steps" && row > 1_700 { 25.0 } else { 0.0 };
        let (time, event) = match rng.below(if name == "busy" { 60 } else { 400 }) {
            0 => (time, 30.0),
            1 => (time, -30.0),
            2 => (time - 900, 0.0),
            3 => (time - 300, 70.0),
            _ => (time, 0.0),
        };
        let value = (100.0 * (season + noise + step + event)).round() / 100.0;
        (time, value, u8::from(event.abs() > 0.0))
    };
    (0..ROWS).map(|at| row(at, &mut rng)).collect()
}

/// Severity, de-duplicated severity, channel: as bits, and as a name.
type Told = (u64, u64, String);

/// What `eval` says of each series, by time, without late rows.
fn evaluated(home: &Home) -> BTreeMap<String, BTreeMap<i64, Told>> {
    let (corpus, scores) = (home.file("kpi"), home.file("scores"));
    fs::create_dir_all(&corpus).unwrap();
    for name in NAMES {
        let mut text = String::new();
        for (time, value, label) in rows(name) {
            writeln!(text, "{time},{value},{label}").unwrap();
        }
        fs::write(corpus.join(format!("{name}.csv")), text).unwrap();
    }
    let [corpus, out] = [&corpus, &scores].map(|path| path.to_str().unwrap().to_owned());
    let words = ["eval", "kpi", &corpus, "--scores-out", &out, "--json"];
    let output = run(&words);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let of = |name: &str| {
        let text = fs::read_to_string(scores.join(format!("{name}.csv"))).unwrap();
        assert_eq!(text.lines().count(), ROWS + 1);
        let mut told = BTreeMap::new();
        for line in text.lines().skip(1) {
            let cells: Vec<&str> = line.split(',').collect();
            let bits = |cell: usize| cells[cell].parse::<f64>().unwrap().to_bits();
            let row = (bits(2), bits(3), cells[5].to_owned());
            // The first row of a moment that is later than all before.
            let time: i64 = cells[0].parse().unwrap();
            if told.last_key_value().is_none_or(|(last, _)| *last < time) {
                told.insert(time, row);
            }
        }
        told
    };
    NAMES.into_iter().map(|name| (name.to_owned(), of(name))).collect()
}

fn stored(answer: &[Value]) -> BTreeMap<i64, Told> {
    let row = |row: &Value| {
        let bits = |column: &str| row[column].as_f64().unwrap().to_bits();
        let channel = row["channel"].as_str().unwrap_or_default().to_owned();
        let time = row["seconds"].as_i64().unwrap();
        (time, (bits("severity"), bits("onset_severity"), channel))
    };
    answer.iter().map(row).collect()
}

const ARRIVALS: &str = "SELECT CAST(extract(epoch FROM time) AS BIGINT) AS seconds, severity, onset_severity, \
                        channel FROM tidewatch.arrivals WHERE NOT late AND metric = ";

/// What is expected of each row now, against what is stored.
const AGAIN: &str = "SELECT count(*) AS n, count(*) FILTER (WHERE e['severity'] <> severity) AS wrong FROM \
                     (SELECT *, expected(time, value) OVER (PARTITION BY series_id ORDER BY time) AS e \
                     FROM tidewatch.arrivals WHERE NOT late)";

#[test]
fn what_eval_says_of_rows_is_stored_through_kills_and_starts_with_other_shards() {
    let home = Home::new();
    let expected = evaluated(&home);
    let start = |shards: &str| {
        let start = Start::on(&home.data()).with("--shards").with(shards);
        // So often that some states come from checkpoints, and some rows from segments.
        start.set("checkpoint.rows_max=1000").set("flush.rows_max=1500").up()
    };
    let all = NAMES.map(rows);
    let third = ROWS / 3;
    for (part, shards) in ["1", "2", "7"].into_iter().enumerate() {
        let server = start(shards);
        for batch in (part * third..(part + 1) * third).step_by(125) {
            let mut body = String::new();
            for (name, rows) in NAMES.iter().zip(&all) {
                for (time, value, _) in &rows[batch..batch + 125] {
                    writeln!(body, "{name} value={value} {time}").unwrap();
                }
            }
            assert_eq!(server.post("/write?precision=s", body).status, 204);
        }
        server.kill9();
    }
    for shards in ["7", "1"] {
        let server = start(shards);
        for name in NAMES {
            let stored = stored(&server.sql(&format!("{ARRIVALS}'{name}'")));
            assert_eq!(stored, expected[name], "{name}, {shards} shards");
            let is_loud = |told: &&Told| f64::from_bits(told.0) > 4.0;
            assert!(stored.values().filter(is_loud).count() > 2, "{name}");
        }
        for channel in ["novelty", "deviation"] {
            let of = format!("SELECT count(*) FROM tidewatch.samples WHERE channel = '{channel}'");
            assert!(server.number(&of) > 10, "{channel}");
        }
        let kinds = "SELECT count(kind) AS told, count(*) AS n FROM tidewatch.anomalies";
        let kinds = &server.sql(kinds)[0];
        assert!(kinds["n"] == kinds["told"] && kinds["n"].as_u64() > Some(5), "{kinds}");
        let again = &server.sql(AGAIN)[0];
        assert_eq!(again["wrong"], 0, "{again}");
        assert!(again["n"].as_u64().unwrap() > 8_000, "{again}");
        let others = "SELECT count(*) FROM tidewatch.series WHERE tier <> 'auto'";
        assert_eq!(server.number(others), 0);
        assert_eq!(server.stop(), 0);
    }
    for more in [&[][..], &["--shards", "3", "--rechunk", "5"]] {
        let report = home.replay(more);
        assert!(report["severities_compared"].as_u64().unwrap() > 0, "{report}");
    }
    let data = home.data();
    let stopped = ["query", "--data-dir", data.to_str().unwrap(), "--format", "json", AGAIN];
    let again = json_of(&run(&stopped));
    assert_eq!(again[0]["wrong"], 0, "the rules in force are those of the log: {again}");
}

/// Waits until all new detectors have learnt from what is stored.
fn await_learning(server: &Server) {
    // An answer waits for all shards to have come to the start that brought the detectors.
    assert!(server.number("SELECT count(*) FROM tidewatch.series") > 0);
    let learnt = (0..1_200).any(|_| {
        std::thread::park_timeout(Duration::from_millis(50));
        server.counter("tidewatch_engine_series_to_prime") == 0
    });
    assert!(learnt, "detectors learn in vain");
}

#[test]
fn a_changed_detection_takes_effect_with_its_start_and_knobs_hold() {
    let home = Home::new();
    let file = home.file("tidewatch.toml");
    let start = |toml: &str| {
        fs::write(&file, toml).unwrap();
        Start::on(&home.data()).config(&file).up()
    };
    let all = rows("busy");
    let write = |server: &Server, rows: &[Row]| {
        let mut body = String::new();
        for (time, value, _) in rows {
            writeln!(body, "busy,host=a value={value} {time}\nbusy,host=b value={value} {time}")
                .unwrap();
        }
        assert_eq!(server.post("/write?precision=s", body).status, 204);
    };
    let tiers = "SELECT tier FROM tidewatch.series ORDER BY labels";
    let tiers = |server: &Server| {
        let rows = server.sql(tiers);
        rows.iter().map(|row| row["tier"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let server = start("[[detect]]\nmatch = { host = \"a\" }\nmodel = \"light\"\n");
    write(&server, &all[..1_000]);
    assert_eq!(tiers(&server), ["light", "auto"]);
    assert_eq!(server.stop(), 0);

    let toml = "[[detect]]\nmatch = { host = \"a\" }\nmodel = \"novelty\"\n\
                detection_direction = \"above\"\ndata_range = [-10, inf]\n\
                [[detect]]\nmodel = \"deviation\"\nmin_samples = 1200\ntime_zone = \"Europe/Berlin\"\n";
    let server = start(toml);
    // What is stored counts.
    await_learning(&server);
    write(&server, &all[1_000..2_000]);
    assert_eq!(tiers(&server), ["novelty", "deviation"]);
    let count = |condition: &str| {
        let cut = all[1_000].0;
        server.number(&format!(
            "SELECT count(*) FROM tidewatch.arrivals JOIN tidewatch.series USING (series_id) \
             WHERE NOT late AND extract(epoch FROM time) >= {cut} AND {condition}"
        ))
    };
    let impossible = all[1_000..2_000].iter().filter(|row| row.1 < -10.0).count();
    assert!(impossible > 3);
    let range = "channel = 'range' AND severity = 100 AND value < -10 AND tier = 'novelty'";
    assert_eq!(count(range), u64::try_from(impossible).unwrap());
    assert_eq!(count("channel = 'range'"), u64::try_from(impossible).unwrap());
    assert!(count("channel = 'novelty' AND severity > 3 AND tier = 'novelty'") > 3);
    // Nothing before the twelve hundredth sample, of which the new model has learnt a thousand from what was stored.
    let end = all[1_180].0;
    let early = format!("severity > 0 AND tier = 'deviation' AND extract(epoch FROM time) < {end}");
    assert_eq!(count(&early), 0);
    assert!(count("severity > 0 AND tier = 'deviation'") > 3);
    assert_eq!(server.stop(), 0);
    home.replay(&["--shards", "2"]);
}

#[test]
fn series_beyond_the_memory_have_the_light_detector_whatever_becomes_of_the_process() {
    const SERIES: u64 = 3_000;
    let home = Home::new();
    let file = home.file("tidewatch.toml");
    let start = |memory: &str, shards: &str| {
        let toml =
            format!("[limits]\nmemory_bytes_max = \"{memory}\"\n[[detect]]\nmodel = \"auto\"\n");
        fs::write(&file, toml).unwrap();
        let start = Start::on(&home.data()).config(&file).with("--shards").with(shards);
        start.set("checkpoint.rows_max=10000").up()
    };
    let mut time = START;
    let mut write = |server: &Server, rows: i64| {
        for _ in 0..rows {
            let mut body = String::new();
            for host in 0..SERIES {
                writeln!(body, "m,host={host} value={}.5 {time}", (host * 7 + 3) % 11).unwrap();
            }
            assert_eq!(server.post("/write?precision=s", body).status, 204);
            time += 10;
        }
    };
    let tiers = |server: &Server| {
        let rows = server.sql("SELECT labels, tier FROM tidewatch.series ORDER BY labels");
        assert_eq!(rows.len(), usize::try_from(SERIES).unwrap());
        let light = rows.iter().filter(|row| row["tier"] == "light").count();
        let turned_away = server.counter("tidewatch_engine_series_turned_away");
        assert_eq!(u64::try_from(light).unwrap(), turned_away);
        (rows, turned_away)
    };
    let server = start("128MiB", "2");
    write(&server, 3);
    let (small, turned_away) = tiers(&server);
    assert!((500..SERIES - 500).contains(&turned_away), "{turned_away}");
    server.kill9();
    for shards in ["1", "7"] {
        let server = start("128MiB", shards);
        assert_eq!(tiers(&server).0, small, "{shards} shards");
        write(&server, 2);
        assert_eq!(server.stop(), 0);
    }
    let server = start("1GiB", "2");
    assert_eq!(tiers(&server).1, 0, "there is room for all");
    write(&server, 2);
    assert_eq!(server.stop(), 0);
    home.replay(&["--shards", "3", "--rechunk", "500"]);
}

#[test]
fn a_new_detector_learns_from_what_is_stored_and_finds_a_peak_at_once() {
    // Five days, a row a minute.
    const ROWS: i64 = 7_200;
    const SERIES: u64 = 40;
    let home = Home::new();
    let file = home.file("tidewatch.toml");
    fs::write(&file, "[[detect]]\nmodel = \"light\"\n").unwrap();
    let mut rng = Rng::from_seed(5);
    let mut body = |rows: std::ops::Range<i64>, peak: f64| {
        let mut body = String::new();
        for row in rows {
            let (time, noise) = (START + row * 60, rng.unit_f64() + rng.unit_f64() + peak);
            for host in 0..SERIES {
                let season = (row / 60 % 24 - 12).abs();
                writeln!(body, "m,host={host} value={} {time}", season as f64 + noise).unwrap();
            }
        }
        body
    };
    let server = Start::on(&home.data()).config(&file).set("flush.rows_max=65536").up();
    for from in (0..ROWS).step_by(240) {
        let body = body(from..from + 240, 0.0);
        assert_eq!(server.post("/write?precision=s", body).status, 204);
    }
    assert_eq!(server.counter("tidewatch_engine_series_to_prime"), 0);
    // What no segment has is replayed into heads.
    server.kill9();

    // Killed while they learn, each time somewhat later: they go on with the next start.
    let mut before = 0;
    for millis in [0, 10, 40, 100] {
        let server = Start::on(&home.data()).up();
        std::thread::park_timeout(Duration::from_millis(millis));
        before += server.counter("tidewatch_engine_series_primed_total");
        server.kill9();
    }
    let server = Start::on(&home.data()).up();
    await_learning(&server);
    let told = before + server.counter("tidewatch_engine_series_primed_total");
    assert!(told <= SERIES, "what has learnt learns once: {told}");
    assert_eq!(server.post("/write?precision=s", body(ROWS..ROWS + 1, 0.0)).status, 204);
    assert_eq!(server.counter("tidewatch_engine_series_to_prime"), 0);
    let health: Value = serde_json::from_str(&server.get("/api/v1/health").body).unwrap();
    let parts = health["components"].as_array().unwrap();
    let shards = parts.iter().find(|part| part["name"] == "shards").unwrap();
    assert_eq!(shards["details"]["priming"]["series_left"], 0, "{shards}");
    assert_eq!(server.post("/write?precision=s", body(ROWS + 1..ROWS + 2, 25.0)).status, 204);
    let found = format!(
        "SELECT count(*) FROM tidewatch.samples WHERE severity > 6 AND channel = 'novelty' \
         AND extract(epoch FROM time) = {}",
        START + (ROWS + 1) * 60
    );
    assert_eq!(server.number(&found), SERIES);
    assert_eq!(server.stop(), 0);
    // It is learnt once.
    let server = Start::on(&home.data()).with("--shards").with("7").up();
    assert_eq!(server.post("/write?precision=s", body(ROWS + 2..ROWS + 3, 0.0)).status, 204);
    assert_eq!(server.counter("tidewatch_engine_series_primed_total"), 0);
    assert_eq!(server.stop(), 0);
    for more in [&[][..], &["--shards", "3", "--rechunk", "5"]] {
        let report = home.replay(more);
        assert!(report["severities_compared"].as_u64().unwrap() > 0, "{report}");
    }
}
