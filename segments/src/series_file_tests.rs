use tidewatch_metrics::SeriesKey;

use super::*;
use crate::fixtures::{Directory, catalog_of, rows_of};

fn refs(fresh: &FreshSeries) -> Vec<u32> {
    fresh.series.iter().map(|(series, _)| series.0).collect()
}

#[test]
fn each_series_is_written_once_and_only_below_the_greatest_with_rows() {
    let mut directory = Directory::new(1);
    directory.flush(&rows_of(0..4, 0..2));
    directory.flush(&rows_of(2..4, 2..4));
    directory.flush(&rows_of(6..7, 4..6));
    let files: Vec<_> = directory.manifest.files_of(FileKind::Series).cloned().collect();
    let mut found = Vec::new();
    for meta in &files {
        read_series(&directory.disk, directory.dir(), meta, |series, name| {
            let key = directory.catalog.get(series).unwrap().key();
            assert_eq!((name.db.as_str(), name.metric.as_str()), (key.db(), key.metric()));
            found.push(series.0);
        })
        .unwrap();
    }
    assert_eq!(files.len(), 2, "the second flush has no new series");
    assert_eq!(found, [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_catalog_comes_back_with_every_name_and_its_parts() {
    let mut directory = Directory::new(1);
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let keys = [
        SeriesKey::new("db", "cpu", "value", vec![]).unwrap(),
        SeriesKey::new("db", "cpu", "user_time", vec![label("a \"b\"", "é\\\n")]).unwrap(),
        SeriesKey::new("other", "cpu_", "_", vec![label("host", "x"), label("zone", "y")]).unwrap(),
    ];
    directory.catalog = Arc::new(SeriesCatalog::new(10));
    for (series, key) in (0..).zip(&keys) {
        directory.catalog.restore(SeriesRef(series), key).unwrap();
    }
    directory.flush(&rows_of(0..3, 0..2));
    let restored = SeriesCatalog::new(10);
    let (disk, manifest) = (&directory.disk, &directory.manifest);
    assert_eq!(restore_catalog(disk, directory.dir(), manifest, &restored).unwrap(), 3);
    for (series, key) in (0..).zip(&keys) {
        let entry = restored.get(SeriesRef(series)).unwrap();
        assert_eq!(&entry.key(), key);
        assert_eq!(entry.measurement_bytes, key.measurement_bytes());
        assert!(entry.is_logged());
    }
}

#[test]
fn references_without_a_series_are_looked_at_again() {
    let catalog = SeriesCatalog::new(100);
    let key = |name: &str| SeriesKey::new("db", name, "value", vec![]).unwrap();
    catalog.restore(SeriesRef(1), &key("b")).unwrap();
    catalog.restore(SeriesRef(5), &key("f")).unwrap();
    let fresh = FreshSeries::of(&catalog, 8, 0, &[]);
    assert_eq!(refs(&fresh), [1, 5]);
    let range = |start, end| RefRange { start, end };
    assert_eq!(fresh.missing, [range(0, 1), range(2, 5), range(6, 8)]);
    catalog.restore(SeriesRef(3), &key("d")).unwrap();
    catalog.restore(SeriesRef(9), &key("j")).unwrap();
    let again = FreshSeries::of(&catalog, 4, fresh.end, &fresh.missing);
    assert_eq!((refs(&again), again.end), (vec![3], 8));
    assert_eq!(again.missing, [range(0, 1), range(2, 3), range(4, 5), range(6, 8)]);
    let last = FreshSeries::of(&catalog, 10, again.end, &again.missing);
    assert_eq!((refs(&last), last.end), (vec![9], 10));
}

#[test]
fn labels_are_a_json_object_in_the_order_of_their_keys() {
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(labels_json(&[]), "{}");
    let labels = [label("a", "x\"y"), label("b\n", "é")];
    assert_eq!(labels_json(&labels), "{\"a\":\"x\\\"y\",\"b\\n\":\"é\"}");
}

#[test]
fn a_file_of_series_has_the_columns_that_are_promised() {
    let catalog = catalog_of(3);
    let batch = series_batch(&series_schema(), &catalog.since(0));
    let text =
        |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().value(2).to_owned();
    assert_eq!(text("series_id"), catalog.get(SeriesRef(2)).unwrap().id.to_string());
    assert_eq!(text("labels"), "{\"series\":\"2\"}");
    assert_eq!((text("db"), text("metric")), ("default".to_owned(), "metric_00000".to_owned()));
}

#[test]
fn a_row_group_of_names_ends_by_its_bytes() {
    let catalog = SeriesCatalog::new(2_000);
    for series in 0..2_000 {
        let labels = (0..8).map(|label| (format!("l{label}"), format!("{series:04000}")));
        let key = SeriesKey::new("db", "m", "value", labels.collect()).unwrap();
        catalog.restore(SeriesRef(series), &key).unwrap();
    }
    let series = catalog.since(0);
    let sizes: Vec<usize> = groups(&series).map(<[_]>::len).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 2_000, "each series once");
    let expected = GROUP_NAME_BYTES.div_ceil(series[0].1.canonical.len());
    assert!(sizes.len() > 10 && sizes.iter().all(|size| *size <= expected), "{sizes:?}");
}
