//! The session of one query: functions, tables, settings.

use std::sync::Arc;

use datafusion::catalog::CatalogProviderList;
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::SessionStateDefaults;
use datafusion::execution::context::SessionConfig;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;

use crate::functions::{
    ConcatPlanner, KeepBounds, bounded_functions, expected, hdrhistogram, merge_percentile,
    over_time_functions, time_bucket,
};
use crate::limits::{BATCH_ROWS, DEPTH_MAX};
use crate::plan::OnePhase;
use crate::tables::{Catalog, TIDEWATCH, TimeBuckets};

/// What all sessions have in common, made once.
#[derive(Clone, Debug)]
pub(crate) struct SessionTemplate {
    state: SessionState,
}

impl SessionTemplate {
    /// Functions and settings, with this many partitions.
    pub(crate) fn new(threads: usize) -> Result<Self> {
        // First, as rows are then distributed for the phases that there are.
        let one_phase: Arc<dyn PhysicalOptimizerRule + Send + Sync> = Arc::new(OnePhase);
        let rules = PhysicalOptimizer::default().rules;
        let mut builder = SessionStateBuilder::new()
            .with_physical_optimizer_rules([one_phase].into_iter().chain(rules).collect())
            .with_config(config(threads))
            .with_expr_planners(SessionStateDefaults::default_expr_planners())
            .with_scalar_functions(SessionStateDefaults::default_scalar_functions())
            .with_aggregate_functions(SessionStateDefaults::default_aggregate_functions())
            .with_window_functions(SessionStateDefaults::default_window_functions())
            .with_table_function_list(SessionStateDefaults::default_table_functions());
        // Functions of functions can build without bound from what they capture; formats of files
        // and tables in files are not for queries.
        builder.catalog_list().take();
        let mut state = builder.build();
        let known = state.scalar_functions().values().cloned().collect::<Vec<_>>();
        for function in bounded_functions(known.iter()) {
            state.register_udf(function)?;
        }
        state.register_udf(Arc::new(time_bucket()))?;
        state.register_udf(Arc::new(hdrhistogram()))?;
        state.register_udaf(Arc::new(merge_percentile()))?;
        for function in over_time_functions() {
            state.register_udaf(Arc::new(function))?;
        }
        state.register_udwf(Arc::new(expected(None)))?;
        state.register_udtf("time_buckets", Arc::new(TimeBuckets));
        state.register_expr_planner(Arc::new(ConcatPlanner::default()))?;
        state.register_function_rewrite(Arc::new(KeepBounds))?;
        Ok(Self { state })
    }

    /// The session of a query whose tables are those of `catalog`.
    pub(crate) fn session(
        &self,
        catalog: Catalog,
        db: &str,
        memory: Arc<dyn MemoryPool>,
    ) -> Result<SessionState> {
        let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(memory)
            .with_disk_manager_builder(disk)
            .build_arc()?;
        let expected = Arc::new(expected(Some(Arc::clone(catalog.context()))));
        let catalogs: Arc<dyn CatalogProviderList> = Arc::new(catalog);
        let config = self.state.config().clone().with_default_catalog_and_schema(TIDEWATCH, db);
        let mut state = SessionStateBuilder::new_from_existing(self.state.clone())
            .with_config(config)
            .with_runtime_env(runtime)
            .with_catalog_list(catalogs)
            .build();
        // Over the one of the template, which has no series.
        state.register_udwf(expected)?;
        Ok(state)
    }
}

fn config(threads: usize) -> SessionConfig {
    SessionConfig::new()
        .with_target_partitions(threads)
        .with_batch_size(BATCH_ROWS)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true)
        .set_bool("datafusion.sql_parser.enable_ident_normalization", false)
        .set_usize("datafusion.sql_parser.recursion_limit", 2 * DEPTH_MAX)
}
