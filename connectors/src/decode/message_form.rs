//! What messages of a partition hold.

use std::sync::Arc;

use crate::decode::json::JsonMap;
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
}

impl MessageForm {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Json, Self::LineProtocol, Self::RemoteWrite, Self::Number, Self::Otlp];

    /// Its name in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::LineProtocol => "line_protocol",
            Self::RemoteWrite => "remote_write",
            Self::Number => "number",
            Self::Otlp => "otlp",
        }
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
}

impl From<MessageForm> for MessageFormat {
    fn from(form: MessageForm) -> Self {
        Self { form, map: None }
    }
}

impl MessageFormat {
    /// JSON whose objects have everything where `map` says.
    #[must_use]
    pub fn mapped(map: JsonMap) -> Self {
        Self { form: MessageForm::Json, map: Some(Arc::new(map)) }
    }

    /// What messages hold.
    #[must_use]
    pub fn form(&self) -> MessageForm {
        self.form
    }

    /// The form of the samples in the messages; `None` for lines.
    #[must_use]
    pub fn series_form(&self) -> Option<SeriesForm> {
        let mapped = self.map.as_ref().map(|_map| SeriesForm::MappedJson);
        mapped.or(match self.form {
            MessageForm::Json => Some(SeriesForm::JsonLines),
            MessageForm::RemoteWrite => Some(SeriesForm::RemoteWrite1),
            MessageForm::Number => Some(SeriesForm::Number),
            MessageForm::Otlp => Some(SeriesForm::Otlp),
            MessageForm::LineProtocol => None,
        })
    }

    pub(crate) fn map(&self) -> Option<&Arc<JsonMap>> {
        self.map.as_ref()
    }
}
