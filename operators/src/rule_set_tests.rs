use proptest::prelude::*;
use tidewatch_metrics::SeriesKey;

use super::*;
use crate::detect::Direction;
use crate::limits::RULE_DURATION_NANOS_MAX;
use crate::model::Model;
use crate::series_kind::SeriesKind;

fn config(name: &str, when: &str, matchers: &[(&str, &str)]) -> RuleConfig {
    RuleConfig {
        name: name.to_owned(),
        matchers: matchers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        when: when.to_owned(),
        for_nanos: 300_000_000_000,
        keep_firing_nanos: 120_000_000_000,
        priority: "page".to_owned(),
        ..RuleConfig::default()
    }
}

#[test]
fn the_canonical_text_is_pinned_because_versions_and_alert_keys_hang_on_it() {
    let matchers = [("region", "~ eu-.*"), ("metric", "latency_ms"), ("metric", "= latency_ms")];
    let set = RuleSet::new(vec![config("checkout \"slow\"", "severity>6.0", &matchers)]).unwrap();
    assert_eq!(
        set.canonical_text(),
        "rule \"checkout \\\"slow\\\"\"\n\
         match \"metric\" \"= latency_ms\"\n\
         match \"region\" \"~ eu-.*\"\n\
         when severity > 6\n\
         for 300000000000\n\
         keep_firing 120000000000\n\
         priority \"page\"\n"
    );
    assert_eq!(set.rules()[0].version, "b561988e99c03fcb");
}

#[test]
fn a_budget_is_a_line_of_the_text_and_other_rules_keep_theirs() {
    let plain = config("r", "severity > 6", &[]);
    let text = |budget| {
        let set = RuleSet::new(vec![RuleConfig { budget, ..plain.clone() }]).unwrap();
        let again = RuleSet::from_canonical_text(&set.canonical_text()).unwrap();
        assert_eq!(again.rules()[0].budget, set.rules()[0].budget);
        assert_eq!(again.rules()[0].hash, set.rules()[0].hash);
        set.canonical_text()
    };
    let without = text(None);
    for (budget, line) in [(2.0, "budget 2\n"), (0.25, "budget 0.25\n"), (1e6, "budget 1000000\n")]
    {
        let behind = "keep_firing 120000000000\n";
        assert_eq!(text(Some(budget)), without.replace(behind, &format!("{behind}{line}")));
    }
    let twice = text(Some(2.0)).replace("budget 2\n", "budget 2\nbudget 2\n");
    let refused = RuleSet::from_canonical_text(&twice).unwrap_err();
    assert_eq!(refused, RuleTextError::Syntax { line: 6 });
}

#[test]
fn a_budget_that_cannot_be_kept_is_refused() {
    let refused = |when: &str, budget: f64| {
        let rule = RuleConfig { budget: Some(budget), ..config("r", when, &[]) };
        RuleSet::new(vec![rule]).err().map(|errors| {
            assert_eq!((errors.len(), errors[0].key.as_str()), (1, "budget"), "{when}");
            errors[0].problem.clone()
        })
    };
    for good in [1e-300, 0.1, 2.0, 1e6] {
        assert_eq!(refused("severity >= 6", good), None);
        assert_eq!(refused("score > 0.6", good), None);
    }
    for bad in [0.0, -1.0, -0.0, 1e6 + 1.0, f64::INFINITY, f64::NAN] {
        assert_eq!(refused("severity > 6", bad), Some(RuleProblem::Budget), "{bad}");
    }
    for when in [
        "value > 6",
        "rate > 6",
        "severity < 6",
        "severity == 6",
        "score != 0.5",
        "absent",
        "absent > 60",
    ] {
        assert_eq!(refused(when, 2.0), Some(RuleProblem::BudgetWithoutSeverity), "{when}");
    }
    let quantile =
        RuleConfig { budget: Some(2.0), ..config("r", "percentile(\"p\", 0.5) > 6", &[]) };
    let errors = RuleSet::with_percentiles(&[quantile], &[percentiles("p")]).unwrap_err();
    assert_eq!(errors[0].problem, RuleProblem::BudgetWithoutSeverity);
}

