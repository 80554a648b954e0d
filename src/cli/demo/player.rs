//! Sends the script's series, and this machine's, to the server as any client would.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidewatch_metrics::{EventTime, UnixNanos};

use crate::cli::client::{Client, Post};
use crate::cli::demo::machine::Machine;
use crate::cli::demo::script::{HISTORY_STEPS, INTERVAL_NANOS, Script};
use crate::cli::error::CliError;
use crate::cli::generate::{Format, Generator, TextForm};
use crate::cli::progress::Progress;

/// Bytes of one request of the history.
const REQUEST_BYTES: usize = 768 * 1_024;
/// One request, which the server may take its time to sync.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two readings of the machine.
const MACHINE_PAUSE: Duration = Duration::from_secs(1);

/// Writes samples.
#[derive(Debug)]
pub(crate) struct Player {
    client: Arc<Client>,
    generator: Generator,
    form: TextForm,
    progress: Progress,
    machine: Machine,
    next_reading: Duration,
    /// The time of the generator's next step.
    next: EventTime,
    values: Vec<f64>,
    lines: String,
    samples: u64,
}

impl Player {
    /// A player who stands before the script's history.
    pub(crate) fn new(client: Arc<Client>, script: &Script) -> Self {
        let generator = script.generator().clone();
        let steps = u64::try_from(HISTORY_STEPS).expect("a number of steps");
        let total = steps * generator.series().len() as u64;
        Self {
            client,
            form: TextForm::new(Format::Lp, generator.series()),
            next: EventTime::new(script.live_start().nanos() - HISTORY_STEPS * INTERVAL_NANOS),
            generator,
            progress: Progress::count(total, "samples of history"),
            machine: Machine::new(Path::new("/proc")),
            next_reading: Duration::ZERO,
            values: Vec::new(),
            lines: String::new(),
            samples: 0,
        }
    }

    /// Samples written.
    pub(crate) fn samples(&self) -> u64 {
        self.samples
    }

    /// Writes the next piece of the history, which ends before `end`; gives whether there is more.
    ///
    /// # Errors
    /// If the server does not take it.
    pub(crate) fn write_history(&mut self, end: EventTime) -> Result<bool, CliError> {
        let before = self.samples;
        while self.next < end && self.lines.len() < REQUEST_BYTES {
            self.push_step();
        }
        self.send()?;
        self.progress.advance(self.samples - before);
        let more = self.next < end;
        if !more {
            self.progress.finish();
        }
        Ok(more)
    }

    /// Writes the generated samples up to `moment`, and once a second this machine's at `now`.
    ///
    /// # Errors
    /// If the server does not take them.
    pub(crate) fn play(
        &mut self,
        moment: EventTime,
        now: UnixNanos,
        elapsed: Duration,
    ) -> Result<(), CliError> {
        while self.next <= moment {
            self.push_step();
        }
        if elapsed >= self.next_reading {
            self.next_reading = elapsed + MACHINE_PAUSE;
            self.machine.push_lines(now.nanos(), elapsed, &mut self.lines);
        }
        self.send()
    }

    fn push_step(&mut self) {
        let time = self.generator.step(&mut self.values);
        self.form.push_step(time, &self.values, &mut self.lines);
        self.next = EventTime::new(time.nanos() + INTERVAL_NANOS);
    }

    fn send(&mut self) -> Result<(), CliError> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let response = self.client.post(&Post {
            path: "/write",
            content_type: "text/plain; charset=utf-8",
            headers: &[],
            body: self.lines.as_bytes(),
            timeout: REQUEST_TIMEOUT,
        })?;
        if !response.status().is_success() {
            return Err(self.client.refused(response));
        }
        let lines = self.lines.bytes().filter(|byte| *byte == b'\n').count();
        self.samples += u64::try_from(lines).unwrap_or(0);
        self.lines.clear();
        Ok(())
    }
}
