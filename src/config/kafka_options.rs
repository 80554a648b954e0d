//! `options` and `options_env` of whatever talks to Kafka.

use std::collections::BTreeMap;

use tidewatch_kafka::KafkaOption;

use crate::config::section::Section;

/// The options of librdkafka, as they stand and as variables of the environment hold them.
pub(crate) fn read_options(
    section: &mut Section<'_>,
    env: &BTreeMap<String, String>,
) -> Vec<KafkaOption> {
    let limits = "{ \"option.of.librdkafka\" = \"value\" }";
    let plain = section.texts("options", limits);
    let mut options: Vec<_> =
        plain.into_iter().map(|(name, value)| KafkaOption { name, value }).collect();
    let limits = "{ \"sasl.password\" = \"NAME_OF_A_VARIABLE\" }";
    for (name, variable) in section.texts("options_env", limits) {
        match env.get(&variable) {
            Some(value) => options.push(KafkaOption { name, value: value.clone() }),
            None => {
                let message = format!("names a variable for {name:?} that is not set");
                section.problem("options_env", message);
            }
        }
    }
    options
}
