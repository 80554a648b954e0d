//! Keeps deadlines from outside of the runtime that works on queries.
//!
//! A runtime whose threads are all busy does not run its timers either, so a plain thread waits for
//! the next deadline and answers in the query's place.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::channel::oneshot;
use tidewatch_env::Clock;
use tokio::task::AbortHandle;

use crate::error::QueryError;
use crate::request::QueryAnswer;
use crate::scan::Progress;

/// A query that somebody waits for. The first answer counts.
#[derive(Debug)]
pub(crate) struct Job {
    progress: Arc<Progress>,
    timeout: Duration,
    state: Mutex<JobState>,
}

#[derive(Debug)]
struct JobState {
    reply: Option<oneshot::Sender<Result<QueryAnswer, QueryError>>>,
    task: Option<AbortHandle>,
}

/// The thread that keeps the deadlines.
#[derive(Debug)]
pub(crate) struct Deadlines {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// By deadline and number.
    jobs: BTreeMap<(Duration, u64), Arc<Job>>,
    next: u64,
    closed: bool,
}

/// The place of a query among the deadlines; dropping it cancels the query, unless it has ended.
#[derive(Debug)]
pub(crate) struct Waiting {
    shared: Arc<Shared>,
    key: (Duration, u64),
    job: Arc<Job>,
}

impl Job {
    /// A query with this deadline, and where its answer arrives.
    pub(crate) fn new(
        progress: Arc<Progress>,
        timeout: Duration,
    ) -> (Arc<Self>, oneshot::Receiver<Result<QueryAnswer, QueryError>>) {
        let (reply, answer) = oneshot::channel();
        let state = Mutex::new(JobState { reply: Some(reply), task: None });
        (Arc::new(Self { progress, timeout, state }), answer)
    }

    /// Gives the answer, unless there is one.
    pub(crate) fn reply(&self, answer: Result<QueryAnswer, QueryError>) {
        if let Some(reply) = lock(&self.state).reply.take()
            && reply.send(answer).is_err()
        {
            tracing::debug!("nobody waits for the answer of a query any more");
        }
    }

    /// Notes the task, so that it can be stopped.
    pub(crate) fn started(&self, task: AbortHandle) {
        let mut state = lock(&self.state);
        if state.reply.is_none() {
            task.abort();
        }
        state.task = Some(task);
    }

    /// Stops the work: at once where it waits, else at its next batch.
    fn cancel(&self) {
        self.progress.cancel();
        if let Some(task) = lock(&self.state).task.take() {
            task.abort();
        }
    }
}

impl Deadlines {
    pub(crate) fn start(clock: Arc<dyn Clock>) -> Result<Self, QueryError> {
        let shared =
            Arc::new(Shared { clock, state: Mutex::default(), changed: Condvar::default() });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("query-deadline".to_owned())
            .spawn(move || of_thread.keep())
            .map_err(|source| QueryError::Threads { source })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Keeps the deadline of a job from now on.
    pub(crate) fn wait(&self, job: &Arc<Job>) -> Waiting {
        let deadline = self.shared.clock.monotonic().saturating_add(job.timeout);
        let mut state = lock(&self.shared.state);
        state.next += 1;
        let key = (deadline, state.next);
        state.jobs.insert(key, Arc::clone(job));
        drop(state);
        self.shared.changed.notify_one();
        Waiting { shared: Arc::clone(&self.shared), key, job: Arc::clone(job) }
    }
}

impl Drop for Deadlines {
    fn drop(&mut self) {
        lock(&self.shared.state).closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that keeps deadlines panicked");
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        lock(&self.shared.state).jobs.remove(&self.key);
        self.job.cancel();
    }
}

impl Shared {
    fn keep(&self) {
        let mut state = lock(&self.state);
        while !state.closed {
            let now = self.clock.monotonic();
            let next = state.jobs.first_key_value().map(|((deadline, _), _)| *deadline);
            state = match next {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) if deadline > now => {
                    let waited = self.changed.wait_timeout(state, deadline - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                Some(_) => {
                    if let Some((_, job)) = state.jobs.pop_first() {
                        job.reply(Err(QueryError::Timeout { timeout: job.timeout }));
                        job.cancel();
                    }
                    state
                }
            };
        }
        for job in std::mem::take(&mut state.jobs).into_values() {
            job.reply(Err(QueryError::Closed));
            job.cancel();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
