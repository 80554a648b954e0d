//! Answers statements.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryPool};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{FutureExt, StreamExt};
use tidewatch_env::{Clock, RealClock};
use tidewatch_metrics::Lsn;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::deadline::{Deadlines, Job};
use crate::error::QueryError;
use crate::guard::parse;
use crate::instruments::QueryInstruments;
use crate::limits::{QueryLimits, STACK_BYTES, TIMEOUT_MAX};
use crate::memory::QueryPool;
use crate::output::AnswerWriter;
use crate::plan::{add_guards, answer_from_rollups, check_plan, stop_in_joins};
use crate::request::{QueryAnswer, QueryRequest, QueryStats};
use crate::scan::Progress;
use crate::session::SessionTemplate;
use crate::source::Source;
use crate::tables::{Catalog, LabelCache, QueryContext};

/// Answers statements on threads of its own, each within its limits and deadline.
#[derive(Debug)]
pub struct QueryEngine {
    shared: Arc<Shared>,
    deadlines: Deadlines,
    /// Queries at work and those that wait.
    room: Arc<Semaphore>,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

/// What all queries share.
#[derive(Debug)]
struct Shared {
    source: Arc<dyn Source>,
    limits: QueryLimits,
    instruments: QueryInstruments,
    clock: Arc<dyn Clock>,
    template: SessionTemplate,
    labels: Arc<LabelCache>,
    memory: Arc<dyn MemoryPool>,
    /// Queries at work.
    running: Arc<Semaphore>,
}

/// A statement that is ready to run.
struct Planned {
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    lsn: Lsn,
    /// Held until the work has really ended, also when nobody waits for it any more.
    permit: Running,
}

/// A query at work.
struct Running {
    instruments: QueryInstruments,
    _permit: OwnedSemaphorePermit,
}

impl Running {
    fn new(instruments: &QueryInstruments, permit: OwnedSemaphorePermit) -> Self {
        instruments.running.inc();
        Self { instruments: instruments.clone(), _permit: permit }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.instruments.running.dec();
    }
}

impl QueryEngine {
    /// Starts the threads that answer statements on the rows of `source`.
    ///
    /// # Errors
    /// [`QueryError::Threads`] where the system gives none.
    pub fn new(
        source: Arc<dyn Source>,
        limits: QueryLimits,
        instruments: QueryInstruments,
    ) -> Result<Self, QueryError> {
        let threads = limits.threads();
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .max_blocking_threads(limits.running_max + threads)
            .thread_stack_size(STACK_BYTES)
            .thread_name("query")
            .enable_time()
            .build()
            .map_err(|source| QueryError::Threads { source })?;
        let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
        let deadlines = Deadlines::start(Arc::clone(&clock))?;
        let room = Arc::new(Semaphore::new(limits.running_max + limits.waiting_max));
        let shared = Arc::new(Shared {
            source,
            instruments,
            clock,
            template: SessionTemplate::new(threads).map_err(QueryError::of)?,
            labels: Arc::new(LabelCache::new(limits.labels_bytes_max)),
            memory: Arc::new(GreedyMemoryPool::new(limits.memory_bytes_max)),
            running: Arc::new(Semaphore::new(limits.running_max)),
            limits,
        });
        Ok(Self { shared, deadlines, room, runtime: Some(runtime) })
    }

    /// Answers a statement. May be called from any runtime; dropping the future cancels the query.
    ///
    /// # Errors
    /// What stands in the way; [`QueryError::kind`] says what the caller can do.
    pub async fn execute(&self, request: QueryRequest) -> Result<QueryAnswer, QueryError> {
        let shared = &self.shared;
        let started = shared.clock.monotonic();
        let result = self.answer(request, started).await;
        shared.instruments.seconds.observe((shared.clock.monotonic() - started).as_secs_f64());
        match &result {
            Ok(answer) => {
                shared.instruments.answered.inc();
                shared.instruments.rows.inc_by(answer.stats.rows);
            }
            Err(error) => shared.instruments.count_error(error.kind()),
        }
        result
    }

    /// How many queries there are.
    #[must_use]
    pub fn load(&self) -> QueryLoad {
        let QueryLimits { running_max, waiting_max, .. } = self.shared.limits;
        let in_hand = (running_max + waiting_max).saturating_sub(self.room.available_permits());
        QueryLoad { in_hand, running_max, waiting_max }
    }

    async fn answer(
        &self,
        request: QueryRequest,
        started: Duration,
    ) -> Result<QueryAnswer, QueryError> {
        let limits = &self.shared.limits;
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
            let (running, waiting) = (limits.running_max, limits.waiting_max);
            return Err(QueryError::Busy { running, waiting });
        };
        let timeout = request.timeout.unwrap_or(limits.timeout).min(TIMEOUT_MAX);
        let progress = Arc::new(Progress::new(limits.scan_bytes_max, limits.rollups));
        let (job, answer) = Job::new(Arc::clone(&progress), timeout);
        let _waiting = self.deadlines.wait(&job);
        let shared = Arc::clone(&self.shared);
        let runtime = self.runtime.as_ref().ok_or(QueryError::Closed)?;
        let of_task = Arc::clone(&job);
        let task = runtime.spawn(async move {
            let work = shared.run(&request, &progress, timeout);
            let result = match AssertUnwindSafe(work).catch_unwind().await {
                Ok(result) => result,
                Err(_panic) => Err(QueryError::Panicked),
            };
            if let Some(path) = progress.damaged() {
                shared.source.report_damage(&path);
            }
            let stats = progress.stats();
            shared.instruments.rows_scanned.inc_by(stats.rows_scanned);
            shared.instruments.bytes_scanned.inc_by(stats.bytes_scanned);
            shared.instruments.rollup_rows.inc_by(stats.rollup_rows);
            shared.instruments.rollups_damaged.inc_by(progress.rollups_damaged());
            of_task.reply(result.map(|mut answer| {
                answer.stats.ms = (shared.clock.monotonic() - started).as_secs_f64() * 1_000.0;
                answer
            }));
            drop(room);
        });
        job.started(task.abort_handle());
        answer.await.unwrap_or(Err(QueryError::Closed))
    }
}

