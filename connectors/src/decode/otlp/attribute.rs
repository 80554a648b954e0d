//! Attributes, which become labels.
//!
//! ```text
//! KeyValue = 1: key | 2: AnyValue
//! AnyValue = 1: text | 2: bool | 3: int64 | 4: double | 5: array | 6: key-value list | 7: bytes
//! ```
#![deny(clippy::indexing_slicing)]

use crate::decode::item_errors::ItemReason;
use crate::decode::wire::{Malformed, Value, Wire};

/// Attributes of a resource that become labels: those that tell it from others. All of them would make series of
/// every process, and long ones.
pub(crate) const RESOURCE_LABELS: [&str; 9] = [
    "service.name",
    "service.namespace",
    "service.instance.id",
    "deployment.environment.name",
    "host.name",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.container.name",
];

const KEY: u64 = 1;
const VALUE: u64 = 2;

/// Whether an attribute of a resource becomes a label.
pub(crate) fn is_resource_label(attribute: &[u8]) -> Result<bool, Malformed> {
    let mut fields = Wire::new(attribute);
    let mut key: &[u8] = &[];
    while let Some(field) = fields.next()? {
        match (field.number, field.value) {
            (KEY, Value::Bytes(start)) => key = fields.between(start, field.end),
            (KEY, _) => return Err(Malformed { at: field.at }),
            _ => {}
        }
    }
    Ok(RESOURCE_LABELS.iter().any(|label| label.as_bytes() == key))
}

/// The label that an attribute is: numbers and booleans as text, an empty value for none.
pub(crate) fn attribute(attribute: &[u8]) -> Result<(String, String), ItemReason> {
    let malformed = |_: Malformed| ItemReason::MalformedLabel;
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_error| ItemReason::NotUtf8);
    let (mut key, mut value) = ("", Ok(String::new()));
    let mut fields = Wire::new(attribute);
    while let Some(field) = fields.next().map_err(malformed)? {
        match (field.number, field.value) {
            (KEY, Value::Bytes(start)) => key = text(fields.between(start, field.end))?,
            (VALUE, Value::Bytes(start)) => any_value(fields.inner(start, &field), &mut value)?,
            (KEY | VALUE, _) => return Err(ItemReason::MalformedLabel),
            _ => {}
        }
    }
    Ok((key.to_owned(), value?))
}

/// The last one of what a value may be counts.
fn any_value(
    mut fields: Wire<'_>,
    value: &mut Result<String, ItemReason>,
) -> Result<(), ItemReason> {
    let malformed = |_: Malformed| ItemReason::MalformedLabel;
    while let Some(field) = fields.next().map_err(malformed)? {
        *value = match (field.number, field.value) {
            (1, Value::Bytes(start)) => {
                let text = std::str::from_utf8(fields.between(start, field.end));
                Ok(text.map_err(|_error| ItemReason::NotUtf8)?.to_owned())
            }
            (2, Value::Varint(bits)) => Ok((bits != 0).to_string()),
            (3, Value::Varint(bits)) => Ok(bits.cast_signed().to_string()),
            (4, Value::Fixed64(bits)) => Ok(f64::from_bits(bits).to_string()),
            (5..=7, Value::Bytes(_)) => Err(ItemReason::LabelNotScalar),
            (1..=7, _) => return Err(ItemReason::MalformedLabel),
            _ => continue,
        };
    }
    Ok(())
}
