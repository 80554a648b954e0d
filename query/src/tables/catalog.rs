//! Which schemas and tables there are; tables are made when a statement names them.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::TableType;

use crate::scan::Superseded;
use crate::tables::anomalies::AnomaliesTable;
use crate::tables::context::QueryContext;
use crate::tables::dlq;
use crate::tables::events;
use crate::tables::files;
use crate::tables::metric::MetricTable;
use crate::tables::offsets;
use crate::tables::percentiles::percentiles;
use crate::tables::samples::SamplesTable;
use crate::tables::series::SeriesTable;
use crate::tables::sources;

/// The one catalog, and the schema of the product's own tables.
pub(crate) const TIDEWATCH: &str = "tidewatch";

const OWN_TABLES: [&str; 12] = [
    "alerts",
    "anomalies",
    "arrivals",
    "deliveries",
    "dlq",
    "offsets",
    "percentiles",
    "samples",
    "segments",
    "series",
    "sources",
    "wal_segments",
];

/// The one catalog of a query: a schema per database, and `tidewatch`.
#[derive(Clone, Debug)]
pub(crate) struct Catalog {
    context: Arc<QueryContext>,
    /// The database of the request, which is a schema even without a table.
    db: String,
}

/// The metrics of a database.
#[derive(Debug)]
struct Database {
    context: Arc<QueryContext>,
    db: String,
}

/// The product's own tables.
#[derive(Debug)]
struct OwnTables {
    context: Arc<QueryContext>,
}

impl Catalog {
    pub(crate) fn new(context: Arc<QueryContext>, db: &str) -> Self {
        Self { context, db: db.to_owned() }
    }

    /// What all tables of the query share.
    pub(crate) fn context(&self) -> &Arc<QueryContext> {
        &self.context
    }
}

impl CatalogProviderList for Catalog {
    fn register_catalog(
        &self,
        _name: String,
        _catalog: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![TIDEWATCH.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == TIDEWATCH).then(|| -> Arc<dyn CatalogProvider> { Arc::new(self.clone()) })
    }
}

impl CatalogProvider for Catalog {
    fn schema_names(&self) -> Vec<String> {
        let mut names = self.context.snapshot.catalog.databases();
        names.extend([self.db.clone(), TIDEWATCH.to_owned()]);
        names.sort_unstable();
        names.dedup();
        names
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let context = Arc::clone(&self.context);
        if name == TIDEWATCH {
            return Some(Arc::new(OwnTables { context }));
        }
        let known =
            name == self.db || context.snapshot.catalog.databases().iter().any(|db| db == name);
        known.then(|| -> Arc<dyn SchemaProvider> {
            Arc::new(Database { context, db: name.to_owned() })
        })
    }
}

#[async_trait]
impl SchemaProvider for Database {
    fn table_names(&self) -> Vec<String> {
        self.context.snapshot.catalog.metrics(&self.db)
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let Some(view) = self.context.snapshot.catalog.metric(&self.db, name) else {
            return Ok(None);
        };
        self.context.look_up()?;
        Ok(Some(Arc::new(MetricTable::new(Arc::clone(&self.context), view))))
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        Ok(self.table_exist(name).then_some(TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.context.snapshot.catalog.metric(&self.db, name).is_some()
    }
}

#[async_trait]
impl SchemaProvider for OwnTables {
    fn table_names(&self) -> Vec<String> {
        OWN_TABLES.iter().map(|name| (*name).to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let context = Arc::clone(&self.context);
        context.look_up()?;
        Ok(Some(match name {
            "alerts" => Arc::new(events::alerts(&context)),
            "anomalies" => Arc::new(AnomaliesTable::new(context)),
            "arrivals" => Arc::new(SamplesTable::new(context, Superseded::Shown)),
            "deliveries" => Arc::new(events::deliveries(&context)),
            "dlq" => Arc::new(dlq::dlq(&context)?),
            "offsets" => offsets::offsets(&context.source.offsets())?,
            "percentiles" => Arc::new(percentiles(&context)),
            "samples" => Arc::new(SamplesTable::new(context, Superseded::Hidden)),
            "segments" => files::segments(&context)?,
            "series" => Arc::new(SeriesTable::new(context)),
            "sources" => sources::sources(&context.source.sources())?,
            "wal_segments" => files::wal_segments(&context.source.wal_segments())?,
            _ => return Ok(None),
        }))
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        Ok(self.table_exist(name).then_some(TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        OWN_TABLES.contains(&name)
    }
}