#[cfg(test)]
impl QueryEngine {
    /// Bytes of memory that queries hold, and places that are taken, the running ones first.
    pub(crate) fn held(&self) -> (usize, usize, usize) {
        let limits = &self.shared.limits;
        let running = limits.running_max - self.shared.running.available_permits();
        let room = limits.running_max + limits.waiting_max - self.room.available_permits();
        (self.shared.memory.reserved(), running, room)
    }
}

/// How many queries there are at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryLoad {
    /// Queries that run or wait.
    pub in_hand: usize,
    /// Queries that may run at the same time.
    pub running_max: usize,
    /// Queries that may wait beside them.
    pub waiting_max: usize,
}

impl Drop for QueryEngine {
    fn drop(&mut self) {
        // Waiting for queries here could block a runtime's thread.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    /// Answers a statement; a rollup that turns out damaged only costs time.
    async fn run(
        self: &Arc<Self>,
        request: &QueryRequest,
        progress: &Arc<Progress>,
        timeout: Duration,
    ) -> Result<QueryAnswer, QueryError> {
        let result = self.attempt(request.clone(), progress, timeout).await;
        if result.is_err() && progress.goes_on_without_rollups() {
            return self.attempt(request.clone(), progress, timeout).await;
        }
        result
    }

    async fn attempt(
        self: &Arc<Self>,
        request: QueryRequest,
        progress: &Arc<Progress>,
        timeout: Duration,
    ) -> Result<QueryAnswer, QueryError> {
        let permit = Arc::clone(&self.running).acquire_owned().await;
        let permit = permit.map_err(|_closed| QueryError::Closed)?;
        let permit = Running::new(&self.instruments, permit);
        let format = request.format;
        let (of_planning, of_plan) = (Arc::clone(self), Arc::clone(progress));
        let planned = tokio::task::spawn_blocking(move || {
            let handle = Handle::current();
            handle.block_on(of_planning.plan(&request, of_plan, timeout, permit))
        });
        let planned = match planned.await {
            Ok(planned) => planned?,
            Err(error) if error.is_panic() => return Err(QueryError::Panicked),
            Err(_cancelled) => return Err(QueryError::Closed),
        };
        let memory = MemoryConsumer::new("answer").register(planned.context.memory_pool());
        let limits = (self.limits.rows_max, self.limits.answer_bytes_max);
        let writer = AnswerWriter::new(format, &planned.plan.schema(), limits, memory);
        let mut writer = writer.map_err(QueryError::of)?;
        let plan = Arc::clone(&planned.plan);
        let mut batches =
            execute_stream(plan, Arc::clone(&planned.context)).map_err(QueryError::of)?;
        while let Some(batch) = batches.next().await {
            let written = batch.and_then(|batch| writer.write(&batch));
            written.map_err(QueryError::of)?;
            progress.check()?;
        }
        let (body, rows) = writer.finish().map_err(QueryError::of)?;
        let stats = QueryStats { rows, lsn: planned.lsn, ..progress.stats() };
        drop(planned.permit);
        Ok(QueryAnswer { body, content_type: format.content_type(), stats })
    }

    /// From text to a plan; on a thread that may block and has a large stack.
    async fn plan(
        self: Arc<Self>,
        request: &QueryRequest,
        progress: Arc<Progress>,
        timeout: Duration,
        permit: Running,
    ) -> Result<Planned, QueryError> {
        let statement = parse(&request.sql)?;
        let context = Arc::new(QueryContext::new(
            Arc::clone(&self.source),
            timeout,
            Arc::clone(&self.labels),
            Arc::clone(&progress),
            self.limits.threads(),
        )?);
        let lsn = context.snapshot.lsn;
        let all = Arc::clone(&self.memory);
        let memory = Arc::new(QueryPool::new(self.limits.query_memory_bytes_max, all));
        let mut session = self
            .template
            .session(Catalog::new(context, &request.db), &request.db, memory)
            .map_err(QueryError::of)?;
        // What `now()` says in the whole query.
        session.mark_start_execution();
        let logical = session.statement_to_plan(statement).await.map_err(QueryError::of)?;
        check_plan(&logical)?;
        progress.check()?;
        let physical = physical_plan(&session, &logical, &progress).await;
        let physical = physical.map_err(QueryError::of)?;
        progress.check()?;
        let plan = add_guards(physical, &progress).map_err(QueryError::of)?;
        Ok(Planned { plan, context: session.task_ctx(), lsn, permit })
    }
}

async fn physical_plan(
    session: &SessionState,
    logical: &LogicalPlan,
    progress: &Arc<Progress>,
) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    let optimized = answer_from_rollups(session.optimize(logical)?)?;
    let optimized = stop_in_joins(optimized, progress)?;
    progress.check()?;
    session.query_planner().create_physical_plan(&optimized, session).await
}
