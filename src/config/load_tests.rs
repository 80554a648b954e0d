use std::collections::BTreeSet;

use tidewatch_engine::FeedContent;
use tidewatch_sinks::SinkConfig;

use super::*;

const KAFKA: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/kafka.md"));
const DOCUMENT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md"));
const RULES: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/rules.md"));

pub(super) fn load(
    toml: &str,
    env: &[(&str, &str)],
    sets: &[&str],
) -> Result<Config, Vec<Problem>> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tidewatch.toml");
    std::fs::write(&file, toml).unwrap();
    let env = env.iter().map(|&(key, value)| (key.to_owned(), value.to_owned()));
    let sets: Vec<_> = sets.iter().map(|&set| set.to_owned()).collect();
    Config::load(Some(&file), env, &sets)
}

/// The problems, as people read them.
pub(super) fn problems(toml: &str, env: &[(&str, &str)], sets: &[&str]) -> Vec<String> {
    load(toml, env, sets).expect_err("problems").iter().map(ToString::to_string).collect()
}

#[test]
fn without_anything_the_defaults_hold() {
    let config = Config::load(None, std::iter::empty(), &[]).expect("the defaults are good");
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8850");
    assert_eq!(config.wal, WalConfig::default());
    assert_eq!(config.query, QueryConfig::default());
    assert!(config.rules.is_empty() && config.sinks.is_empty());
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let toml = "[wal]\nidle_mark_ms = 20\n[alerts]\nmax_age = \"2h\"\n[flush]\ninterval = \"1m\"\n";
    let env = [("TIDEWATCH__WAL__IDLE_MARK_MS", "30"), ("TIDEWATCH__ALERTS__MAX_AGE", "3h")];
    let config = load(toml, &env, &["wal.idle_mark_ms=40"]).expect("a good configuration");
    assert_eq!(config.wal.idle_mark_ms, 40);
    assert_eq!(config.alerts.max_age, Duration::from_hours(3));
    assert_eq!(config.flush.interval, Duration::from_mins(1));
}

#[test]
fn sizes_and_times_have_units() {
    let toml = "[limits]\nmemory_bytes_max = \"2GiB\"\n[wal]\nsegment_bytes_max = 1048576\n\
                [query]\ntimeout = \"1s500ms\"\n";
    let config = load(toml, &[], &["query.memory_bytes_max=64MiB"]).expect("good");
    assert_eq!(config.limits.memory_bytes_max, 2 << 30);
    assert_eq!(config.wal.segment_bytes_max, 1 << 20);
    assert_eq!(config.query.timeout, Duration::from_millis(1_500));
    assert_eq!(config.query.memory_bytes_max, 64 << 20);
    for set in ["compat.luminate_strict=true", "compat.luminate_strict=\"true\""] {
        assert!(load("", &[], &[set]).expect("good").compat.luminate_strict, "{set}");
    }
}

#[test]
fn all_problems_are_told_at_once_in_the_users_words() {
    let toml = "[wal]\nsegment_bytes_max = 1\nidle_mark_ms = 60000\n\
                [limits]\nmemory_bytes_max = \"lots\"\nseries_max = -1\n\
                [http]\nlisten = \"localhost\"\npublic_url = 5\n\
                [query]\ntimeout = 30\nrows_max = \"5s\"\n[compat]\nluminate_strict = 1\n";
    assert_eq!(
        problems(toml, &[("TIDEWATCH__FLUSH__ROWS_MAX", "1")], &["alerts.max_age=soon"]),
        [
            "http.listen is \"localhost\", but must be an IP address and a port",
            "http.public_url is 5, but must be an address that begins with http:// or https://",
            "limits.memory_bytes_max is \"lots\", but must be a number of bytes such as 268435456 or \
             \"256MiB\"",
            "limits.series_max is -1, but must be between 1 and 1000000000, or 0 for what the memory \
             allows",
            "wal.segment_bytes_max is 1, but must be between 1048576 and 1073741824",
            "wal.idle_mark_ms is 60000, but must be between 10 and 1000",
            "flush.rows_max is 1, but must be between 1000 and 64000000 (set by \
             TIDEWATCH__FLUSH__ROWS_MAX)",
            "query.timeout is 30, but must be a time with its unit such as \"90s\" or \"1h30m\"",
            "query.rows_max is \"5s\", but must be a whole number",
            "alerts.max_age is \"soon\", but must be a time with its unit such as \"90s\" or \
             \"1h30m\" (set by --set)",
            "compat.luminate_strict is 1, but must be true or false",
        ]
    );
}

