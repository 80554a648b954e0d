//! Ctrl-C ends what runs, and not the command.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::signal::unix::{SignalKind, signal};

use crate::cli::error::CliError;
use crate::cli::service::internal;

type Cancel = Box<dyn FnOnce() + Send>;

/// What Ctrl-C ends.
#[derive(Clone, Default)]
pub(crate) struct Interrupts {
    running: Arc<Mutex<Option<Cancel>>>,
}

impl Interrupts {
    /// Watches from here on, to the end of the process.
    ///
    /// # Errors
    /// If the system gives no thread, or does not let signals be watched.
    pub(crate) fn watch() -> Result<Self, CliError> {
        let interrupts = Self::default();
        let failed = |source: std::io::Error| internal("watching for Ctrl-C", source);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let mut signals = {
            let _entered = runtime.enter();
            signal(SignalKind::interrupt()).map_err(failed)?
        };
        let of_thread = interrupts.clone();
        let watching = std::thread::Builder::new().name("interrupts".to_owned()).spawn(move || {
            runtime.block_on(async {
                while signals.recv().await.is_some() {
                    of_thread.interrupt();
                }
            });
        });
        watching.map_err(failed)?;
        Ok(interrupts)
    }

    /// Does `work`; `cancel` is called where it is interrupted. Gives whether it was.
    pub(crate) fn during<T>(
        &self,
        cancel: impl FnOnce() + Send + 'static,
        work: impl FnOnce() -> T,
    ) -> (T, bool) {
        *self.running() = Some(Box::new(cancel));
        let result = work();
        let was_interrupted = self.running().take().is_none();
        (result, was_interrupted)
    }

    /// Ends what runs, if anything does.
    pub(crate) fn interrupt(&self) {
        let cancel = self.running().take();
        if let Some(cancel) = cancel {
            cancel();
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<Cancel>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_is_cancelled_once_and_nothing_else_is() {
        let interrupts = Interrupts::default();
        interrupts.interrupt();
        let (answer, was_interrupted) = interrupts.during(|| panic!("nobody asked"), || 7);
        assert_eq!((answer, was_interrupted), (7, false));
        let (send, cancelled) = std::sync::mpsc::sync_channel(1);
        let (answer, was_interrupted) = interrupts.during(
            move || send.send(()).unwrap(),
            || {
                interrupts.interrupt();
                interrupts.interrupt();
                cancelled.recv().is_ok()
            },
        );
        assert_eq!((answer, was_interrupted), (true, true));
    }
}
