//! Which key was meant.

/// The known key that is nearest to `unknown`, if one is near enough to be worth naming.
///
/// A key of the same name in another section is the best guess, then the fewest changed letters,
/// at most a third of the key.
pub(crate) fn nearest<'a>(unknown: &str, known: &'a [String]) -> Option<&'a str> {
    let name = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    if let Some(moved) = known.iter().find(|key| name(key) == name(unknown)) {
        return Some(moved);
    }
    let distances = known.iter().map(|key| (distance(unknown, key), key));
    let (distance, key) = distances.min()?;
    (distance <= (unknown.chars().count() / 3).max(1)).then_some(key)
}

/// How many letters must be inserted, removed or changed to make `b` of `a` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut diagonal = i;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let changed = diagonal + usize::from(from != *to);
            diagonal = *cell;
            left = changed.min(left + 1).min(*cell + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_named_and_nothing_far_away() {
        let known = ["wal.idle_mark_ms", "wal.segment_bytes_max", "http.listen"].map(str::to_owned);
        for (unknown, meant) in [
            ("wal.idle_mark", Some("wal.idle_mark_ms")),
            ("wal.segments_bytes_max", Some("wal.segment_bytes_max")),
            ("listen", Some("http.listen")),
            ("server.listen", Some("http.listen")),
            ("storage.compression", None),
            ("", None),
        ] {
            assert_eq!(nearest(unknown, &known), meant, "{unknown}");
        }
        assert_eq!(nearest("a", &[]), None);
    }

    #[test]
    fn distances_are_those_of_the_definition() {
        for (a, b, expected) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
            ("flaw", "lawn", 2),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}