#[test]
fn unknown_keys_are_errors_with_a_hint() {
    let toml = "listen = \"127.0.0.1:1\"\n[wal]\nidle_mark = 5\n[server]\n[storage]\ncolour = 1\n\
                [[rule]]\nname = \"r\"\nwhen = \"value > 1\"\nwhere = {}\n";
    let mut found = problems(toml, &[("TIDEWATCH__WALL__IDLE_MARK_MS", "5")], &[]);
    found.sort();
    assert_eq!(
        found,
        [
            "listen is not a key; did you mean http.listen?",
            "rule.\"r\".where is not a key; docs/configuration.md lists them",
            "server is not a key; docs/configuration.md lists them",
            "storage.colour is not a key; docs/configuration.md lists them",
            "wal.idle_mark is not a key; did you mean wal.idle_mark_ms?",
            "wall.idle_mark_ms is not a key; did you mean wal.idle_mark_ms? (set by \
             TIDEWATCH__WALL__IDLE_MARK_MS)",
        ]
    );
}

#[test]
fn overrides_must_name_one_key_of_a_section() {
    let env = [("TIDEWATCH__PORT", "1"), ("TIDEWATCH_URL", "not ours"), ("PATH", "/bin")];
    let mut found = problems("", &env, &["wal", "rule.for=5m", "a.b.c=1"]);
    found.sort();
    assert_eq!(
        found,
        [
            "--set wal must be section.key=value, such as alerts.max_age=2h",
            "a.b.c is not section.key (set by --set)",
            "port is not section.key (set by TIDEWATCH__PORT)",
            "rule.for can only be given in the file (set by --set)",
        ]
    );
}

#[test]
fn a_file_that_is_no_toml_or_not_there_is_a_problem() {
    let found = problems("[wal]\nidle_mark_ms = = 5\n", &[], &[]);
    assert!(found[0].contains("tidewatch.toml is not TOML in line 2"), "{found:?}");
    let missing = Config::load(Some(Path::new("/nowhere/t.toml")), std::iter::empty(), &[]);
    let found = missing.expect_err("no file")[0].to_string();
    assert!(found.starts_with("/nowhere/t.toml cannot be opened"), "{found}");
    let found = problems("wal = 5\nrule = 1\nsink = []\n", &[], &[]);
    assert_eq!(found[0], "wal is 5, but must be a section: [wal]");
    assert_eq!(found[1], "rule must be a list of sections: [[rule]]");
    assert!(found[2].starts_with("sink must name its kind"), "{found:?}");
}

#[test]
fn rules_are_checked_with_everything_else() {
    let toml = "[[rule]]\nname = \"slow\"\nwhen = \"severity >\"\nfor = \"5m\"\n\
                [[rule]]\nname = \"old\"\nwhen = \"value > 1\"\nfor = 5\n\
                [[rule]]\nwhen = \"value > 1\"\nmatch = { metric = 5 }\n\
                [[rule]]\nname = \"odd\"\nwhen = \"value > 1\"\nmatch = { host = \"~ (\" }\n";
    let found = problems(toml, &[], &[]);
    let starts = [
        "rule.\"old\".for is 5, but must be a time with its unit",
        "rule[3].name is missing",
        "rule[3].match.metric is 5, but must be a text in quotes",
        "rule.\"slow\".when is \"severity >\", but must be",
        "rule.\"odd\".match.host is no regular expression",
    ];
    assert_eq!(found.len(), starts.len(), "{found:?}");
    for (problem, start) in found.iter().zip(starts) {
        assert!(problem.starts_with(start), "{problem}");
    }
}

#[test]
fn good_rules_mean_what_they_say() {
    let toml = "[[rule]]\nname = \"checkout slow\"\n\
                match = { metric = \"latency_ms\", region = \"~ eu-.*\" }\n\
                when = \"severity > 6\"\nfor = \"5m\"\nkeep_firing = \"2m\"\npriority = \"page\"\n";
    let rules = load(toml, &[], &[]).expect("a good rule").rules;
    let minute = 60_000_000_000;
    let config = tidewatch_operators::RuleConfig {
        name: "checkout slow".to_owned(),
        matchers: [("metric", "latency_ms"), ("region", "~ eu-.*")]
            .map(|(key, pattern)| (key.to_owned(), pattern.to_owned()))
            .to_vec(),
        when: "severity > 6".to_owned(),
        for_nanos: 5 * minute,
        keep_firing_nanos: 2 * minute,
        budget: None,
        priority: "page".to_owned(),
    };
    let expected = tidewatch_operators::RuleSet::new(vec![config]).unwrap();
    assert_eq!(rules.canonical_text(), expected.canonical_text());
}

