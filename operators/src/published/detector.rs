//! One of the published models.

use tidewatch_metrics::Channel;
use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use super::anomstack::Anomstack;
use super::half_space_trees::HalfSpaceTrees;
use super::holt_winters::HoltWinters;
use super::mad::Mad;
use crate::light::Expectation;
use crate::limits::ALLOCATION_BYTES;
use crate::model::Model;
use crate::time_zone::LocalTime;

/// The state of a published model, from the first sample of a series on.
#[derive(Clone, Debug)]
pub(crate) enum Published {
    Mad(Box<Mad>),
    HoltWinters(Box<HoltWinters>),
    HalfSpaceTrees(Box<HalfSpaceTrees>),
    Anomstack(Box<Anomstack>),
}

impl Published {
    /// The state of a model whose series begins with a finite value; none for a model that is not published.
    pub(crate) fn new(model: Model, first: f64) -> Option<Self> {
        match model {
            Model::Light | Model::Novelty | Model::Deviation | Model::Auto => None,
            Model::Mad => Some(Self::Mad(Box::new(Mad::new(first)))),
            Model::HoltWinters => Some(Self::HoltWinters(Box::new(HoltWinters::new(first)))),
            Model::HalfSpaceTrees => {
                Some(Self::HalfSpaceTrees(Box::new(HalfSpaceTrees::new(first))))
            }
            Model::Anomstack => Some(Self::Anomstack(Box::new(Anomstack::new(first)))),
        }
    }

    /// The severity of a finite value, which is learnt, its channel, and what was expected of it.
    pub(crate) fn score(&mut self, time: LocalTime, value: f64) -> (f32, Channel, Expectation) {
        let (severity, expectation) = match self {
            Self::Mad(mad) => mad.observe(value),
            Self::HoltWinters(smoothed) => smoothed.observe(time, value),
            Self::HalfSpaceTrees(trees) => trees.observe(value),
            Self::Anomstack(models) => models.observe(value),
        };
        (severity, self.channel(), expectation)
    }

    /// What would be expected of a sample at `time`.
    pub(crate) fn expect(&self, time: LocalTime) -> Expectation {
        match self {
            Self::Mad(mad) => mad.expect(),
            Self::HoltWinters(smoothed) => smoothed.expect(time),
            Self::HalfSpaceTrees(trees) => trees.expect(),
            Self::Anomstack(models) => models.expect(),
        }
    }

    /// What the models' severities are about: distance from what was expected, or rarity.
    fn channel(&self) -> Channel {
        match self {
            Self::Mad(_) | Self::HoltWinters(_) => Channel::Deviation,
            Self::HalfSpaceTrees(_) | Self::Anomstack(_) => Channel::Novelty,
        }
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::Mad(_) => size_of::<Mad>(),
            Self::HoltWinters(_) => size_of::<HoltWinters>(),
            Self::HalfSpaceTrees(_) => size_of::<HalfSpaceTrees>(),
            Self::Anomstack(_) => size_of::<Anomstack>(),
        }
    }

    /// Bytes on the heap that a model takes at most, with what the allocator takes beside them; none for a model
    /// that is not published.
    pub(crate) fn heap_bytes_max(model: Model) -> Option<usize> {
        match model {
            Model::Light | Model::Novelty | Model::Deviation | Model::Auto => None,
            Model::Mad => Some(size_of::<Mad>() + ALLOCATION_BYTES),
            Model::HoltWinters => Some(size_of::<HoltWinters>() + ALLOCATION_BYTES),
            Model::HalfSpaceTrees => Some(size_of::<HalfSpaceTrees>() + ALLOCATION_BYTES),
            Model::Anomstack => Some(size_of::<Anomstack>() + ALLOCATION_BYTES),
        }
    }

    /// Appends the state.
    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        match self {
            Self::Mad(mad) => mad.encode(out),
            Self::HoltWinters(smoothed) => smoothed.encode(out),
            Self::HalfSpaceTrees(trees) => trees.encode(out),
            Self::Anomstack(models) => models.encode(out),
        }
    }

    /// What [`Published::encode`] wrote of a model; the inner `None` where it cannot have written it, the outer one for a model
    /// that is not published.
    pub(crate) fn decode(model: Model, fields: &mut FieldReader<'_>) -> Option<Option<Self>> {
        match model {
            Model::Light | Model::Novelty | Model::Deviation | Model::Auto => None,
            Model::Mad => Some(Mad::decode(fields).map(|mad| Self::Mad(Box::new(mad)))),
            Model::HoltWinters => {
                Some(HoltWinters::decode(fields).map(|read| Self::HoltWinters(Box::new(read))))
            }
            Model::HalfSpaceTrees => Some(
                HalfSpaceTrees::decode(fields).map(|read| Self::HalfSpaceTrees(Box::new(read))),
            ),
            Model::Anomstack => {
                Some(Anomstack::decode(fields).map(|read| Self::Anomstack(Box::new(read))))
            }
        }
    }
}

#[cfg(test)]
#[path = "detector_tests.rs"]
mod tests;
