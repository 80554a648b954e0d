//! Long results go through a pager.

use std::io::{self, Write};
use std::process::{Child, Command, Stdio};

use unicode_width::UnicodeWidthStr;

/// Where the shell says that there is no such program.
const NOT_FOUND: i32 = 127;

/// Whether a text is higher or wider than a terminal of this size.
pub(crate) fn is_long(text: &str, (columns, rows): (usize, usize)) -> bool {
    // Below the text stand the count of its rows and the next prompt.
    text.lines().count() + 2 > rows || text.lines().any(|line| line.width() > columns)
}

/// Shows a text by `$PAGER`, else by `less`; `false` where there is none and nothing was shown.
///
/// # Errors
/// If the pager cannot be waited for.
pub(crate) fn page(text: &str) -> io::Result<bool> {
    let Some(mut pager) = start() else { return Ok(false) };
    if let Some(mut input) = pager.stdin.take() {
        // Who has seen enough closes it.
        input.write_all(text.as_bytes()).ok();
    }
    let status = pager.wait()?;
    Ok(status.code() != Some(NOT_FOUND))
}

fn start() -> Option<Child> {
    let chosen = std::env::var("PAGER").ok().filter(|pager| !pager.trim().is_empty());
    let mut command = match chosen {
        Some(pager) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", &pager]);
            shell
        }
        None => {
            // Long lines are cut, and what fits stays on the screen.
            let mut less = Command::new("less");
            less.args(["-S", "-F", "-X"]);
            less
        }
    };
    command.stdin(Stdio::piped()).spawn().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_long() {
        assert!(!is_long("a\nb\n", (10, 4)));
        assert!(is_long("a\nb\nc\n", (10, 4)));
        assert!(is_long("12345678901\n", (10, 4)));
        assert!(!is_long("1234567890\n", (10, 4)));
    }
}