#[test]
fn a_budget_is_a_number_for_a_rule_on_severities() {
    let rule = |when: &str, budget: &str| {
        format!("[[rule]]\nname = \"odd\"\nwhen = \"{when}\"\nbudget = {budget}\n")
    };
    for (budget, line) in [("2", "budget 2"), ("0.5", "budget 0.5"), ("1e6", "budget 1000000")] {
        for when in ["severity > 6", "score >= 0.6"] {
            let rules = load(&rule(when, budget), &[], &[]).expect("a good budget").rules;
            assert!(rules.canonical_text().contains(&format!("\n{line}\npriority")), "{budget}");
        }
    }
    for budget in ["0", "-1", "1000001", "nan", "inf", "\"2\"", "true"] {
        let found = problems(&rule("severity > 6", budget), &[], &[]);
        let end = "but must be a number above 0, at most 1000000";
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(
            found[0].starts_with("rule.\"odd\".budget is ") && found[0].ends_with(end),
            "{found:#?}"
        );
    }
    for when in ["value > 6", "severity < 6", "absent > 60"] {
        let found = problems(&rule(when, "2"), &[], &[]);
        let start = "rule.\"odd\".budget is only taken where \"when\" is \"severity\" or \"score\" with > or >=";
        assert!(found.len() == 1 && found[0].starts_with(start), "{found:#?}");
    }
}

#[test]
fn the_lock_and_tls_are_set_from_every_layer() {
    let toml = "[http]\nauth = \"on\"\n[http.tls]\ncert = \"a.pem\"\nkey = \"b.pem\"\n";
    let env = [("TIDEWATCH__HTTP__TLS__CERT", "c.pem"), ("TIDEWATCH__HTTP__AUTH", "off")];
    let http = load(toml, &env, &["http.tls.key=d.pem", "http.requests_per_second=5"]);
    let http = http.expect("good").http;
    assert_eq!((http.auth, http.requests_per_second), (Auth::Off, 5));
    let files = TlsConfig { cert: PathBuf::from("c.pem"), key: PathBuf::from("d.pem") };
    assert_eq!(http.tls, Some(files));
    assert_eq!(load(toml, &[], &[]).expect("good").http.auth, Auth::On);
    let none = load("", &[], &[]).expect("good").http;
    assert_eq!((none.auth, none.tls), (Auth::Auto, None));
    let toml = "[http]\nauth = true\nrequests_per_second = -1\n[http.tls]\nkey = \"b\"\nca = 1\n";
    assert_eq!(
        problems(toml, &[], &["http.tls.x.y=1"]),
        [
            "http.tls.x.y is not section.key (set by --set)",
            "http.auth is true, but must be \"auto\", \"on\" or \"off\"",
            "http.requests_per_second is -1, but must be between 1 and 1000000, or 0 for no limit",
            "http.tls.cert is missing: TLS needs a certificate and its key",
            "http.tls.ca is not a key; did you mean http.tls.cert?",
        ]
    );
    assert_eq!(
        problems("[http]\ntls = 1\n", &[], &[])[0],
        "http.tls is 1, but must be a section: [http.tls]"
    );
    assert_eq!(
        problems("[http.tls]\n", &[], &[]).len(),
        2,
        "an empty section is no way to leave TLS out"
    );
}

