//! `tidewatch score` and `tidewatch eval` as scripts use them, on small files laid out as the real ones.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tidewatch_env::Rng;

use crate::server::{Home, json_of, run};

/// 2014-04-01 00:00:00.
const START: i64 = 1_396_310_400;

/// Noise five minutes apart, with a spike at each of `spikes`.
fn values(seed: u64, rows: usize, spikes: &[usize]) -> Vec<f64> {
    let mut rng = Rng::from_seed(seed);
    let value = |row| 20.0 + rng.unit_f64() + if spikes.contains(&row) { 40.0 } else { 0.0 };
    (0..rows).map(value).collect()
}

/// A time as NAB's files have it; all rows are of one day.
fn nab_time(row: usize) -> String {
    format!("2014-04-{:02} {:02}:{:02}:00", 1 + row / 288, row % 288 / 12, row % 12 * 5)
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn each_row_of_a_file_is_scored_as_it_stands_there() {
    let home = Home::new();
    let file = home.file("load.csv");
    let mut rows = "host,at,load\n".to_owned();
    for (row, value) in values(1, 200, &[150]).into_iter().enumerate() {
        let time = START + i64::try_from(row).unwrap() * 300;
        match row {
            // A late row with a spike, two rows without a value, and times of every form.
            120 => writeln!(rows, "a,{},90", START + 300).unwrap(),
            130 => writeln!(rows, "a,{time},").unwrap(),
            131 => writeln!(rows, "a,{time},NaN").unwrap(),
            140 => writeln!(rows, "a,{time}000,{value}").unwrap(),
            141 => writeln!(rows, "a,{time}000000000,{value}").unwrap(),
            _ if row % 2 == 0 => writeln!(rows, "a,{},{value}", nab_time(row)).unwrap(),
            _ => writeln!(rows, "\"a,b\",{time},{value}").unwrap(),
        }
    }
    fs::write(&file, rows).unwrap();
    let picture = home.file("new/load.svg");
    let columns = ["--time-column", "at", "--value-column", "load"];
    let name = [file.to_str().unwrap()];
    let plot = ["--plot", picture.to_str().unwrap()];
    let output = run(&[&["score"][..], &name, &columns, &plot].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let csv = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 201);
    assert_eq!(lines[0], "time,value,severity,onset_severity,score,expected,lower,upper,channel");
    assert_eq!(lines[121], "2014-04-01T00:05:00Z,90.0,0,0,0,,,,");
    assert_eq!(lines[131], "2014-04-01T10:50:00Z,,0,0,0,,,,");
    assert_eq!(lines[132], "2014-04-01T10:55:00Z,,0,0,0,,,,");
    assert!(lines[142].starts_with("2014-04-01T11:45:00Z,2"), "{}", lines[142]);
    let spike: Vec<&str> = lines[151].split(',').collect();
    let number = |column: usize| spike[column].parse::<f64>().unwrap();
    assert!(number(2) > 4.0 && spike[2] == spike[3] && spike[8] == "deviation", "{spike:?}");
    assert!((number(4) - number(2) / (number(2) + 4.0)).abs() < 1e-6, "{spike:?}");
    assert!(number(6) < number(5) && number(5) < number(7) && number(7) < 40.0, "{spike:?}");
    let drawn = text(&picture);
    assert!(drawn.starts_with("<svg ") && drawn.contains("load.csv · auto"), "{drawn}");

    let output = run(&[&["score", "--format", "json"][..], &name, &columns].concat());
    let rows = json_of(&output);
    assert_eq!(rows.as_array().map(Vec::len), Some(200));
    assert_eq!((&rows[130]["value"], &rows[130]["channel"]), (&Value::Null, &Value::Null));
    assert!((rows[150]["severity"].as_f64().unwrap() - number(2)).abs() < 1e-9, "{}", rows[150]);
    let output = run(&[&["score", "--format", "pretty"][..], &name, &columns].concat());
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 201);
}

