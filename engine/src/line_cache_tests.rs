use tidewatch_connectors::decode::{LineOptions, decode};

use super::*;

/// The metrics and labels that each line's samples resolve to, or the refusal.
fn resolve(cache: &mut LineCache, body: &str) -> Vec<Result<Vec<String>, MetricsError>> {
    let options = LineOptions { key_seed: 7, ..LineOptions::default() };
    let mut batch = LineBatch::new();
    decode(body.as_bytes(), &options, &mut batch).unwrap();
    let source = Source { batch: &batch, body: body.as_bytes(), db: "default" };
    let mut targets = Vec::new();
    let mut fresh = Registrations::new();
    let lines = (0..batch.lines()).map(|line| {
        cache.resolve(&source, line, &mut targets, &mut fresh)?;
        let names = targets.iter().map(|target| {
            let entry = cache.catalog.get(target.series).unwrap();
            assert_eq!(entry.id.slot(), target.slot);
            entry.key().metric().to_owned()
        });
        Ok(names.collect())
    });
    lines.collect()
}

fn cache() -> LineCache {
    LineCache::new(Arc::new(SeriesCatalog::new(100)), 1 << 20)
}

#[test]
fn fields_are_found_in_whatever_order_they_come() {
    let mut cache = cache();
    let body = "m,h=a x=1,y=2\nm,h=a y=1,x=2\nm,h=a y=1\nm,h=a z=0,y=3,x=1\nm,h=a x=5,y=6";
    let expected: [&[&str]; 5] =
        [&["m_x", "m_y"], &["m_y", "m_x"], &["m_y"], &["m_z", "m_y", "m_x"], &["m_x", "m_y"]];
    for round in 0..2 {
        for (line, names) in resolve(&mut cache, body).into_iter().zip(expected) {
            assert_eq!(line.unwrap(), names, "round {round}");
        }
    }
    assert_eq!(cache.catalog.len(), 3, "each series once");
}

#[test]
fn a_refused_series_refuses_its_line_and_no_other() {
    let mut cache = cache();
    let lines = resolve(&mut cache, "a_b c=1\na b_c=1\na d=1");
    assert!(matches!(lines[1], Err(MetricsError::NameTaken { .. })), "{lines:?}");
    assert_eq!(lines[0].as_ref().unwrap(), &["a_b_c"]);
    assert_eq!(lines[2].as_ref().unwrap(), &["a_d"]);
}

#[test]
fn a_series_is_registered_by_every_record_until_one_has_its_place_in_the_log() {
    let mut cache = cache();
    let body = "m x=1";
    let mut batch = LineBatch::new();
    decode(body.as_bytes(), &LineOptions::default(), &mut batch).unwrap();
    let source = Source { batch: &batch, body: body.as_bytes(), db: "default" };
    let mut targets = Vec::new();
    for _ in 0..2 {
        let mut fresh = Registrations::new();
        cache.resolve(&source, 0, &mut targets, &mut fresh).unwrap();
        assert_eq!(fresh.len(), 1);
    }
    let entry = cache.catalog.get(targets[0].series).unwrap();
    entry.set_logged();
    let mut fresh = Registrations::new();
    cache.resolve(&source, 0, &mut targets, &mut fresh).unwrap();
    assert!(fresh.is_empty());
}

/// Bytes that the cache's tables and names have.
fn bytes_of(cache: &LineCache) -> usize {
    cache.lines.capacity() * 8 / 7 * LINE_BYTES
        + cache.targets.capacity() * size_of::<Target>()
        + cache.names_bytes
}

#[test]
fn the_memory_is_bounded_and_what_was_forgotten_is_learnt_again() {
    let bytes_max = 256 << 10;
    // Few names of fields, so that lines use the memory up, and so many that names do.
    for names in [10, 7_000] {
        let mut cache = LineCache::new(Arc::new(SeriesCatalog::new(usize::MAX)), bytes_max);
        let mut most = 0;
        for id in (0..10_000).chain(0..10_000) {
            let name = id % names;
            let resolved = resolve(&mut cache, &format!("m,id={id} x=1,f{name}=2"));
            assert_eq!(resolved[0].as_ref().unwrap(), &["m_x".to_owned(), format!("m_f{name}")]);
            most = most.max(bytes_of(&cache));
        }
        assert!(most <= bytes_max + NAME_BYTES, "{most}");
        assert!(names > 10 || most > bytes_max / 4, "the limit is made use of: {most}");
        assert_eq!(cache.catalog.len(), 20_000, "each series once");
    }
}

#[test]
fn nothing_is_kept_of_what_is_refused_and_what_is_known_stays() {
    let mut cache = LineCache::new(Arc::new(SeriesCatalog::new(1)), 1 << 20);
    assert!(resolve(&mut cache, "m,id=old x=1")[0].is_ok());
    let before = (bytes_of(&cache), cache.lines.len(), cache.names.len());
    let lines: String = (0..10_000).map(|id| format!("m,id={id} f{id}=1\n")).collect();
    for refused in resolve(&mut cache, &lines) {
        let refused = refused.unwrap_err().to_string();
        let told = "(limits.series_max = 1): the metric is new; most series of its database has \
                    metric \"m_x\", with 1 series, its label \"id\" has 1 values";
        assert!(refused.ends_with(told), "{refused}");
    }
    assert_eq!((bytes_of(&cache), cache.lines.len(), cache.names.len()), before);
    assert_eq!(resolve(&mut cache, "m,id=old x=1")[0].as_ref().unwrap(), &["m_x"]);
}
