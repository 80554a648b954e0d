//! The samples of one record, of which it is known where everything stands.
#![deny(clippy::indexing_slicing)]

use tidewatch_metrics::EventTime;

use crate::decode::composed::Part;
use crate::decode::item_errors::{ItemReason, Refused};
use crate::decode::json::{JsonMap, Labels, Metric};
use crate::decode::line_batch::Span;
use crate::decode::messages::One;
use crate::decode::record::found::Found;
use crate::decode::record::schema::RecordSchema;
use crate::decode::series_batch::{ItemKey, SeriesBatch, SeriesOptions};

/// A record, and where what it says goes.
pub(super) struct Sample<'a> {
    pub(super) message: &'a One<'a>,
    pub(super) schema: &'a RecordSchema,
    pub(super) map: &'a JsonMap,
    pub(super) options: &'a SeriesOptions,
    /// Where the keys of the message must end.
    pub(super) names_max: usize,
    pub(super) out: &'a mut SeriesBatch,
}

impl Sample<'_> {
    /// The samples of a record: one for each value that is there.
    pub(super) fn take(&mut self, found: &[Found]) -> Result<(), Refused> {
        let Self { message, map, options, .. } = *self;
        let at = |node: usize| found.get(node).copied().unwrap_or_default();
        let time = self.time(at)?;
        options.check_time(time)?;
        let mut is_there = false;
        for (suffix, node) in &map.values {
            let value = match at(*node) {
                Found::Nothing => continue,
                value => value.value(message.bytes).map_err(|reason| reason.at(*node))?,
            };
            is_there = true;
            let key = self.key(suffix, at)?;
            let limits = (self.names_max, options.key_seed);
            self.out.push_composed(message.number, key, (time, value), limits)?;
        }
        let first = map.values.first().map_or(0, |(_, node)| *node);
        if is_there { Ok(()) } else { Err(ItemReason::MissingValue.at(first)) }
    }

    fn time(&mut self, at: impl Fn(usize) -> Found) -> Result<EventTime, Refused> {
        let node = self.map.time.unwrap_or_default();
        match self.map.time.map(at) {
            None | Some(Found::Nothing) => {
                self.message.time.ok_or_else(|| ItemReason::MissingTime.at(node))
            }
            Some(found) => {
                let scratch = &mut self.out.scratch;
                let time = found.time(self.message.bytes, self.map.time_unit, scratch);
                time.map_err(|reason| reason.at(node))
            }
        }
    }

    /// The names of a sample, put together.
    fn key(&mut self, suffix: &str, at: impl Fn(usize) -> Found) -> Result<ItemKey, Refused> {
        let (bytes, schema) = (self.message.bytes, self.schema);
        let composed = &mut self.out.composed;
        let start = composed.len();
        match &self.map.metric {
            Metric::Constant(name) => Part::Metric.append(name.as_bytes(), composed),
            Metric::Node(node) => {
                let name = match at(*node) {
                    Found::Text(text) => text.of(bytes),
                    Found::Symbol { of, index } => schema.symbol(of, index).as_bytes(),
                    Found::Nothing => &[],
                    _ => return Err(ItemReason::NameNotText.at(*node)),
                };
                if name.is_empty() {
                    return Err(ItemReason::MissingName.at(*node));
                }
                Part::Metric.append(name, composed);
            }
        }
        if !suffix.is_empty() {
            Part::Suffix.append(suffix.as_bytes(), composed);
        }
        let scratch = &mut self.out.scratch;
        match &self.map.labels {
            Labels::None => {}
            Labels::Object(node) => {
                let object = at(*node);
                match object {
                    Found::Nothing => {}
                    Found::Members { .. } | Found::Entries { .. } => {
                        let mut labelled = Ok(());
                        let mut label = |key: &[u8], found| {
                            let one =
                                append_label(key, found, (bytes, schema), (scratch, composed));
                            labelled = labelled.and(one);
                        };
                        let walked = schema.members(bytes, object, &mut label);
                        walked.map_err(|_misfit| ItemReason::NotOfSchema)?;
                        labelled.map_err(|reason| reason.at(*node))?;
                    }
                    _ => return Err(ItemReason::LabelsNotObject.at(*node)),
                }
            }
            Labels::Nodes(nodes) => {
                for (key, node) in nodes {
                    let out = (&mut *scratch, &mut *composed);
                    let label = append_label(key.as_bytes(), at(*node), (bytes, schema), out);
                    label.map_err(|reason| reason.at(*node))?;
                }
            }
        }
        Ok(ItemKey { name: Span::between(start, composed.len()), ..ItemKey::default() })
    }
}

/// Appends a label; nothing makes none.
fn append_label(
    key: &[u8],
    found: Found,
    (bytes, schema): (&[u8], &RecordSchema),
    (scratch, composed): (&mut Vec<u8>, &mut Vec<u8>),
) -> Result<(), ItemReason> {
    let value = match found {
        Found::Nothing => return Ok(()),
        Found::Text(text) => text.of(bytes),
        Found::Symbol { of, index } => schema.symbol(of, index).as_bytes(),
        other => {
            scratch.clear();
            other.print(bytes, scratch).ok_or(ItemReason::LabelNotScalar)?;
            scratch
        }
    };
    Part::Key.append(key, composed);
    Part::Value.append(value, composed);
    Ok(())
}
