//! What messages of a partition hold.

use std::sync::Arc;

use crate::decode::json::JsonMap;
use crate::decode::record::{Schemas, natural_map};
use crate::decode::series_batch::SeriesForm;

/// What messages hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageForm {
    /// A sample `{"metric","time","value","labels"}`, an array of samples, or Luminate's batch.
    Json,
    /// Lines of line protocol.
    LineProtocol,
    /// `prometheus.WriteRequest` of remote write 1.0, in Snappy's block format or not packed.
    RemoteWrite,
    /// One number as text; the key is the metric's name, and the time is the message's.
    Number,
    /// `ExportMetricsServiceRequest` of OpenTelemetry's protocol, or `MetricsData`.
    Otlp,
    /// A record of Avro, behind the id of its schema.
    Avro,
    /// A message of Protobuf, behind the id of its schema.
    Protobuf,
}

impl MessageForm {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Json,
        Self::LineProtocol,
        Self::RemoteWrite,
        Self::Number,
        Self::Otlp,
        Self::Avro,
        Self::Protobuf,
    ];

    /// Its name in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::LineProtocol => "line_protocol",
            Self::RemoteWrite => "remote_write",
            Self::Number => "number",
            Self::Otlp => "otlp",
            Self::Avro => "avro",
            Self::Protobuf => "protobuf",
        }
    }

    /// Whether messages name schemas, which a registry has.
    #[must_use]
    pub const fn has_schemas(self) -> bool {
        matches!(self, Self::Avro | Self::Protobuf)
    }

    /// Whether messages cannot be read without their keys.
    #[must_use]
    pub const fn reads_keys(self) -> bool {
        matches!(self, Self::Number)
    }
}

/// What messages hold, and where in it.
#[derive(Clone, Debug)]
pub struct MessageFormat {
    form: MessageForm,
    map: Option<Arc<JsonMap>>,
    schemas: Option<Arc<Schemas>>,
}

impl From<MessageForm> for MessageFormat {
    /// Of a form with schemas, no schema is known.
    fn from(form: MessageForm) -> Self {
        let map = form.has_schemas().then(|| Arc::new(natural_map()));
        Self { form, map, schemas: None }
    }
}

impl MessageFormat {
    /// JSON whose objects have everything where `map` says.
    #[must_use]
    pub fn mapped(map: JsonMap) -> Self {
        Self { map: Some(Arc::new(map)), ..MessageForm::Json.into() }
    }

    /// Records that have everything where `map` says; without one they have it where a sample of JSON has it.
    #[must_use]
    pub fn recorded(form: MessageForm, map: Option<JsonMap>, schemas: Arc<Schemas>) -> Self {
        let natural = Self::from(form);
        Self { form, map: map.map(Arc::new).or(natural.map), schemas: Some(schemas) }
    }

    /// What messages hold.
    #[must_use]
    pub fn form(&self) -> MessageForm {
        self.form
    }

    /// The form of the samples in the messages; `None` for lines.
    #[must_use]
    pub fn series_form(&self) -> Option<SeriesForm> {
        match self.form {
            MessageForm::Json if self.map.is_some() => Some(SeriesForm::MappedJson),
            MessageForm::Json => Some(SeriesForm::JsonLines),
            MessageForm::RemoteWrite => Some(SeriesForm::RemoteWrite1),
            MessageForm::Number => Some(SeriesForm::Number),
            MessageForm::Otlp => Some(SeriesForm::Otlp),
            MessageForm::Avro | MessageForm::Protobuf => Some(SeriesForm::Record),
            MessageForm::LineProtocol => None,
        }
    }

    pub(crate) fn map(&self) -> Option<&Arc<JsonMap>> {
        self.map.as_ref()
    }

    pub(crate) fn schemas(&self) -> Option<&Arc<Schemas>> {
        self.schemas.as_ref()
    }
}
