//! What a route asks of whoever comes.

use crate::keys::Scope;

/// Which key opens a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// None is needed: nothing is told that a stranger may not know.
    Open,
    /// Any that is in force.
    AnyKey,
    /// One of this scope, or an administrator's.
    Scope(Scope),
}

/// How a route's clients read refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `{"error":{"code","message","details"}}`
    Product,
    /// `{"error": message}`, as InfluxDB 1 and 3 answer.
    InfluxText,
    /// `{"code","message"}`, as InfluxDB 2 answers.
    InfluxCode,
}
