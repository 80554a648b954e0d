//! How far a long command is, on standard error.

use std::io::Read;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar where standard error is a terminal, nothing where it is not.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Counts bytes up to `total`, if that is known.
    pub(crate) fn bytes(total: Option<u64>) -> Self {
        let template = match total {
            Some(_) => "{bar:32} {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}",
            None => "{spinner} {bytes} {bytes_per_sec} {msg}",
        };
        Self::new(total, template)
    }

    /// Counts things, called `noun` in the plural, up to `total`.
    pub(crate) fn count(total: u64, noun: &'static str) -> Self {
        let progress = Self::new(Some(total), "{bar:32} {human_pos}/{human_len} {msg} {eta}");
        progress.bar.set_message(noun);
        progress
    }

    /// Counts records of a log whose length is not known beforehand.
    pub(crate) fn records() -> Self {
        Self::new(None, "{spinner} {human_pos} records {per_sec}")
    }

    fn new(total: Option<u64>, template: &str) -> Self {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(5));
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.expect("the templates here are well-formed"));
        Self { bar }
    }

    /// Counts what is read through the result.
    pub(crate) fn reading<R: Read>(&self, input: R) -> impl Read + use<R> {
        self.bar.wrap_read(input)
    }

    /// Counts `delta` more.
    pub(crate) fn advance(&self, delta: u64) {
        self.bar.inc(delta);
    }

    /// Puts a line above the bar, or on standard error where there is no bar.
    pub(crate) fn note(&self, line: &str) {
        self.bar.suspend(|| {
            use std::io::Write as _;
            // A note that cannot be shown must not end the work that it tells of.
            drop(writeln!(std::io::stderr(), "{line}"));
        });
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