#[test]
fn all_problems_are_told_at_once_with_rule_and_key() {
    let mut bad = config("bad", "rates > 1", &[("host", "~ ("), ("", "x"), ("zone", "!=a")]);
    bad.for_nanos = -1;
    bad.keep_firing_nanos = RULE_DURATION_NANOS_MAX + 1;
    bad.priority = "a\nb".to_owned();
    let twin = config("good", "value > 1", &[]);
    let errors = RuleSet::new(vec![bad, twin.clone(), twin, config("", "value > 1", &[])]);
    let found: Vec<(String, String)> =
        errors.unwrap_err().into_iter().map(|e| (e.rule, e.key)).collect();
    let expected = [
        ("bad", "priority"),
        ("bad", "for"),
        ("bad", "keep_firing"),
        ("bad", "match.host"),
        ("bad", "match."),
        ("bad", "match.zone"),
        ("bad", "when"),
        ("good", "name"),
        ("", "name"),
    ];
    assert_eq!(found, expected.map(|(rule, key)| (rule.to_owned(), key.to_owned())));
}

#[test]
fn a_problem_reads_as_a_sentence() {
    let errors = RuleSet::new(vec![config("r", "6 < value", &[("a", "~eu")])]).unwrap_err();
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "rule \"r\": match.a is \"~eu\": an operator (=, !=, ~, !~) needs a space behind it; \
             write \"= ~eu\" for this very text",
            "rule \"r\": when is \"6 < value\", but must be \"value\", \"severity\", \"score\" or \
             \"rate\", then one of > >= < <= == != and a finite number, as in \"severity > 6\"; \
             or \"absent\", alone or with > and whole seconds from 1 to 2592000; or \
             percentile(\"NAME\", Q) with the name of a [[percentiles]], then as the first ones",
        ]
    );
}

#[test]
fn too_many_rules_are_refused() {
    let many = (0..=RULES_MAX).map(|i| config(&i.to_string(), "value > 1", &[])).collect();
    let errors = RuleSet::new(many).unwrap_err();
    assert_eq!(errors[0].problem, RuleProblem::TooManyRules { count: RULES_MAX + 1 });
}

#[test]
fn a_text_that_is_not_canonical_names_its_line() {
    let good = RuleSet::new(vec![config("r", "value > 1", &[("a", "b")])]).unwrap();
    let text = good.canonical_text();
    let lines: Vec<&str> = text.lines().collect();
    for cut in 1..lines.len() {
        let part = lines[..cut].join("\n");
        let refused = RuleSet::from_canonical_text(&part).unwrap_err();
        assert_eq!(refused, RuleTextError::Syntax { line: cut + 1 }, "{part}");
    }
    for line in 0..lines.len() {
        let mut changed = lines.clone();
        changed[line] = "nonsense";
        let refused = RuleSet::from_canonical_text(&changed.join("\n")).unwrap_err();
        assert_eq!(refused, RuleTextError::Syntax { line: line + 1 });
    }
    let refused = RuleSet::from_canonical_text(&text.replace("> 1", "> x")).unwrap_err();
    assert!(matches!(refused, RuleTextError::Rules(errors) if errors[0].key == "when"));
}

fn detect(config: &DetectConfig) -> DetectRule {
    DetectRule::new(config).unwrap()
}

