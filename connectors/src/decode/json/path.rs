//! A dotted path to a member of an object: `data.reading.v`, and `meta."host.name"` where a name has a dot.
#![deny(clippy::indexing_slicing)]

/// Names of one path.
const NAMES_MAX: usize = 16;
/// Bytes of one path.
const BYTES_MAX: usize = 512;

/// Why a text is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing between two dots, or nothing at all.
    #[error("a name in it is empty")]
    EmptyName,
    /// A quote within a name, or behind one.
    #[error(
        "a name with a dot or a quote in it must be in quotes as a whole, such as meta.\"host.name\""
    )]
    Quotes,
    /// More names than a path may have.
    #[error("it has more than {NAMES_MAX} names")]
    TooDeep,
    /// More bytes than a path may have.
    #[error("it has more than {BYTES_MAX} bytes")]
    TooLong,
}

/// The names of a path, outermost first.
pub(super) fn names_of(path: &str) -> Result<Vec<String>, PathError> {
    if path.len() > BYTES_MAX {
        return Err(PathError::TooLong);
    }
    let mut names = Vec::new();
    let mut rest = path.chars().peekable();
    loop {
        let mut name = String::new();
        let is_quoted = rest.next_if_eq(&'"').is_some();
        let mut is_open = is_quoted;
        while let Some(next) = rest.next_if(|next| is_open || *next != '.') {
            match next {
                '"' if is_open => is_open = false,
                '\\' if is_open => name.push(rest.next().ok_or(PathError::Quotes)?),
                _ if is_quoted && !is_open => return Err(PathError::Quotes),
                '"' => return Err(PathError::Quotes),
                next => name.push(next),
            }
        }
        if is_open {
            return Err(PathError::Quotes);
        }
        if name.is_empty() {
            return Err(PathError::EmptyName);
        }
        names.push(name);
        if names.len() > NAMES_MAX {
            return Err(PathError::TooDeep);
        }
        if rest.next().is_none() {
            return Ok(names);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_names_with_dots_between_and_quotes_around_names_with_dots() {
        for (path, names) in [
            ("v", &["v"][..]),
            ("data.reading.v", &["data", "reading", "v"]),
            ("meta.\"host.name\".x", &["meta", "host.name", "x"]),
            ("\"a\\\"b\\\\c\"", &["a\"b\\c"]),
            ("\" \". a", &[" ", " a"]),
            ("back\\slash", &["back\\slash"]),
        ] {
            assert_eq!(names_of(path).unwrap(), names, "{path}");
        }
        let deep = vec!["a"; NAMES_MAX].join(".");
        assert_eq!(names_of(&deep).unwrap().len(), NAMES_MAX);
        for (path, error) in [
            ("", PathError::EmptyName),
            ("a..b", PathError::EmptyName),
            (".a", PathError::EmptyName),
            ("a.", PathError::EmptyName),
            ("\"\"", PathError::EmptyName),
            ("a\"b", PathError::Quotes),
            ("\"a", PathError::Quotes),
            ("\"a\"b", PathError::Quotes),
            ("\"a\\", PathError::Quotes),
            (&format!("{deep}.a"), PathError::TooDeep),
            (&"a".repeat(BYTES_MAX + 1), PathError::TooLong),
        ] {
            assert_eq!(names_of(path), Err(error), "{path}");
        }
    }
}
