//! A message of a partition whose objects have their members where a [`JsonMap`] says.
#![deny(clippy::indexing_slicing)]

use tidewatch_metrics::EventTime;

use crate::decode::composed::{MESSAGE_NAMES_BYTES_MAX, Part};
use crate::decode::item_errors::{ItemReason, Refused};
use crate::decode::json::decoder::{elements, name, time};
use crate::decode::json::grammar::{Step, Syntax, Text, Walk, skip_space, skip_value, text};
use crate::decode::json::map::{JsonMap, Labels, Metric};
use crate::decode::json::scalar::value;
use crate::decode::line_batch::Span;
use crate::decode::messages::One;
use crate::decode::series_batch::{ItemKey, SeriesBatch, SeriesOptions};

/// The samples of the message, whose bytes are UTF-8: those of one object, or of each of an array.
///
/// Bad samples are noted under the message's number, and the others of the message are taken.
///
/// # Errors
/// Why there is no sample in it; what was taken of it until then must be taken back.
pub(crate) fn decode_message(
    message: &One<'_>,
    map: &JsonMap,
    options: &SeriesOptions,
    out: &mut SeriesBatch,
) -> Result<(), ItemReason> {
    let bytes = message.bytes;
    let pos = skip_space(bytes, message.start);
    let mut taken = 0;
    let names_max = out.composed.len() + MESSAGE_NAMES_BYTES_MAX;
    let mut take = |pos, depth| {
        taken += map.values.len();
        if taken > options.samples_max || out.composed.len() > names_max {
            return skip_value(bytes, pos, depth);
        }
        Sample { message, map, options, names_max, out }.take(pos, depth)
    };
    let end = match bytes.get(pos) {
        Some(b'[') => elements(bytes, pos, &mut |pos| take(pos, 1)),
        _ => take(pos, 0),
    };
    if end.map_or(true, |end| skip_space(bytes, end) < bytes.len()) {
        return Err(ItemReason::BadJson);
    }
    if taken > options.samples_max {
        return Err(ItemReason::TooManySamples);
    }
    let is_long = out.composed.len() > names_max;
    if is_long { Err(ItemReason::NamesTooLong) } else { Ok(()) }
}

/// An object, and where what it says goes.
struct Sample<'a> {
    message: &'a One<'a>,
    map: &'a JsonMap,
    options: &'a SeriesOptions,
    /// Where the keys of the message must end.
    names_max: usize,
    out: &'a mut SeriesBatch,
}

impl Sample<'_> {
    /// Takes the object at `pos`; gives the position behind it.
    fn take(&mut self, pos: usize, depth: usize) -> Result<usize, Syntax> {
        let bytes = self.message.bytes;
        let number = self.message.number;
        if bytes.get(pos) != Some(&b'{') {
            self.out.errors_mut().push(number, ItemReason::NotAnObject, 1);
            return skip_value(bytes, pos, depth);
        }
        let mut places = std::mem::take(&mut self.out.places);
        places.clear();
        places.resize(self.map.len(), Span::default());
        let end = walk((bytes, self.map), (0, pos), depth, &mut places);
        let (items, rows) = (self.out.items(), self.out.rows());
        if end.is_ok()
            && let Err(refused) = self.samples(&places)
        {
            self.out.retract_items(items, rows);
            self.out.errors_mut().push_at(number, refused);
        }
        self.out.places = places;
        end
    }

    /// The samples of an object, of which it is known where everything stands.
    fn samples(&mut self, places: &[Span]) -> Result<(), Refused> {
        let Self { message, map, options, .. } = *self;
        let bytes = message.bytes;
        let found = |node: usize| places.get(node).copied().filter(|span| !is_null(*span, bytes));
        let name = self.name(&found)?;
        let time = self.time(&found)?;
        options.check_time(time)?;
        self.check_labels(&found)?;
        let mut is_there = false;
        for (suffix, node) in &map.values {
            let Some(span) = found(*node) else { continue };
            is_there = true;
            let value =
                value(bytes, span.start as usize, 0).map_err(|_syntax| ItemReason::BadJson)?;
            let value = value.0.map_err(|reason| reason.at(*node))?;
            let key = self.key(name, suffix, &found);
            let limits = (self.names_max, options.key_seed);
            self.out.push_composed(message.number, key, (time, value), limits)?;
        }
        let first = map.values.first().map_or(0, |(_, node)| *node);
        if is_there { Ok(()) } else { Err(ItemReason::MissingValue.at(first)) }
    }

    /// The metric's name between its quotes; nothing where it is a constant.
    fn name(&self, found: &dyn Fn(usize) -> Option<Span>) -> Result<Span, Refused> {
        let Metric::Node(node) = self.map.metric else { return Ok(Span::default()) };
        let at = found(node).ok_or_else(|| ItemReason::MissingName.at(node))?.start as usize;
        let name = name(self.message.bytes, at, 0).map_err(|_syntax| ItemReason::BadJson)?;
        name.0.map_err(|reason| reason.at(node))
    }

    fn time(&self, found: &dyn Fn(usize) -> Option<Span>) -> Result<EventTime, Refused> {
        let node = self.map.time.unwrap_or_default();
        let Some(span) = self.map.time.and_then(found) else {
            return self.message.time.ok_or_else(|| ItemReason::MissingTime.at(node));
        };
        let time = time(self.message.bytes, span.start as usize, 0, self.map.time_unit);
        time.map_err(|_syntax| ItemReason::BadJson)?.0.map_err(|reason| reason.at(node))
    }

    fn check_labels(&self, found: &dyn Fn(usize) -> Option<Span>) -> Result<(), Refused> {
        let bytes = self.message.bytes;
        let first = |node: usize| found(node).and_then(|span| bytes.get(span.start as usize));
        match &self.map.labels {
            Labels::None => Ok(()),
            Labels::Object(node) => match first(*node) {
                None | Some(b'{') => Ok(()),
                Some(_) => Err(ItemReason::LabelsNotObject.at(*node)),
            },
            Labels::Nodes(nodes) => {
                let bad = nodes.iter().find(|(_, node)| matches!(first(*node), Some(b'{' | b'[')));
                bad.map_or(Ok(()), |(_, node)| Err(ItemReason::LabelNotScalar.at(*node)))
            }
        }
    }

    /// The names of a sample, put together.
    fn key(&mut self, name: Span, suffix: &str, found: &dyn Fn(usize) -> Option<Span>) -> ItemKey {
        let bytes = self.message.bytes;
        let composed = &mut self.out.composed;
        let start = composed.len();
        match &self.map.metric {
            Metric::Node(_) => Part::JsonMetric.append(name.of(bytes), composed),
            Metric::Constant(name) => Part::Metric.append(name.as_bytes(), composed),
        }
        if !suffix.is_empty() {
            Part::Suffix.append(suffix.as_bytes(), composed);
        }
        match &self.map.labels {
            Labels::None => {}
            Labels::Object(node) => {
                if let Some(object) = found(*node) {
                    Part::JsonLabels.append(object.of(bytes), composed);
                }
            }
            Labels::Nodes(nodes) => {
                for (key, node) in nodes {
                    let Some(scalar) = found(*node) else { continue };
                    Part::Key.append(key.as_bytes(), composed);
                    match scalar.of(bytes) {
                        [b'"', text @ .., b'"'] => Part::JsonValue.append(text, composed),
                        plain => Part::Value.append(plain, composed),
                    }
                }
            }
        }
        ItemKey { name: Span::between(start, composed.len()), ..ItemKey::default() }
    }
}