#[test]
fn percentiles_are_checked_with_everything_else() {
    let toml = "[[percentiles]]\nname = \"p\"\nwindow = \"1m\"\nslide = \"7s\"\nquantiles = [2]\n\
                [[percentiles]]\nwindow = \"100ms\"\nquantiles = [0.5]\nby = [5]\n\
                [[percentiles]]\nname = \"q\"\nwindow = \"1m\"\nslide = \"7s\"\nquantiles = [1.5]\n\
                [[rule]]\nname = \"old\"\nwhen = \"value > \"\n";
    let found = problems(toml, &[], &[]);
    let starts = [
        "percentiles.\"p\".quantiles is a list, but must be a list of numbers from 0 to 1",
        "percentiles[2].name is missing",
        "percentiles[2].by is a list, but must be a list of labels",
        "percentiles[2].window is \"100ms\", but must be a time with its unit between 1s and 1d",
        "rule.\"old\".when is",
        "percentiles.\"q\".slide is 7000000000 ns, but must be at least 1 s and go into the window",
        "percentiles.\"q\".quantiles must be 1 to 16 different numbers from 0 to 1",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for start in starts {
        assert!(found.iter().any(|problem| problem.starts_with(start)), "{start}: {found:#?}");
    }
}

#[test]
fn a_rule_on_percentiles_is_checked_against_them() {
    let percentiles = "[[percentiles]]\nname = \"latency\"\nwindow = \"1m\"\nquantiles = [0.5]\n";
    let rule = |name: &str, of: &str| {
        format!("[[rule]]\nname = \"{name}\"\nwhen = 'percentile(\"{of}\", 0.99) > 250'\n")
    };
    let good = load(&format!("{percentiles}{}", rule("slow", "latency")), &[], &[]).expect("good");
    assert!(good.rules.canonical_text().contains("when percentile(\"latency\", 0.99) > 250\n"));
    let found = problems(&format!("{percentiles}{}", rule("slow", "typo")), &[], &[]);
    assert_eq!(
        found,
        ["rule.\"slow\".when names percentiles that are not configured; there are latency"]
    );
    let broken = percentiles.replace("1m", "soon");
    let found = problems(&format!("{broken}{}", rule("slow", "latency")), &[], &[]);
    assert_eq!(found.len(), 1, "the percentiles have a problem, the rule has none: {found:#?}");
}

#[test]
fn good_percentiles_mean_what_they_say() {
    let toml = "[[percentiles]]\nname = \"latency\"\nmatch = { metric = \"latency_ms\" }\n\
                by = [\"service\"]\nwindow = \"1m\"\nquantiles = [0.5, 0.99, 1]\n";
    let rules = load(toml, &[], &[]).expect("good percentiles").rules;
    let second = 1_000_000_000;
    let config = tidewatch_operators::PercentilesConfig {
        name: "latency".to_owned(),
        matchers: vec![("metric".to_owned(), "latency_ms".to_owned())],
        by: vec!["service".to_owned()],
        window_nanos: 60 * second,
        slide_nanos: 60 * second,
        quantiles: vec![0.5, 0.99, 1.0],
        lateness_nanos: 30 * second,
        keep_nanos: 600 * second,
    };
    let expected = tidewatch_operators::RuleSet::with_percentiles(&[], &[config]).unwrap();
    assert_eq!(rules.canonical_text(), expected.canonical_text());
    let sliding = toml.replace("window = \"1m\"", "window = \"1m\"\nslide = \"10s\"");
    let sliding = load(&sliding, &[], &[]).expect("good percentiles").rules;
    assert!(sliding.canonical_text().contains("slide 10000000000\n"));
}

#[test]
fn detection_is_checked_with_everything_else() {
    let toml = "[[detect]]\nmodel = \"full\"\ndata_range = [1]\n\
                [[detect]]\nmatch = { host = \"~ (\" }\nmin_dev_from_expected = -1\nmin_samples = 2000000\n\
                [[detect]]\nmodel = \"auto\"\ndata_range = [5, 5]\ndetection_direction = \"up\"\n\
                [[detect]]\nmodel = \"light\"\ndata_range = [\"a\", 5]\ndirection = \"both\"\n\
                [[detect]]\nmodel = \"light\"\ndata_range = [1]\nmin_dev_from_expected = nan\n\
                [[detect]]\nmodel = \"auto\"\nkind = \"sum\"\n\
                [[detect]]\nmodel = \"mad\"\nkind = \"counter\"\n\
                [[detect]]\nmodel = \"light\"\nkind = \"gauge\"\n\
                [[detect]]\nmodel = \"auto\"\ntime_zone = \"Europe/Berlinn\"\n\
                [[detect]]\nmodel = \"auto\"\ntime_zone = \"New York\"\n\
                [[detect]]\nmodel = \"auto\"\ntime_zone = \"here\"\n\
                [[detect]]\nmodel = \"auto\"\ntime_zone = 2\n";
    let found = problems(toml, &[], &[]);
    let starts = [
        "detect[1].model is \"full\", but must be \"light\", \"novelty\", \"deviation\", \"auto\", \"mad\", \
         \"holt_winters\", \"half_space_trees\" or \"anomstack\"",
        "detect[1].data_range must be two numbers, the lesser first",
        "detect[2].model is missing",
        "detect[2].min_dev_from_expected is -1, but must be a number of at least 0",
        "detect[2].min_samples is 2000000, but must be between 0 and 1000000",
        "detect[2].match.host is no regular expression",
        "detect[3].detection_direction is \"up\", but must be \"both\", \"above\" or \"below\"",
        "detect[3].data_range must be two numbers, the lesser first",
        "detect[4].data_range is a list, but must be two numbers",
        "detect[5].min_dev_from_expected is nan, but must be a number of at least 0",
        "detect[5].data_range must be two numbers, the lesser first",
        "detect[4].direction is not a key",
        "detect[6].kind is \"sum\", but must be \"auto\", \"gauge\" or \"counter\"",
        "detect[7].kind must be left out, or \"auto\": the model \"mad\" looks at the values as they are",
        "detect[8].kind must be left out, or \"auto\": the model \"light\" looks at the values as they are",
        "detect[9].time_zone is unknown: there is no time zone \"Europe/Berlinn\"; did you mean Europe/Berlin?",
        "detect[10].time_zone is unknown: there is no time zone \"New York\"; did you mean America/New_York?",
        "detect[11].time_zone is unknown: there is no time zone \"here\"",
        "detect[12].time_zone is 2, but must be a name of the IANA database, such as \"Europe/Berlin\"",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for start in starts {
        assert!(found.iter().any(|problem| problem.starts_with(start)), "{start}: {found:#?}");
    }
    let many = "[[detect]]\nmodel = \"auto\"\n".repeat(1_001);
    assert_eq!(
        problems(&many, &[], &[]),
        ["detect[1001] makes 1001 [[detect]], at most 1000 are taken"]
    );
}

#[test]
fn good_detection_means_what_it_says_in_the_order_given() {
    let toml = "[[rule]]\nname = \"r\"\nwhen = \"severity > 6\"\n\
                [[detect]]\nmatch = { metric = \"latency_ms\" }\nmodel = \"auto\"\n\
                detection_direction = \"above\"\nmin_dev_from_expected = 5\ndata_range = [0, inf]\nmin_samples = 100\nkind = \"counter\"\n\
                [[detect]]\nmodel = \"novelty\"\nmin_dev_from_expected = 0.5\ntime_zone = \"Africa/Abidjan\"\n\
                [[detect]]\nmodel = \"mad\"\ntime_zone = \"Etc/UTC\"\n";
    let rules = load(toml, &[], &[]).expect("good detection").rules;
    let text = rules.canonical_text();
    let expected = "priority \"\"\nzone \"Africa/Abidjan\" -968 -1830383032 0\ndetect \"auto\"\nmatch \"metric\" \"= latency_ms\"\ndirection above\n\
                    min_dev_from_expected 5\ndata_range 0 inf\nmin_samples 100\nkind counter\n\
                    detect \"novelty\"\nmin_dev_from_expected 0.5\n\
                    time_zone \"Africa/Abidjan\"\ndetect \"mad\"\n";
    assert!(text.ends_with(expected), "{text}");
    assert_eq!(rules.len(), 1);
}

#[test]
fn retention_is_by_the_first_match_and_checked_with_everything_else() {
    let toml = "[storage]\nretention = \"90d\"\n[[retention]]\nmatch = { metric = \"~ debug_.*\" }\n\
                keep = \"7d\"\n[[retention]]\nmatch = { env = \"prod\" }\nkeep = \"0s\"\n";
    let config = load(toml, &[], &[]).expect("good");
    let day = Duration::from_hours(24);
    assert_eq!(config.storage.retention, 90 * day);
    let kept: Vec<_> =
        config.retention.iter().map(|(series, keep)| (series.to_string(), *keep)).collect();
    let expected = [("metric ~ debug_.*", 7 * day), ("env = prod", Duration::ZERO)];
    assert_eq!(kept, expected.map(|(series, keep)| (series.to_owned(), keep)));
    let found = problems(
        "[[retention]]\nkeep = \"long\"\n[[retention]]\nmatch = { host = \"~ (\" }\n",
        &[],
        &[],
    );
    let starts = [
        "retention[1].keep is \"long\", but must be a time with its unit",
        "retention[2].keep is missing",
        "retention[2].match.host is no regular expression",
    ];
    assert_eq!(found.len(), starts.len(), "{found:?}");
    for (problem, start) in found.iter().zip(starts) {
        assert!(problem.starts_with(start), "{problem}");
    }
}

#[test]
fn secrets_come_from_the_environment_and_are_never_shown() {
    let toml = "[[sink.webhook]]\nname = \"oncall\"\nurl = \"http://127.0.0.1:9000/tok1\"\n\
                secret_env = \"HOOK_SECRET\"\n[[sink.file]]\nname = \"log\"\npath = \"a.jsonl\"\n";
    let config = load(toml, &[("HOOK_SECRET", "tok2")], &[]).expect("good sinks");
    let names: Vec<_> = config.sinks.iter().map(SinkConfig::name).collect();
    assert_eq!(names, ["oncall", "log"]);
    let shown = format!("{config:?}");
    assert!(!shown.contains("tok1") && !shown.contains("tok2"), "{shown}");
    assert_eq!(
        problems(toml, &[], &[]),
        ["sink.webhook.\"oncall\".secret_env names HOOK_SECRET, which is not set"]
    );
    let pasted = toml.replace("HOOK_SECRET", "tok3-abc").replace("9000/tok1", "99999/tok4");
    let found = problems(&pasted, &[], &[]).join("\n");
    assert!(!found.contains("tok"), "{found}");
}

#[test]
fn sinks_are_checked_with_everything_else() {
    let toml = "[[sink.stdout]]\nname = \"a\"\n[[sink.file]]\nname = \"a\"\npath = \"x\"\n\
                [[sink.file]]\npath = 5\n[[sink.webhook]]\nname = \"h\"\nurl = \"ftp://h\"\n\
                [[sink.mail]]\nname = \"m\"\n";
    let mut found = problems(toml, &[], &[]);
    found.sort();
    assert_eq!(
        found,
        [
            "sink has two entries with the name \"a\"",
            "sink.file[2].name is missing",
            "sink.file[2].path is 5, but must be a file, whose directory exists",
            "sink.mail is not a key; docs/configuration.md lists them",
            "sink.webhook.\"h\".url must begin with http:// or https://",
        ]
    );
}

#[test]
fn topics_for_alerts_are_checked_and_their_secrets_are_never_shown() {
    let toml = "[[sink.kafka]]\nname = \"alerts\"\nbrokers = \"127.0.0.1:9092\"\ntopic = \"alerts\"\n\
                options = { \"sasl.mechanism\" = \"PLAIN\" }\n\
                options_env = { \"sasl.password\" = \"KAFKA_PASSWORD\" }\n";
    let config = load(toml, &[("KAFKA_PASSWORD", "hunter2")], &[]).expect("a good sink");
    let [SinkConfig::Kafka(sink)] = &config.sinks[..] else { panic!("{config:?}") };
    assert_eq!((&*sink.topic, sink.options.len()), ("alerts", 2));
    assert!(!format!("{config:?}").contains("hunter2"));
    let toml = "[[sink.kafka]]\nname = \"n\"\nbrokers = \"\"\ntopic = \"a b\"\n\
                options = { \"acks\" = \"1\" }\noptions_env = { \"b\" = \"NOBODY\" }\n\
                [[sink.kafka]]\nname = \"m\"\n[[sink.file]]\nname = \"n\"\npath = \"x\"\n";
    let mut found = problems(toml, &[], &[]);
    found.sort();
    assert_eq!(
        found,
        [
            "sink has two entries with the name \"n\"",
            "sink.kafka.\"m\".brokers is missing",
            "sink.kafka.\"m\".topic is missing",
            "sink.kafka.\"n\".brokers must be hosts and ports with commas between",
            "sink.kafka.\"n\".options cannot be used: librdkafka does not take the option \"acks\": is not \
             for others to set: it keeps records from being lost, sent twice or out of their order",
            "sink.kafka.\"n\".options_env names a variable for \"b\" that is not set",
            "sink.kafka.\"n\".topic must have 1 to 249 letters, digits, dots, dashes and underscores",
        ]
    );
}

#[test]
fn topics_for_rows_are_checked() {
    let kafka = "brokers = \"b:9092\"\ntopic = \"t\"\n";
    let sink =
        |name: &str, keys: &str| format!("[[sink.kafka]]\nname = \"{name}\"\n{kafka}{keys}\n");
    let toml = [
        sink("a", "content = \"severities\"\nseverity_min = 2"),
        sink("b", "content = \"percentiles\""),
        sink("c", "content = \"dead_letters\""),
        sink("d", "content = \"alerts\""),
        sink("e", "content = \"severities\""),
    ];
    let config = load(&toml.concat(), &[], &[]).expect("good sinks");
    assert_eq!(config.sinks.len(), 1);
    let severities = |severity: f32| {
        let severity_min = tidewatch_metrics::Severity::from_f32(severity);
        FeedContent::Severities { severity_min }
    };
    let contents: Vec<_> =
        config.feeds.iter().map(|feed| (feed.name.as_str(), feed.content)).collect();
    let expected = [
        ("a", severities(2.0)),
        ("b", FeedContent::Percentiles),
        ("c", FeedContent::DeadLetters),
        ("e", severities(4.0)),
    ];
    assert_eq!(contents, expected);
    let source =
        "[[source.kafka]]\nname = \"main\"\nbrokers = \"b:9092\"\ntopics = [\"x\", \"^t\"]\n";
    let toml = [
        sink("a", "content = \"everything\""),
        sink("a", "severity_min = 4"),
        sink("c", "content = \"severities\"\nseverity_min = 0.25"),
        source.to_owned(),
    ];
    let mut found = problems(&toml.concat(), &[], &[]);
    found.retain(|problem| !problem.contains("would come back"));
    found.sort();
    assert_eq!(
        found,
        [
            "sink has two entries with the name \"a\"",
            "sink.kafka.\"a\".content is \"everything\", but must be \"alerts\", \"severities\", \"percentiles\" \
             or \"dead_letters\"",
            "sink.kafka.\"a\".severity_min has no meaning without content = \"severities\"",
            "sink.kafka.\"c\".severity_min is 0.25, but must be between 0.5 and 100",
        ]
    );
    assert_eq!(
        problems(&[sink("a", ""), source.to_owned()].concat(), &[], &[]),
        [
            "sink.kafka.\"a\".topic is \"t\", which [[source.kafka]] \"main\" reads: what is written there would \
             come back"
        ]
    );
}

/// A row of a table in the document: key, default and limits.
fn documented() -> BTreeSet<(String, String, String)> {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `"));
    let cell = |text: &str| text.trim().trim_matches('`').to_owned();
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(cell).collect();
        let [key, _, default, limits] = cells.as_slice() else {
            panic!("a row has a key, a meaning, a default and limits: {row}");
        };
        (key.clone(), default.clone(), limits.clone())
    })
    .collect()
}

