//! What is added to DataFusion's plans so that a query stays within its bounds.
//!
//! A logical plan is held against what cannot be bounded ([`check`]); in a physical plan, operators
//! that put out more than they take in, or that hold what the memory pool does not know of, are
//! guarded ([`guards`], [`guard_exec`]). A join whose filter lets nothing through puts nothing out for
//! hours, so that its filter itself looks whether the query was cancelled ([`join_filters`]).
//! Aggregates are answered from rollups where that gives the same ([`roll_up`]); those whose state is
//! all their rows are computed in one phase ([`one_phase`]).

mod check;
mod guard_exec;
mod guards;
mod join_filters;
mod one_phase;
mod roll_up;
mod whole_hours;

pub(crate) use check::check_plan;
pub(crate) use guards::add_guards;
pub(crate) use join_filters::stop_in_joins;
pub(crate) use one_phase::OnePhase;
pub(crate) use roll_up::answer_from_rollups;
