//! A message: its head, the schema that it names, and its records.
#![deny(clippy::indexing_slicing)]

use std::sync::Arc;

use crate::decode::composed::MESSAGE_NAMES_BYTES_MAX;
use crate::decode::item_errors::{Detail, ItemReason, Refused};
use crate::decode::json::{JsonMap, LabelPlace, MapSpec, MetricPlace, ValuePlace};
use crate::decode::line_batch::Span;
use crate::decode::messages::One;
use crate::decode::record::avro::{AvroSchema, AvroType, AvroWalk, Target, zigzag};
use crate::decode::record::found::Found;
use crate::decode::record::protobuf::ProtobufSchema;
use crate::decode::record::sample::Sample;
use crate::decode::record::schema::{Misfit, RecordSchema};
use crate::decode::record::schemas::{Known, Schemas};
use crate::decode::series_batch::{SeriesBatch, SeriesOptions};

/// With what a message begins.
const MAGIC: u8 = 0;
/// Messages within messages of a file of Protobuf.
const PLACE_MAX: usize = 16;

/// Where a record has everything that no map says otherwise of.
pub(crate) fn natural_map() -> JsonMap {
    let path = |name: &str| Some(name.to_owned());
    let spec = MapSpec {
        time: path("time"),
        time_unit: None,
        metric: path("metric").map(MetricPlace::Path),
        value: path("value").map(ValuePlace::Path),
        labels: path("labels").map(LabelPlace::Object),
    };
    JsonMap::new(&spec).expect("these are paths")
}

/// The id of the schema that a message names, and what is behind it.
pub(super) fn split_head(message: &[u8]) -> Option<(u32, &[u8])> {
    let (magic, rest) = message.split_first()?;
    let (id, rest) = rest.split_first_chunk::<4>()?;
    // The registry's format has this order.
    let id = id.iter().fold(0, |id, byte| (id << 8) | u32::from(*byte));
    (*magic == MAGIC).then_some((id, rest))
}

/// Decodes messages one after the other: mostly their schema is the same.
#[derive(Debug)]
pub(crate) struct RecordMessages<'a> {
    schemas: Option<&'a Schemas>,
    last: Option<(u32, Arc<RecordSchema>)>,
}

impl<'a> RecordMessages<'a> {
    /// Before the first message.
    pub(crate) fn new(schemas: Option<&'a Schemas>) -> Self {
        Self { schemas, last: None }
    }

    /// Whether what there is to know of the schema of a message is known.
    pub(crate) fn is_ready(&self, payload: &[u8]) -> bool {
        match (split_head(payload), &self.last, self.schemas) {
            (Some((id, _)), Some((last, _)), _) if id == *last => true,
            (Some((id, _)), _, Some(schemas)) => schemas.known(id).is_some(),
            _ => true,
        }
    }

    /// The samples of the message: those of one record, or of each of an array.
    ///
    /// Bad samples are noted under the message's number, and the others of the message are taken.
    ///
    /// # Errors
    /// Why there is no sample in it; what was taken of it until then must be taken back.
    pub(crate) fn decode(
        &mut self,
        message: &One<'_>,
        options: &SeriesOptions,
        out: &mut SeriesBatch,
    ) -> Result<(), Refused> {
        let payload = message.bytes.get(message.start..).unwrap_or_default();
        let (id, rest) = split_head(payload).ok_or(ItemReason::NoSchemaId)?;
        let schema = self.schema(id)?;
        let map = message.map.expect("messages of this form have a map");
        let start = message.bytes.len() - rest.len();
        let names_max = out.composed.len() + MESSAGE_NAMES_BYTES_MAX;
        let mut sample = Sample { message, schema: &schema, map, options, names_max, out };
        let misfit = |_misfit| ItemReason::NotOfSchema.with(Detail::Schema(id));
        match &*schema {
            RecordSchema::Avro(avro) => avro_records(avro, start, &mut sample).map_err(misfit)?,
            RecordSchema::Protobuf(file) => protobuf_record(file, (start, id), &mut sample),
        }
    }

