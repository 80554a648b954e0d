//! The parameters and the form of bodies that Luminate's routes share.

use std::collections::HashMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tidewatch_metrics::series::check_database;

use crate::http::ApiError;
use crate::http::error::chain;

/// Takes the database out of the parameters: `db`, else `default`.
///
/// # Errors
/// 400 for a name that no database can have.
pub(in crate::http) fn take_database(
    parameters: &mut HashMap<String, String>,
) -> Result<String, ApiError> {
    let db = parameters.remove("db").unwrap_or_else(|| "default".to_owned());
    match check_database(&db) {
        Ok(()) => Ok(db),
        Err(error) => Err(ApiError::invalid(chain(&error))),
    }
}

/// A body that is a JSON object, and no array of an object's members.
///
/// # Errors
/// What is wrong with it.
pub(in crate::http) fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    let members: Map<String, Value> = serde_json::from_slice(body)?;
    serde_json::from_value(Value::Object(members))
}

/// Refuses what is left of the parameters.
///
/// # Errors
/// 400 with the name of one of them.
pub(in crate::http) fn no_more(parameters: &HashMap<String, String>) -> Result<(), ApiError> {
    match parameters.keys().min() {
        None => Ok(()),
        Some(unknown) => Err(ApiError::invalid(format!("parameter {unknown:?} is not known"))),
    }
}
