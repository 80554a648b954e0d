//! The terminal: taken for the view, and given back however the view ends.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::style::Color;

use crate::cli::error::CliError;
use crate::cli::service::internal;
use crate::cli::signals::Signals;
use crate::cli::stop::Stop;
use crate::cli::top::snapshot::Snapshot;
use crate::cli::top::view;

/// The terminal while it shows the view. A panic gives it back as well, before it is told.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: DefaultTerminal,
    is_coloured: bool,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// If it cannot be steered.
    pub(crate) fn open() -> Result<Self, CliError> {
        let opened = ratatui::try_init();
        let is_coloured = std::env::var_os("NO_COLOR").is_none();
        match opened {
            Ok(terminal) => Ok(Self { terminal, is_coloured }),
            Err(error) => {
                ratatui::restore();
                Err(internal("taking the terminal", error))
            }
        }
    }

    /// Shows a frame.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub(crate) fn draw(&mut self, snapshot: &Snapshot) -> Result<(), CliError> {
        let is_coloured = self.is_coloured;
        let drawn = self.terminal.draw(|frame| {
            let area = frame.area();
            let buffer = frame.buffer_mut();
            view::render(snapshot, area, buffer);
            if !is_coloured {
                buffer.content.iter_mut().for_each(|cell| {
                    cell.set_fg(Color::Reset);
                });
            }
        });
        drawn.map(|_| ()).map_err(CliError::output)
    }

    /// Waits for a key, a new size, or the end of `time`; gives whether somebody wants to leave.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub(crate) fn is_left_within(&self, time: Duration) -> Result<bool, CliError> {
        let read = || -> io::Result<bool> { Ok(event::poll(time)? && is_end(&event::read()?)) };
        read().map_err(|error| internal("reading keys", error))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Keys that end the view.
fn is_end(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    let ends = match key.code {
        KeyCode::Esc | KeyCode::Char('q' | 'Q') => true,
        KeyCode::Char('c' | 'd') => is_control,
        _ => false,
    };
    ends && key.kind == KeyEventKind::Press
}

/// Has SIGTERM and SIGINT say the word, to the end of the process.
///
/// # Errors
/// If the system gives no thread, or does not let signals be watched.
pub(crate) fn stop_at_signals(stop: &Arc<Stop>) -> Result<(), CliError> {
    let failed = |source: io::Error| internal("watching for signals", source);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(failed)?;
    let mut signals = {
        let _entered = runtime.enter();
        Signals::new()?
    };
    let stop = Arc::clone(stop);
    let watching = std::thread::Builder::new().name("signals".to_owned());
    let watching = watching.spawn(move || {
        runtime.block_on(signals.next());
        stop.stop();
    });
    watching.map(|_| ()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::KeyEvent;

    use super::*;

    #[test]
    fn q_escape_and_control_c_leave_and_other_keys_do_not() {
        let key = |code, modifiers| Event::Key(KeyEvent::new(code, modifiers));
        let none = KeyModifiers::NONE;
        let leaving = [
            key(KeyCode::Char('q'), none),
            key(KeyCode::Esc, none),
            key(KeyCode::Char('c'), KeyModifiers::CONTROL),
        ];
        assert!(leaving.iter().all(is_end));
        let staying = [key(KeyCode::Char('c'), none), key(KeyCode::Enter, none), Event::FocusLost];
        assert!(!staying.iter().any(is_end));
    }
}