#[test]
fn the_document_lists_every_key_with_its_default_and_limits() {
    let toml = "[[retention]]\n[[detect]]\n[[percentiles]]\n[[rule]]\n[[sink.kafka]]\n[[sink.webhook]]\n[[sink.file]]\n\
                [[sink.stdout]]\n[[source.kafka]]\n";
    let mut findings = Findings::default();
    read(toml.parse().unwrap(), &BTreeMap::new(), &mut findings);
    let known: BTreeSet<_> =
        findings.known.into_iter().map(|known| (known.key, known.default, known.limits)).collect();
    let documented = documented();
    let missing: Vec<_> = known.difference(&documented).collect();
    let outdated: Vec<_> = documented.difference(&known).collect();
    assert!(
        missing.is_empty() && outdated.is_empty(),
        "missing {missing:#?}, outdated {outdated:#?}"
    );
}

#[test]
fn the_documents_examples_are_good() {
    let blocks = |document: &'static str| document.split("```toml\n").skip(1);
    assert!(blocks(DOCUMENT).count() > 2 && blocks(RULES).count() > 2);
    for block in blocks(DOCUMENT).chain(blocks(RULES)).chain(blocks(KAFKA)) {
        let toml = block.split("```").next().unwrap();
        if let Err(problems) = load(toml, &[("HOOK_SECRET", "s"), ("KAFKA_PASSWORD", "s")], &[]) {
            panic!("{problems:?} in {toml}");
        }
    }
}
