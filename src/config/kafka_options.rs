//! `options`, `options_env` and `options_file` of whatever talks to Kafka.

use std::collections::BTreeMap;

use tidewatch_kafka::KafkaOption;

use crate::config::secret_file::read_secret;
use crate::config::section::Section;

/// The options of librdkafka, as they stand and as variables of the environment and files hold them.
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
    let limits = "{ \"sasl.password\" = \"/run/secrets/password\" }";
    for (name, path) in section.texts("options_file", limits) {
        match read_secret(&path) {
            Ok(value) => options.push(KafkaOption { name, value }),
            Err(why) => section.problem(&format!("options_file.{name:?}"), why),
        }
    }
    options
}