#[test]
fn the_text_of_detection_stands_last_in_the_order_given_without_what_is_not_set() {
    let latency = DetectConfig {
        matchers: vec![
            ("metric".to_owned(), "latency_ms".to_owned()),
            ("host".to_owned(), "~ a|\"b\"".to_owned()),
        ],
        model: Model::Auto,
        direction: Direction::Above,
        min_deviation: 2.5,
        range: Some([-0.0, f64::INFINITY]),
        min_samples: 100,
        kind: SeriesKind::Counter,
        time_zone: "Asia/Kolkata".parse().unwrap(),
    };
    let rest = DetectConfig { model: Model::Novelty, ..DetectConfig::default() };
    let windows = PercentilesConfig {
        name: "p".to_owned(),
        window_nanos: 60_000_000_000,
        slide_nanos: 60_000_000_000,
        quantiles: vec![0.5],
        ..PercentilesConfig::default()
    };
    let rules = [config("r", "value > 1", &[])];
    let set = RuleSet::with_percentiles(&rules, &[windows]).unwrap();
    let before = set.canonical_text();
    let detects = vec![detect(&latency), detect(&rest)];
    let set = set.with_detection(detects.clone()).unwrap();
    let text = set.canonical_text();
    assert_eq!(
        text.strip_prefix(&before).unwrap(),
        "zone \"Asia/Kolkata\" 21208 -3645237208 21200 -3155694800 19270 -2019705670 19800 \
         -891581400 23400 -872058600 19800 -862637400 23400 -764145000 19800\n\
         detect \"auto\"\n\
         match \"host\" \"~ a|\\\"b\\\"\"\n\
         match \"metric\" \"= latency_ms\"\n\
         direction above\n\
         min_dev_from_expected 2.5\n\
         data_range 0 inf\n\
         min_samples 100\n\
         kind counter\n\
         time_zone \"Asia/Kolkata\"\n\
         detect \"novelty\"\n"
    );
    let back = RuleSet::from_canonical_text(&text).unwrap();
    assert_eq!(back.canonical_text(), text);
    assert_eq!(back.detects()[0].detection, set.detects()[0].detection);
    let alone = RuleSet::default().with_detection(detects).unwrap().canonical_text();
    assert_eq!(RuleSet::from_canonical_text(&alone).unwrap().canonical_text(), alone);
    for (line, wrong) in [
        (0, "zone \"Asia/Kolkata\" 21208 -3645237208"),
        (1, "detect \"full\""),
        (4, "direction up"),
        (5, "min_dev_from_expected x"),
        (6, "data_range 0"),
        (7, "min_samples -1"),
        (8, "kind sum"),
        (9, "time_zone \"Europe/Berlin\""),
    ] {
        let mut lines: Vec<&str> = text.lines().collect();
        let line = before.lines().count() + line;
        lines[line] = wrong;
        let refused = RuleSet::from_canonical_text(&lines.join("\n")).unwrap_err();
        assert_eq!(refused, RuleTextError::Syntax { line: line + 1 }, "{wrong}");
    }
    let refused = RuleSet::from_canonical_text(&text.replace("0 inf", "inf inf")).unwrap_err();
    let RuleTextError::Rules(errors) = refused else { panic!("{refused:?}") };
    assert_eq!((errors[0].rule.as_str(), errors[0].key.as_str()), ("1", "data_range"));
}

#[test]
fn what_a_zone_is_the_text_says_and_no_database() {
    for (zone, table) in [("Asia/Kolkata", "21208 -1 3600"), ("Atlantis/Poseidonis", "-3600")] {
        let text = format!("zone \"{zone}\" {table}\ndetect \"auto\"\ntime_zone \"{zone}\"\n");
        assert_eq!(RuleSet::from_canonical_text(&text).unwrap().canonical_text(), text);
    }
}

#[test]
fn detection_that_cannot_be_meant_is_refused_with_its_keys() {
    let keys = |config: &DetectConfig| -> Vec<String> {
        DetectRule::new(config).unwrap_err().into_iter().map(|(key, _)| key).collect()
    };
    let bad = DetectConfig {
        matchers: vec![("host".to_owned(), "~ (".to_owned())],
        min_deviation: f64::NAN,
        range: Some([1.0, 1.0]),
        min_samples: 1_000_001,
        ..DetectConfig::default()
    };
    assert_eq!(keys(&bad), ["match.host", "min_dev_from_expected", "data_range", "min_samples"]);
    for min_deviation in [-1.0, f64::INFINITY] {
        let config = DetectConfig { min_deviation, ..DetectConfig::default() };
        assert_eq!(keys(&config), ["min_dev_from_expected"]);
    }
    let infinity = f64::INFINITY;
    for range in [[2.0, 1.0], [f64::NAN, 1.0], [infinity, infinity], [-infinity, -infinity]] {
        let config = DetectConfig { range: Some(range), ..DetectConfig::default() };
        assert_eq!(keys(&config), ["data_range"], "{range:?}");
    }
    for model in Model::ALL {
        let config = DetectConfig { model, kind: SeriesKind::Counter, ..DetectConfig::default() };
        if matches!(model, Model::Novelty | Model::Deviation | Model::Auto) {
            assert_eq!(detect(&config).detection.knobs.kind, SeriesKind::Counter);
        } else {
            assert_eq!(keys(&config), ["kind"], "{model}");
        }
    }
    let many = vec![detect(&DetectConfig::default()); DETECTS_MAX + 1];
    let refused = RuleSet::default().with_detection(many).unwrap_err();
    assert_eq!(refused[0].problem, RuleProblem::TooManyDetects { count: DETECTS_MAX + 1 });
    let text = "detect \"light\"\n".repeat(DETECTS_MAX + 2);
    assert!(matches!(RuleSet::from_canonical_text(&text), Err(RuleTextError::Rules(_))));
}

