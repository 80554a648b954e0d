//! What names of topics and lists of brokers look like.

/// Bytes of a topic's name: Kafka's own limit.
const NAME_BYTES_MAX: usize = 249;

/// Whether a topic can have this name: 1 to 249 letters, digits, dots, dashes and underscores.
#[must_use]
pub fn is_topic(text: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(is_good)
        && !matches!(text, "." | "..")
}

/// Whether this can be hosts and ports with commas between.
#[must_use]
pub fn are_brokers(text: &str) -> bool {
    text.split(',').all(|broker| !broker.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_topics_are_those_that_kafka_takes() {
        for good in ["metrics.cpu-1_a", "A", "...", &"x".repeat(249)] {
            assert!(is_topic(good), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "m\u{e9}", "^a", &"x".repeat(250)] {
            assert!(!is_topic(bad), "{bad}");
        }
    }

    #[test]
    fn lists_of_brokers_have_no_holes() {
        assert!(are_brokers("one:1") && are_brokers("one:1, two:2"));
        assert!(!are_brokers("") && !are_brokers("one:1,,two:2") && !are_brokers("one:1,"));
    }
}
