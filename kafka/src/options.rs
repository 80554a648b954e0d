//! Options of librdkafka: what is told to it, and which ones operators may set.

use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError as NativeError;

/// What every client is told unless the options say otherwise.
const DEFAULTS: [(&str, &str); 4] = [
    ("client.id", "tidewatch"),
    // The defaults miss a short outage altogether, and wait for seconds after a long one.
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "500"),
    ("log.connection.close", "false"),
];

/// Options that no client takes, because they have a key of their own or no meaning here.
const REFUSED: [(&str, &str); 6] = [
    ("bootstrap.servers", "is set by brokers"),
    ("metadata.broker.list", "is set by brokers"),
    ("statistics.interval.ms", "has no meaning: /metrics has the figures"),
    ("plugin.library.paths", "would load programs"),
    ("test.mock.num.brokers", "would put a mock in the place of brokers"),
    ("test.mock.broker.rtt", "would put a mock in the place of brokers"),
];

/// An option of librdkafka. `Debug` does not show its value, which may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaOption {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl fmt::Debug for KafkaOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=***", self.name)
    }
}

/// What a kind of client is told besides what all are, as pairs of an option and its value.
#[derive(Clone, Copy, Debug)]
pub struct OptionRules {
    /// What it is told unless the options say otherwise.
    pub defaults: &'static [(&'static str, &'static str)],
    /// What it is told in any case.
    pub fixed: &'static [(&'static str, &'static str)],
    /// Why nobody else may set what is fixed, as the rest of a sentence that begins with the option.
    pub why_fixed: &'static str,
    /// Options that are refused as well, each with its reason, which reads on in the same way.
    pub refused: &'static [(&'static str, &'static str)],
}

/// An option that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("librdkafka does not take the option {name:?}: {problem}")]
pub struct OptionError {
    /// The option.
    pub name: String,
    /// What is wrong with it. Does not hold its value, unless that is known not to be a secret.
    pub problem: String,
}

impl OptionRules {
    /// Whether the option can be set, and librdkafka knows it and takes its value.
    ///
    /// # Errors
    /// If not.
    pub fn check(&self, option: &KafkaOption) -> Result<(), OptionError> {
        let KafkaOption { name, value } = option;
        let refusal =
            |problem: &str| OptionError { name: name.clone(), problem: problem.to_owned() };
        let refused = REFUSED.iter().chain(self.refused).find(|(refused, _)| refused == name);
        if let Some((_, why)) = refused {
            return Err(refusal(why));
        }
        if self.fixed.iter().any(|(fixed, _)| fixed == name) {
            return Err(refusal(self.why_fixed));
        }
        let native = ClientConfig::new().set(name, value).create_native_config();
        native.map(drop).map_err(|error| match error {
            NativeError::ClientConfig(_, problem, _, _) => {
                // Its words may repeat what may be a secret.
                let is_told = value.is_empty() || !problem.contains(value.as_str());
                refusal(if is_told { &problem } else { "its value is not taken" })
            }
            _ => refusal("neither it nor its value may hold a zero byte"),
        })
    }

    /// What librdkafka is told.
    #[must_use]
    pub fn native(&self, brokers: &str, options: &[KafkaOption]) -> ClientConfig {
        let mut native = ClientConfig::new();
        native.set("bootstrap.servers", brokers);
        for (name, value) in DEFAULTS.iter().chain(self.defaults) {
            native.set(*name, *value);
        }
        for KafkaOption { name, value } in options {
            native.set(name, value);
        }
        for (name, value) in self.fixed {
            native.set(*name, *value);
        }
        native
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: OptionRules = OptionRules {
        defaults: &[("fetch.queue.backoff.ms", "20")],
        fixed: &[("auto.offset.reset", "error")],
        why_fixed: "is not for others to set: offsets are kept in the log",
        refused: &[("group.id", "has no meaning: partitions are not shared")],
    };

    fn option(name: &str, value: &str) -> KafkaOption {
        KafkaOption { name: name.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn options_win_over_defaults_and_what_is_fixed_over_both() {
        let options = [
            option("fetch.queue.backoff.ms", "35"),
            option("client.id", "me"),
            option("auto.offset.reset", "latest"),
            option("sasl.password", "hunter2"),
        ];
        let native = RULES.native("one:1", &options);
        assert_eq!(native.get("bootstrap.servers"), Some("one:1"));
        assert_eq!(native.get("fetch.queue.backoff.ms"), Some("35"));
        assert_eq!(native.get("client.id"), Some("me"));
        assert_eq!(native.get("auto.offset.reset"), Some("error"));
        assert_eq!(RULES.native("", &[]).get("reconnect.backoff.ms"), Some("50"));
        assert!(!format!("{options:?}").contains("hunter2"));
    }

    #[test]
    fn options_that_would_break_a_promise_or_that_nobody_knows_are_refused() {
        for (name, value, told) in [
            ("group.id", "g", "not shared"),
            ("bootstrap.servers", "x:1", "set by brokers"),
            ("test.mock.num.brokers", "1", "a mock"),
            ("auto.offset.reset", "earliest", "kept in the log"),
            ("fetch.min.byte", "1", "No such configuration property"),
            ("fetch.min.bytes", "many", "Invalid value"),
            ("security.protocol", "hunter2", "its value is not taken"),
            ("sasl.mechanism\0", "PLAIN", "zero byte"),
        ] {
            let error = RULES.check(&option(name, value)).unwrap_err();
            assert!(error.problem.contains(told) && !error.problem.contains("hunter2"), "{error}");
        }
        for good in [option("security.protocol", "sasl_ssl"), option("client.id", "me")] {
            assert_eq!(RULES.check(&good), Ok(()));
        }
    }
}