#[test]
fn a_file_is_scored_as_the_server_scores_its_rows() {
    let home = Home::new();
    let file = home.file("walk.csv");
    let mut rows = "timestamp,value\n".to_owned();
    for (row, value) in values(4, 3_000, &[900, 901, 2_200, 2_950]).into_iter().enumerate() {
        // Now and then a time once more, and one from long before, both with a spike.
        let row_time = if row % 700 == 699 { row - 1 } else { row };
        let row_time = if row % 500 == 499 { row / 2 } else { row_time };
        let value = if row_time == row { value } else { 90.0 };
        writeln!(rows, "{},{value}", nab_time(row_time)).unwrap();
    }
    fs::write(&file, rows).unwrap();
    let name = file.to_str().unwrap();
    let server = home.serve();
    let written = run(&["write", "--url", &server.url(), "--batch-rows", "170", name]);
    assert_eq!(written.status.code(), Some(0), "{written:?}");
    let live = server.sql(
        "SELECT time, severity, onset_severity, channel FROM tidewatch.arrivals \
         WHERE NOT late ORDER BY time",
    );
    assert_eq!(server.number("SELECT count(*) FROM tidewatch.arrivals"), 3_000);
    assert_eq!(server.stop(), 0);
    let scored = json_of(&run(&["score", "--format", "json", name]));
    let mut last = "";
    let mut in_order = live.iter();
    let (mut late, mut severe) = (0, 0);
    for row in scored.as_array().unwrap() {
        let time = row["time"].as_str().unwrap();
        if time <= last {
            assert_eq!((&row["severity"], &row["channel"]), (&json!(0.0), &Value::Null), "{row}");
            late += 1;
            continue;
        }
        last = time;
        let stored = in_order.next().unwrap();
        assert_eq!(stored["time"], row["time"]);
        for column in ["severity", "onset_severity"] {
            let both = [stored, row].map(|row| row[column].as_f64().unwrap().to_bits());
            assert_eq!(both[0], both[1], "{column}: {stored} {row}");
        }
        let channel = row["channel"].as_str().unwrap_or_default();
        assert_eq!(stored["channel"].as_str().unwrap_or_default(), channel, "{stored} {row}");
        severe += u32::from(row["severity"].as_f64() > Some(4.0));
    }
    assert!(in_order.next().is_none() && late >= 9 && severe >= 3, "{late} late, {severe} severe");
}

