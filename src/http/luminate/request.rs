//! The parameters that Luminate's routes share.

use std::collections::HashMap;

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