proptest! {
    #[test]
    fn canonical_texts_come_back_and_do_not_depend_on_order(
        rules in proptest::collection::btree_map(
            "[ -~é]{1,12}",
            (proptest::collection::vec(("[ -~\n]{1,6}", "[ -~\n]{0,6}"), 0..4), -1e9..1e9_f64,
             0..RULE_DURATION_NANOS_MAX, proptest::option::of(1e-300..1e6_f64), "[ -~]{0,8}"),
            0..5,
        ),
    ) {
        let configs: Vec<RuleConfig> = rules.into_iter().map(|(name, (matchers, bound, nanos, budget, priority))| {
            let matchers = matchers.into_iter().map(|(k, v)| (k, format!("!= {v}"))).collect();
            let subject = if budget.is_some() { "severity" } else { "value" };
            let when = format!("{subject} >= {bound}");
            RuleConfig { name, matchers, when, for_nanos: nanos, keep_firing_nanos: nanos, budget, priority }
        }).collect();
        let reversed = configs.iter().rev().cloned().collect();
        let text = RuleSet::new(configs).unwrap().canonical_text();
        prop_assert_eq!(&RuleSet::new(reversed).unwrap().canonical_text(), &text);
        prop_assert_eq!(RuleSet::from_canonical_text(&text).unwrap().canonical_text(), text);
    }

    #[test]
    fn foreign_texts_never_panic(text in "(rule|match|when|for|[ \"\\\\n0-9a>\n])*") {
        if let Ok(set) = RuleSet::from_canonical_text(&text) {
            prop_assert!(RuleSet::from_canonical_text(&set.canonical_text()).is_ok());
        }
    }
}

fn percentiles(name: &str) -> PercentilesConfig {
    PercentilesConfig {
        name: name.to_owned(),
        matchers: vec![("metric".to_owned(), "latency_ms".to_owned())],
        by: vec!["service".to_owned(), "host".to_owned()],
        window_nanos: 60_000_000_000,
        slide_nanos: 10_000_000_000,
        quantiles: vec![0.99, 0.5],
        lateness_nanos: 30_000_000_000,
        keep_nanos: 600_000_000_000,
    }
}

#[test]
fn the_text_of_percentiles_stands_behind_that_of_the_rules_and_comes_back() {
    let rule = config("by \"p\"\npercentiles \"x\"", "value > 1", &[("host", "percentiles \"x\"")]);
    let rule = RuleConfig { name: rule.name.replace('\n', " "), ..rule };
    for rules in [vec![], vec![rule]] {
        let set = RuleSet::with_percentiles(&rules, &[percentiles("z"), percentiles("a")]).unwrap();
        let text = set.canonical_text();
        assert!(text.ends_with(
            "percentiles \"z\"\nmatch \"metric\" \"= latency_ms\"\nby \"service\"\nby \"host\"\n\
             window 60000000000\nslide 10000000000\nquantiles 0.5 0.99\nlateness 30000000000\n\
             keep 600000000000\n"
        ));
        let again = RuleSet::from_canonical_text(&text).unwrap();
        assert_eq!((again.len(), again.percentiles().len()), (rules.len(), 2));
        assert_eq!(again.canonical_text(), text);
        let line = text.lines().count();
        let cut = text.trim_end_matches("keep 600000000000\n");
        let found = RuleSet::from_canonical_text(cut).unwrap_err();
        assert_eq!(found, RuleTextError::Syntax { line });
    }
}