    fn schema(&mut self, id: u32) -> Result<Arc<RecordSchema>, Refused> {
        if let Some((last, schema)) = &self.last
            && *last == id
        {
            return Ok(Arc::clone(schema));
        }
        let reason = match self.schemas.and_then(|schemas| schemas.known(id)) {
            Some(Known::Ready(schema)) => {
                self.last = Some((id, Arc::clone(&schema)));
                return Ok(schema);
            }
            Some(Known::Unusable) => ItemReason::BadSchema,
            Some(Known::Unknown) | None => ItemReason::UnknownSchema,
        };
        Err(reason.with(Detail::Schema(id)))
    }
}

/// The outcome of a message: bytes that are not of their schema are told apart from what is refused of it as a whole.
type Records = Result<Result<(), Refused>, Misfit>;

fn avro_records(schema: &AvroSchema, start: usize, sample: &mut Sample<'_>) -> Records {
    let (map, bytes) = (sample.map, sample.message.bytes);
    let mut found = std::mem::take(&mut sample.out.found);
    let mut walk = AvroWalk::new((schema, Some(map)), bytes, start);
    let (mut taken, mut outcome) = (0, Ok(()));
    let walked = walk.each_record(&mut |walk, kind, is_last| {
        let is_record = matches!(schema.kind(kind), Some(AvroType::Record(_) | AvroType::Map(_)));
        found.clear();
        found.resize(map.len(), Found::Nothing);
        walk.value(kind, Target::all(&mut found), 0)?;
        if is_last && !walk.is_at_end() {
            return Err(Misfit);
        }
        taken += map.values.len();
        if taken > sample.options.samples_max {
            outcome = Err(ItemReason::TooManySamples.into());
        } else if sample.out.composed.len() > sample.names_max {
            outcome = Err(ItemReason::NamesTooLong.into());
        } else if is_record {
            take(sample, &found);
        } else {
            note(sample, ItemReason::NotARecord.into());
        }
        Ok(())
    });
    let is_whole = walk.is_at_end();
    sample.out.found = found;
    walked?;
    if is_whole { Ok(outcome) } else { Err(Misfit) }
}

fn protobuf_record(
    schema: &ProtobufSchema,
    (start, id): (usize, u32),
    sample: &mut Sample<'_>,
) -> Result<(), Refused> {
    let (map, bytes) = (sample.map, sample.message.bytes);
    let mut indices = [0; PLACE_MAX];
    let unknown = || ItemReason::BadSchemaPlace.with(Detail::Schema(id));
    let (place, start) = place(bytes, start, &mut indices).ok_or_else(unknown)?;
    let of = schema.at(place).ok_or_else(unknown)?;
    let mut found = std::mem::take(&mut sample.out.found);
    found.clear();
    found.resize(map.len(), Found::Nothing);
    let within = Span::between(start, bytes.len());
    let walked = schema.walk(bytes, (of, within), (map, 0), &mut found);
    if walked.is_ok() {
        take(sample, &found);
    }
    sample.out.found = found;
    walked.map_err(|_misfit| ItemReason::NotOfSchema.with(Detail::Schema(id)))
}

/// Takes the samples of a record, or notes why it is refused.
fn take(sample: &mut Sample<'_>, found: &[Found]) {
    let (items, rows) = (sample.out.items(), sample.out.rows());
    if let Err(refused) = sample.take(found) {
        sample.out.retract_items(items, rows);
        note(sample, refused);
    }
}

fn note(sample: &mut Sample<'_>, refused: Refused) {
    let number = sample.message.number;
    sample.out.errors_mut().push_at(number, refused);
}

/// The indices of a message at `start`, and the position behind them.
fn place<'p>(
    bytes: &[u8],
    start: usize,
    indices: &'p mut [i64; PLACE_MAX],
) -> Option<(&'p [i64], usize)> {
    let (count, mut pos) = zigzag(bytes, start)?;
    let count = usize::try_from(count).ok()?;
    if count == 0 {
        return Some((indices.get(..1)?, pos));
    }
    for index in indices.get_mut(..count)? {
        (*index, pos) = zigzag(bytes, pos)?;
    }
    Some((indices.get(..count)?, pos))
}