#[test]
fn what_cannot_be_scored_is_told_with_file_and_line() {
    let home = Home::new();
    let file = home.file("x.csv");
    let name = file.to_str().unwrap();
    for (rows, code, told) in [
        (
            "timestamp,value\n2014-04-01 00:00:00,1\n2014-04-31 00:00:00,1\n",
            4,
            "line 3: invalid time",
        ),
        ("timestamp,value\n1,2\n2,high\n", 4, "line 3: invalid value"),
        ("time,value\n1,2\n", 4, "no column \"timestamp\", but \"time\", \"value\""),
    ] {
        fs::write(&file, rows).unwrap();
        let output = run(&["score", name]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(error.contains(told) && error.contains("x.csv"), "{told}: {error}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    assert_eq!(run(&["score", "no-such-file.csv"]).status.code(), Some(2));
    assert_eq!(run(&["score", name, "--model", "heavy"]).status.code(), Some(2));
    assert_eq!(run(&["eval", "nab", "no-such-folder"]).status.code(), Some(2));
    let empty = run(&["eval", "kpi", home.data().parent().unwrap().to_str().unwrap()]);
    assert_eq!(empty.status.code(), Some(4), "the only file there has no labels: {empty:?}");
    assert!(
        String::from_utf8_lossy(&empty.stderr).contains("line 1: not `unix_seconds"),
        "{empty:?}"
    );
}

/// A corpus as NAB lays it out; the first window of each file has a spike in its first row.
fn nab(dir: &Path) {
    fs::create_dir_all(dir.join("labels")).unwrap();
    let mut labels = serde_json::Map::new();
    for (seed, name) in [(1, "realA/one.csv"), (2, "realA/two.csv"), (3, "artificial/three.csv")] {
        let mut rows = "timestamp,value\n".to_owned();
        for (row, value) in values(seed, 800, &[300, 500]).into_iter().enumerate() {
            writeln!(rows, "{},{value}", nab_time(row)).unwrap();
        }
        let file = dir.join("data").join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, rows).unwrap();
        let window = |from, to| [from, to].map(|row| format!("{}.000000", nab_time(row)));
        labels.insert(name.to_owned(), json!([window(300, 340), window(490, 530)]));
    }
    fs::write(dir.join("labels/combined_windows.json"), Value::Object(labels).to_string()).unwrap();
}

#[test]
fn a_nab_corpus_is_judged_scored_and_drawn() {
    let home = Home::new();
    let (dir, scores, pictures) = (home.file("nab"), home.file("scores"), home.file("pictures"));
    nab(&dir);
    let dir = dir.to_str().unwrap();
    let out = ["--scores-out", scores.to_str().unwrap(), "--plot", pictures.to_str().unwrap()];
    let output = run(&[&["eval", "nab", dir, "--json", "--splits", "10"][..], &out].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = json_of(&output)["models"][0].clone();
    assert_eq!(report["model"], "auto", "what a server has without configuration");
    let figure = |name: &str| report[name].as_f64().unwrap_or_else(|| panic!("{name}: {report}"));
    // Both windows are hit, the second one after a quarter of it; nothing else is as severe.
    assert!(figure("standard") > 90.0 && figure("standard") < 100.0, "{report}");
    assert!(figure("level") > 4.0 && figure("fixed_level_4") <= figure("standard"), "{report}");
    assert!(figure("samples_per_second_per_core") > 1e4, "{report}");
    assert!((1_500.0..3_100.0).contains(&figure("bytes_per_series")), "{report}");
    assert!(report["split_standard"]["mean"].as_f64().is_some_and(|it| it > 50.0), "{report}");
    for other in ["event_f1", "delay7_f1", "auc_pr"] {
        assert!(report[other].is_null(), "{report}");
    }
    let rows = text(&scores.join("realA/one.csv"));
    let rows: Vec<&str> = rows.lines().collect();
    assert_eq!(rows.len(), 801);
    assert_eq!(rows[0], "timestamp,value,severity,onset_severity,score,channel");
    assert!(
        rows[1].starts_with("2014-04-01 00:00:00,2") && rows[1].ends_with(",0,0,0,"),
        "{}",
        rows[1]
    );
    assert!(rows[301].starts_with("2014-04-02 01:00:00,6") && rows[301].ends_with(",deviation"));
    let picture = text(&pictures.join("artificial/three.svg"));
    assert!(picture.contains("labelled") && picture.contains("artificial/three.csv · auto"));

    let fixed = json_of(&run(&["eval", "nab", dir, "--json", "--level", "4"]))["models"][0].clone();
    assert_eq!((&fixed["standard"], &fixed["level"]), (&report["fixed_level_4"], &json!(4.0)));
    assert!(fixed.get("split_standard").is_none(), "{fixed}");
    let people = run(&["eval", "nab", dir, "--model", "all"]);
    let people = String::from_utf8(people.stdout).unwrap();
    assert!(people.contains("low FP") && people.contains("light"), "{people}");

    // The scores say what the judge judged: the rows at the windows' begin are the most severe onsets.
    let onset = |row: &str| row.split(',').nth(3).unwrap().parse::<f64>().unwrap();
    let loud = rows[1..].iter().filter(|row| onset(row) >= figure("level")).count();
    assert!((2..10).contains(&loud), "{loud}");
    fs::remove_file(Path::new(dir).join("data/realA/two.csv")).unwrap();
    let missing = run(&["eval", "nab", dir]);
    assert_eq!(missing.status.code(), Some(2), "{missing:?}");
    assert!(String::from_utf8_lossy(&missing.stderr).contains("realA/two.csv"), "{missing:?}");
}

#[test]
fn a_kpi_corpus_is_judged_packed_or_not() {
    let home = Home::new();
    let dir = home.file("kpi");
    fs::create_dir_all(&dir).unwrap();
    for (seed, packed) in [(1, true), (2, false), (3, true), (4, true)] {
        let mut rows = String::new();
        for (row, value) in values(seed, 900, &[400, 711]).into_iter().enumerate() {
            let time = START + i64::try_from(row).unwrap() * 60;
            // The second spike is twelve rows behind the begin of its window.
            let label = (400..420).contains(&row) || (699..720).contains(&row);
            writeln!(rows, "{time},{value},{}", u8::from(label)).unwrap();
        }
        if packed {
            let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
            gz.write_all(rows.as_bytes()).unwrap();
            fs::write(dir.join(format!("{seed}.csv.gz")), gz.finish().unwrap()).unwrap();
        } else {
            fs::write(dir.join(format!("{seed}.csv")), rows).unwrap();
        }
    }
    let (dir, scores) = (dir.to_str().unwrap(), home.file("scores"));
    let out = ["--scores-out", scores.to_str().unwrap()];
    let output = run(&[&["eval", "kpi", dir, "--json"][..], &out].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = json_of(&output)["models"][0].clone();
    let figure = |name: &str| report[name].as_f64().unwrap_or_else(|| panic!("{name}: {report}"));
    assert!((figure("event_f1") - 1.0).abs() < 1e-9, "{report}");
    assert!(figure("delay7_f1") > 0.6 && figure("delay7_f1") < 1.0, "{report}");
    assert!(figure("auc_pr") > 0.05 && figure("auc_pr") < 0.9, "{report}");
    assert!(report["standard"].is_null() && report["fixed_level_4"].is_null(), "{report}");
    // At a level that only the spikes reach every window is hit, and half of them in time: 20 of 41 labelled rows.
    let fixed = json_of(&run(&["eval", "kpi", dir, "--json", "--level", "8"]))["models"][0].clone();
    for (name, expected) in
        [("event_f1", 1.0), ("delay7_event_f1", 2.0 / 3.0), ("delay7_f1", 40.0 / 61.0)]
    {
        assert!((fixed[name].as_f64().unwrap() - expected).abs() < 1e-9, "{name}: {fixed}");
    }
    let rows = text(&scores.join("3.csv"));
    assert_eq!(rows.lines().count(), 901);
    assert!(rows.lines().nth(1).unwrap().starts_with("1396310400,2"), "{rows}");
}