#[test]
fn percentiles_that_cannot_be_meant_are_refused_with_their_keys() {
    let bad = |change: fn(&mut PercentilesConfig)| {
        let mut config = percentiles("p");
        change(&mut config);
        let errors = RuleSet::with_percentiles(&[], &[config]).unwrap_err();
        errors.iter().map(|e| format!("{}.{}", e.list, e.key)).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(bad(|c| c.name = String::new()), "percentiles.name");
    assert_eq!(bad(|c| c.matchers[0].1 = "~ (".to_owned()), "percentiles.match.metric");
    assert_eq!(bad(|c| c.by.push("host".to_owned())), "percentiles.by");
    assert_eq!(bad(|c| c.by.push(String::new())), "percentiles.by");
    assert_eq!(bad(|c| c.window_nanos = 61_000_000_000), "percentiles.slide");
    assert_eq!(bad(|c| c.slide_nanos = 0), "percentiles.slide");
    assert_eq!(bad(|c| c.window_nanos = 86_400_000_000_000), "percentiles.slide");
    assert_eq!(bad(|c| c.window_nanos = -1), "percentiles.window percentiles.slide");
    assert_eq!(bad(|c| c.lateness_nanos = -1), "percentiles.lateness");
    assert_eq!(bad(|c| c.keep_nanos = i64::MAX), "percentiles.keep");
    for quantiles in [vec![], vec![0.5, 0.5], vec![1.1], vec![f64::NAN], vec![-0.0, 0.0]] {
        let config = PercentilesConfig { quantiles, ..percentiles("p") };
        let errors = RuleSet::with_percentiles(&[], &[config]).unwrap_err();
        assert_eq!(errors.iter().map(|e| e.key.as_str()).collect::<Vec<_>>(), ["quantiles"]);
    }
    let twins = [percentiles("p"), percentiles("p")];
    let errors = RuleSet::with_percentiles(&[], &twins).unwrap_err();
    assert_eq!(errors[0].problem, RuleProblem::DuplicateName);
    let many = vec![percentiles("p"); PERCENTILES_MAX + 1];
    assert_eq!(RuleSet::with_percentiles(&[], &many).unwrap_err().len(), 1);
}

/// The errors of a rule on the percentiles "latency", as `check` shows them.
fn window_errors(when: &str, matchers: &[(&str, &str)], others: &[&str]) -> Vec<String> {
    let mut all: Vec<_> = others.iter().map(|name| percentiles(name)).collect();
    all.push(PercentilesConfig {
        by: vec!["service".to_owned()],
        matchers: vec![("metric".to_owned(), "latency_ms".to_owned())],
        ..percentiles("latency")
    });
    let errors = RuleSet::with_percentiles(&[config("r", when, matchers)], &all).err();
    errors.unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test]
fn rules_on_percentiles_come_back_from_their_text() {
    let when = r#" percentile( "latency",0.999 ) >= 250"#;
    let rule = config("r", when, &[("service", "~ a.*"), ("metric", "latency_ms")]);
    let latency = PercentilesConfig { by: vec!["service".to_owned()], ..percentiles("latency") };
    let set = RuleSet::with_percentiles(&[rule], &[latency, percentiles("z")]).unwrap();
    let text = set.canonical_text();
    assert!(text.contains("\nwhen percentile(\"latency\", 0.999) >= 250\n"), "{text}");
    let again = RuleSet::from_canonical_text(&text).unwrap();
    assert_eq!(again.canonical_text(), text);
    assert_eq!((again.watching(0), again.watching(1)), (&[0_usize][..], &[][..]));
    assert!(again.watches_windows());
    let labels = vec![("service".to_owned(), "a".to_owned())];
    let key = SeriesKey::new("default", "latency", "ms", labels).unwrap();
    assert!(!again.rules()[0].matches(&key), "a rule on windows watches no series");
}

#[test]
fn rules_on_percentiles_that_cannot_be_meant_are_refused_with_what_there_is() {
    let good = r#"percentile("latency", 0.99) > 250"#;
    let groups = [("service", "!= canary"), ("metric", "~ latency_.*")];
    assert_eq!(window_errors(good, &groups, &[]), Vec::<String>::new());
    assert_eq!(
        window_errors(r#"percentile("typo", 0.99) > 250"#, &[], &["all"]),
        [r#"rule "r": when names percentiles that are not configured; there are all, latency"#]
    );
    let outside = window_errors(r#"percentile("latency", 99) > 250"#, &[], &[]);
    assert!(outside[0].ends_with("but the quantile must be a number from 0 to 1"), "{outside:?}");
    assert_eq!(
        window_errors(good, &[("host", "a")], &[]),
        [
            r#"rule "r": match.host is no label that the percentiles "latency" group by, so no group has it; add it to their "by", or leave it out here"#
        ]
    );
    assert_eq!(
        window_errors(good, &[("metric", "cpu")], &[]),
        [
            r#"rule "r": match.metric excludes "latency_ms", which is all that the percentiles of the rule count"#
        ]
    );
    let none = RuleSet::new(vec![config("r", good, &[])]).unwrap_err();
    assert!(none[0].to_string().ends_with("there is no [[percentiles]]"), "{none:?}");
    let many: Vec<_> =
        (0..=WINDOW_RULES_MAX).map(|name| config(&name.to_string(), good, &[])).collect();
    let errors = RuleSet::with_percentiles(&many, &[percentiles("latency")]).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0].problem, RuleProblem::TooManyWindowRules { count: WINDOW_RULES_MAX + 1 });
}
