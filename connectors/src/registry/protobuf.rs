//! Files of Protobuf.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

use crate::decode::record::{
    FieldKind, FieldShape, MessageKind, ProtobufField, ProtobufMessage, ProtobufSchema,
};

/// What a text that is no import is called.
const NAME: &str = "tidewatch/the-schema-itself.proto";
/// Braces within braces; the parser calls itself for each.
const NESTED_MAX: usize = 100;

/// The file that a text is, with those that it imports: its source, or the bytes of its description in base64, which some
/// serializers register and registries then keep.
///
/// # Errors
/// Why nothing can be read with it.
pub(super) fn compile(text: &str, imports: &[(String, String)]) -> Result<ProtobufSchema, String> {
    let mut files: BTreeMap<String, String> = imports.iter().cloned().collect();
    files.insert(NAME.to_owned(), text.to_owned());
    if files.values().any(|text| nested(text) > NESTED_MAX) {
        return Err(format!("it has more than {NESTED_MAX} braces within braces"));
    }
    let mut resolver = ChainFileResolver::new();
    resolver.add(Texts(files));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.open_file(NAME).map_err(|error| error.to_string())?;
    let pool = compiler.descriptor_pool();
    let file = pool.get_file_by_name(NAME).ok_or("it has no file")?;
    let mut places = Places::default();
    for message in pool.all_messages() {
        places.messages.insert(message.full_name().to_owned(), number(places.messages.len()));
    }
    let mut enums = Vec::new();
    for one in pool.all_enums() {
        places.enums.insert(one.full_name().to_owned(), number(enums.len()));
        enums.push(one.values().map(|value| (value.number(), value.name().to_owned())).collect());
    }
    let own = pool.all_messages().filter(|message| message.parent_file() == file);
    let own = own.map(|message| (indices(&message), places.message(message.full_name())));
    Ok(ProtobufSchema {
        messages: pool.all_messages().map(|message| places.compiled(&message)).collect(),
        enums,
        places: own.collect(),
    })
}

/// Files that are texts.
struct Texts(BTreeMap<String, String>);

impl FileResolver for Texts {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let Some(text) = self.0.get(name) else {
            return Err(protox::Error::file_not_found(name));
        };
        let Ok(bytes) = STANDARD.decode(text) else { return File::from_source(name, text) };
        let described = File::decode_file_descriptor_proto(&bytes[..]);
        let described = described.map_err(protox::Error::new)?;
        let mut file = described.file_descriptor_proto().clone();
        file.name = Some(name.to_owned());
        Ok(File::from_file_descriptor_proto(file))
    }
}

/// Where messages and enumerations stand, by their full names.
#[derive(Debug, Default)]
struct Places {
    messages: BTreeMap<String, u32>,
    enums: BTreeMap<String, u32>,
}

impl Places {
    fn message(&self, name: &str) -> u32 {
        self.messages.get(name).copied().unwrap_or(u32::MAX)
    }

    fn compiled(&self, message: &MessageDescriptor) -> ProtobufMessage {
        // What is no message on the wire cannot be read as one.
        let fields = message.fields().filter(|field| !field.is_group());
        let mut fields: Vec<_> = fields.map(|field| self.field(&field)).collect();
        fields.sort_by_key(|field| field.number);
        ProtobufMessage { kind: kind(message.full_name()), fields }
    }

    fn field(&self, field: &FieldDescriptor) -> ProtobufField {
        let shape = if field.is_map() {
            FieldShape::Map
        } else if field.is_list() {
            FieldShape::Repeated
        } else if field.supports_presence() {
            FieldShape::Optional
        } else {
            FieldShape::Implicit
        };
        let kind = match field.kind() {
            Kind::Double => FieldKind::Double,
            Kind::Float => FieldKind::Float,
            Kind::Int32 => FieldKind::Int32,
            Kind::Int64 => FieldKind::Int64,
            Kind::Uint32 => FieldKind::Uint32,
            Kind::Uint64 => FieldKind::Uint64,
            Kind::Sint32 => FieldKind::Sint32,
            Kind::Sint64 => FieldKind::Sint64,
            Kind::Fixed32 => FieldKind::Fixed32,
            Kind::Fixed64 => FieldKind::Fixed64,
            Kind::Sfixed32 => FieldKind::Sfixed32,
            Kind::Sfixed64 => FieldKind::Sfixed64,
            Kind::Bool => FieldKind::Bool,
            Kind::String => FieldKind::Text,
            Kind::Bytes => FieldKind::Bytes,
            Kind::Message(message) => FieldKind::Message(self.message(message.full_name())),
            Kind::Enum(one) => {
                FieldKind::Enum(self.enums.get(one.full_name()).copied().unwrap_or(u32::MAX))
            }
        };
        ProtobufField { number: field.number(), name: field.name().to_owned(), kind, shape }
    }
}

fn kind(name: &str) -> MessageKind {
    match name.strip_prefix("google.protobuf.") {
        Some("Timestamp") => MessageKind::Timestamp,
        Some(
            "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value"
            | "UInt32Value" | "BoolValue" | "StringValue",
        ) => MessageKind::Wrapper,
        _ => MessageKind::Plain,
    }
}

/// The indices of a message in its file, from the outside inwards: every other number of its path is the list's.
fn indices(message: &MessageDescriptor) -> Vec<i64> {
    message.path().iter().skip(1).step_by(2).map(|index| i64::from(*index)).collect()
}

/// How deep braces stand within braces; those in texts and comments count, too.
fn nested(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'{' | b'[' | b'(' | b'<' => depth += 1,
            b'}' | b']' | b')' | b'>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