/// Notes where the members of the object at `pos`, which `node` is, stand; gives the position behind it.
///
/// It calls itself as deep as the longest path.
fn walk(
    (bytes, map): (&[u8], &JsonMap),
    (node, pos): (usize, usize),
    depth: usize,
    places: &mut [Span],
) -> Result<usize, Syntax> {
    let mut walk_on = Walk::new(pos);
    loop {
        let (member, at): (Text, usize) = match walk_on.member(bytes)? {
            Step::End(end) => return Ok(end),
            Step::Value(member) => member,
        };
        let Some(child) = map.child(node, member, bytes) else {
            walk_on.go_on(skip_value(bytes, at, depth + 1)?);
            continue;
        };
        // Of a member that repeats, the last one counts, with all that is within it.
        let within = child..map.end_of(child);
        let is_leaf = within.len() == 1;
        places.get_mut(within).unwrap_or_default().fill(Span::default());
        let end = if !is_leaf && bytes.get(at) == Some(&b'{') {
            walk((bytes, map), (child, at), depth + 1, places)?
        } else {
            skip_value(bytes, at, depth + 1)?
        };
        if let Some(place) = places.get_mut(child) {
            *place = Span::between(at, end);
        }
        walk_on.go_on(end);
    }
}

/// Nothing is there, or `null` is.
fn is_null(place: Span, bytes: &[u8]) -> bool {
    matches!(place.of(bytes).first(), None | Some(b'n'))
}

/// The labels that the members of an object are: texts, numbers as they stand, `true` and `false`.
pub(crate) fn labels_of_object(
    object: &[u8],
    labels: &mut Vec<(String, String)>,
) -> Result<(), ItemReason> {
    let broken = |_: Syntax| ItemReason::BadJson;
    let mut walk = Walk::new(0);
    loop {
        let (key, at) = match walk.member(object).map_err(broken)? {
            Step::End(_) => return Ok(()),
            Step::Value(member) => member,
        };
        let end = skip_value(object, at, 0).map_err(broken)?;
        let value = match object.get(at) {
            Some(b'"') => super::unescape(text(object, at).map_err(broken)?.of(object)),
            Some(b'{' | b'[') => return Err(ItemReason::LabelNotScalar),
            Some(b'n') => Ok(String::new()),
            _ => super::unescape(object.get(at..end).unwrap_or_default()),
        };
        let key = super::unescape(key.of(object)).map_err(broken)?;
        labels.push((key, value.map_err(broken)?));
        walk.go_on(end);
    }
}

#[cfg(test)]
#[path = "mapped_tests.rs"]
mod tests;
