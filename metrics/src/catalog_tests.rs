use super::*;

fn key(measurement: &str, field: &str, labels: &[(&str, &str)]) -> SeriesKey {
    let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    SeriesKey::new("default", measurement, field, labels).unwrap()
}

#[test]
fn a_series_is_registered_once_and_found_by_all_ways() {
    let catalog = SeriesCatalog::new(10);
    let (one, entry) = catalog.register(&key("cpu", "user", &[("host", "a")])).unwrap();
    let (two, _) = catalog.register(&key("cpu", "user", &[("host", "b")])).unwrap();
    let (again, _) = catalog.register(&key("cpu", "user", &[("host", "a")])).unwrap();
    assert_eq!((one, two, again), (SeriesRef(0), SeriesRef(1), SeriesRef(0)));
    assert_eq!(catalog.find(entry.id), Some(one));
    let view = catalog.metric("default", "cpu_user").unwrap();
    assert_eq!(view.label_keys, ["host"]);
    assert_eq!(view.series.len(), 2);
    assert_eq!(catalog.since(1).len(), 1);
    let mut seen = Vec::new();
    catalog.visit_metrics(|db, metric, series| seen.push(format!("{db} {metric} {series:?}")));
    assert_eq!(seen, ["default cpu_user [SeriesRef(0), SeriesRef(1)]"]);
    let mut seen = Vec::new();
    catalog.visit_labels(|db, metric, label| {
        seen.push(format!("{db} {metric} {} {} {}", label.key, label.values, label.is_exact));
    });
    assert_eq!(seen, ["default cpu_user host 2 true"]);
    assert!(!entry.is_logged());
}

#[test]
fn two_pairs_with_one_name_are_refused() {
    let catalog = SeriesCatalog::new(10);
    catalog.register(&key("a_b", "c", &[])).unwrap();
    for labels in [&[][..], &[("host", "a")]] {
        let refused = catalog.register(&key("a", "b_c", labels)).unwrap_err();
        assert!(matches!(refused, MetricsError::NameTaken { .. }), "{refused}");
    }
    assert_eq!(catalog.len(), 1);
}

#[test]
fn the_limits_of_series_and_label_keys_hold() {
    let catalog = SeriesCatalog::new(130);
    for i in 0..128 {
        catalog.register(&key("m", "value", &[(&format!("k{i}"), "v")])).unwrap();
    }
    let refused = catalog.register(&key("m", "value", &[("k128", "v")])).unwrap_err();
    assert!(matches!(refused, MetricsError::MetricLabelKeys { .. }));
    catalog.register(&key("n", "value", &[])).unwrap();
    catalog.register(&key("o", "value", &[])).unwrap();
    let refused = catalog.register(&key("p", "value", &[])).unwrap_err();
    let MetricsError::SeriesRefused(refused) = refused else { panic!("{refused}") };
    assert_eq!(refused.limit, SeriesLimit::Series(130));
}

#[test]
fn a_registration_from_the_log_keeps_its_reference_and_may_repeat() {
    let catalog = SeriesCatalog::new(10);
    let series = key("cpu", "user", &[("host", "a")]);
    catalog.restore(SeriesRef(7), &series).unwrap();
    catalog.restore(SeriesRef(7), &series).unwrap();
    assert!(catalog.restore(SeriesRef(8), &series).is_err());
    assert!(catalog.get(SeriesRef(7)).unwrap().is_logged());
    let (fresh, _) = catalog.register(&key("cpu", "user", &[])).unwrap();
    assert_eq!(fresh, SeriesRef(8), "references are never reused");
}

/// The refusal of a series of `measurement` whose label `id` is `id`, or nothing.
fn refusal(catalog: &SeriesCatalog, measurement: &str, id: usize) -> Option<SeriesRefused> {
    let labels = [("id", &*id.to_string()), ("zone", &*(id % 3).to_string())];
    match catalog.register(&key(measurement, "value", &labels)) {
        Ok(_) => None,
        Err(MetricsError::SeriesRefused(refused)) => Some(*refused),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn used_up_memory_refuses_new_series_and_none_that_is_known() {
    let limits = SeriesLimits { bytes_max: 100_000, ..SeriesLimits::NONE };
    let catalog = SeriesCatalog::with(limits, SeriesCosts::new(|_| 500));
    let taken = (0..1_000).take_while(|id| refusal(&catalog, "m", *id).is_none()).count();
    assert!((90..150).contains(&taken), "{taken} series of some 800 bytes");
    assert!((99_000..101_000).contains(&catalog.bytes()), "{}", catalog.bytes());
    let before = catalog.bytes();
    for id in 0..taken {
        assert_eq!(refusal(&catalog, "m", id), None, "series {id} is known");
    }
    let refused = refusal(&catalog, "m", taken).unwrap();
    assert_eq!(refused.limit, SeriesLimit::Memory);
    let label = Some(LabelValues { key: "id".to_owned(), values: taken as u64, is_exact: true });
    let size = MetricSize { metric: "m".to_owned(), series: taken, label };
    assert_eq!((refused.size.as_ref(), refused.is_new_metric), (Some(&size), false));
    let refused = refusal(&catalog, "another", 0).unwrap();
    assert_eq!((refused.size.as_ref(), refused.is_new_metric), (Some(&size), true));
    assert_eq!((catalog.bytes(), catalog.metrics("default").len()), (before, 1), "nothing is kept");
    assert_eq!(catalog.gauges().series.get(), i64::try_from(taken).unwrap());
}

#[test]
fn what_the_log_holds_is_taken_whatever_the_limits() {
    let limits =
        SeriesLimits { bytes_max: 1, series_max: 1, per_database_max: 1, per_metric_max: 1 };
    let catalog = SeriesCatalog::with(limits, SeriesCosts::default());
    for id in 0..100 {
        let series = key("m", "value", &[("id", &id.to_string())]);
        catalog.restore(SeriesRef(id), &series).unwrap();
        assert_eq!(catalog.register(&series).unwrap().0, SeriesRef(id));
    }
    assert!(refusal(&catalog, "m", 100).is_some());
    assert!(catalog.bytes() > 100 * (ENTRY_BYTES + INDEX_BYTES), "they count");
}

#[test]
fn each_limit_is_named_and_the_narrowest_first() {
    let none = SeriesLimits::NONE;
    let of = |limits| SeriesCatalog::with(limits, SeriesCosts::default());
    let (metric, database) = (SeriesLimit::Metric(3), SeriesLimit::Database(4));
    let catalog = of(SeriesLimits { per_metric_max: 3, per_database_max: 4, ..none });
    assert!((0..3).all(|id| refusal(&catalog, "m", id).is_none()));
    assert_eq!(refusal(&catalog, "m", 3).unwrap().limit, metric);
    assert_eq!(refusal(&catalog, "n", 3), None, "another metric has room");
    assert_eq!(refusal(&catalog, "n", 4).unwrap().limit, database);
    assert_eq!(refusal(&catalog, "m", 4).unwrap().limit, metric);
    let other = SeriesKey::new("other", "m", "value", Vec::new()).unwrap();
    assert!(catalog.register(&other).is_ok(), "another database has room");
    let catalog = of(SeriesLimits { series_max: 2, bytes_max: 1, ..none });
    assert_eq!(refusal(&catalog, "m", 0).unwrap().limit, SeriesLimit::Memory);
    let catalog = of(SeriesLimits { series_max: 0, bytes_max: 1, ..none });
    assert_eq!(refusal(&catalog, "m", 0).unwrap().limit, SeriesLimit::Series(0));
}
