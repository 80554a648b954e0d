//! The parts of an engine that exist before its log is read: files, checkpoint, shards.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewatch_env::{Clock, Disk};
use tidewatch_metrics::{Lsn, SeriesCatalog, Slot};
use tidewatch_operators::PipelineConfig;
use tidewatch_segments::{Manifest, remove_orphans, restore_catalog};
use tidewatch_wal::WalError;
use tracing::{error, info, warn};

use crate::checkpoint::{Base, Checkpoint, CheckpointIndex, CheckpointStore, Kept};
use crate::config::EngineConfig;
use crate::deletes::Deletes;
use crate::dispatch::shard_of;
use crate::feeds::Feeds;
use crate::idempotency::Idempotency;
use crate::instruments::{OutboxInstruments, ShardInstruments};
use crate::letters::Letters;
use crate::outbox::Outbox;
use crate::progress::Progress;
use crate::replayer::rules_of;
use crate::series_bytes::series_costs;
use crate::shard::{Shard, ShardShared};
use crate::sources::Sources;
use crate::windows::Windows;
use crate::{EngineError, OPERATORS_VERSION};

/// The parts that exist before the log is read.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) shards: Vec<Shard>,
    pub(crate) shared: ShardShared,
    /// Idempotency keys, of which none is known before the log is opened.
    pub(crate) keys: Arc<Idempotency>,
    /// How far sources are stored, as the checkpoint knows it before the log is opened.
    pub(crate) sources: Arc<Sources>,
    /// Where replay begins.
    pub(crate) base: Base,
    /// Since which start the checkpoint knows sinks and feeds without a break.
    pub(crate) since: BTreeMap<String, Lsn>,
    pub(crate) store: CheckpointStore,
    /// Checkpoints that can be used, oldest first.
    pub(crate) checkpoints: Vec<Kept>,
    /// The greatest record of which segments or checkpoints tell that it was durable.
    pub(crate) durable: Lsn,
    /// Whether references may occur in records whose series are not known.
    pub(crate) lacks_series: bool,
}

impl Opened {
    /// Opens segments and checkpoints; the newest checkpoint that is whole goes into the shards.
    ///
    /// # Errors
    /// Damage, formats of later releases, and what the disk reports.
    pub(crate) fn new(
        config: &EngineConfig,
        disk: &Arc<dyn Disk>,
        clock: &Arc<dyn Clock>,
        (shard_instruments, outbox_instruments): (ShardInstruments, OutboxInstruments),
    ) -> Result<Self, EngineError> {
        let dir = config.segments_dir();
        let store = CheckpointStore::new(Arc::clone(disk), config.checkpoints_dir());
        let indexes = store.indexes()?;
        // ORDER: what checkpoints rely on is checked before anything is removed.
        let least = indexes.iter().map(|index| index.manifest).max().unwrap_or_default();
        let manifest = Manifest::open_at_least(&**disk, &dir, least)?;
        let removed = remove_orphans(&**disk, &dir, &manifest)?;
        if removed > 0 {
            info!(removed, "files that a crash left behind were removed");
        }
        let costs = series_costs(config.shards, &config.rules);
        let catalog = Arc::new(SeriesCatalog::with(config.series, costs));
        restore_catalog(&**disk, &dir, &manifest, &catalog)?;
        let (durable, lacks_series) = (durable_lsn(&manifest, &indexes), manifest.lacks_series());
        let flushed = Arc::new(*manifest.flushed());
        let filed = manifest.windows_lsn();
        let feeds = Arc::new(Feeds::new(&config.feeds, config.shards, &shard_instruments.feeds));
        let letters = Letters::load(&**disk, &dir, &manifest, Arc::clone(&feeds))?;
        let deletes = Arc::new(Deletes::new(manifest.deletes_lsn()));
        let (heads, published) =
            crate::flusher::publish(disk, &dir, manifest, &catalog, config.shards);
        published.limit_footers(config.footers_bytes_max);
        let progress = Arc::new(Progress::new(config.shards));
        let counted = shard_instruments.windows.clone();
        let (ticks, told) = (Arc::clone(&progress), Arc::clone(&feeds));
        let shared = ShardShared {
            windows: Arc::new(Windows::new(config.shards, ticks, filed, told, counted)),
            feeds,
            catalog,
            published,
            progress,
            outbox: Arc::new(Outbox::new(outbox_instruments)),
            clock: Arc::clone(clock),
            deletes,
            letters: Arc::new(letters),
            flushed,
        };
        let shards = heads.into_iter().enumerate().map(|(index, head)| {
            let pipeline = PipelineConfig::default();
            Shard::new(index, shared.clone(), head, pipeline, shard_instruments.clone())
        });
        let checkpoints = indexes.iter().rev().map(Kept::of).collect();
        let mut opened = Self {
            shards: shards.collect(),
            shared: shared.clone(),
            keys: Idempotency::new(config.keys),
            sources: Arc::default(),
            base: Base::first(),
            since: BTreeMap::new(),
            checkpoints,
            durable,
            lacks_series,
            store,
        };
        opened.restore_newest(indexes)?;
        Ok(opened)
    }

    /// Goes from the newest checkpoint to older ones until one can be taken.
    fn restore_newest(&mut self, indexes: Vec<CheckpointIndex>) -> Result<(), EngineError> {
        for index in indexes {
            let number = index.number;
            let (operators, ours) = (index.operators, OPERATORS_VERSION);
            if operators > ours {
                warn!(number, operators, ours, "a checkpoint of later operators is passed over");
            } else if let Some(checkpoint) = self.store.open(index)? {
                if self.restore(&checkpoint)? {
                    let from = self.base.replay_from;
                    info!(number, operators, replay_from = %from, "starting from a checkpoint");
                    let index = &checkpoint.index;
                    let covered = |slot: Slot| index.slots[usize::from(slot.0)].lsn;
                    let windows = index.windows.map(|windows| windows.lsn);
                    let (feeds, catalog) = (&self.shared.feeds, &self.shared.catalog);
                    feeds.restore(&index.feeds, catalog, covered, windows);
                    self.since = index
                        .outbox
                        .sinks
                        .iter()
                        .map(|sink| (sink.name.clone(), sink.since))
                        .collect();
                    self.since
                        .extend(index.feeds.iter().map(|feed| (feed.tag.clone(), feed.since)));
                    self.sources.restore(&checkpoint.index.offsets);
                    let outbox = checkpoint.index.outbox;
                    self.shared.outbox.restore_checkpoint(outbox, &self.base);
                    return Ok(());
                }
                error!(number, "a checkpoint has another form; falling back to an older one");
                self.shards.iter_mut().for_each(Shard::forget);
                self.shared.windows.forget();
            }
            self.checkpoints.retain(|kept| kept.number != number);
        }
        Ok(())
    }

    /// Goes from record `from` on with empty state: no checkpoint can be used, and nothing earlier is left.
    pub(crate) fn begin_at(&mut self, from: Lsn) {
        self.base = Base::without_state(from);
    }

    /// Whether no checkpoint was taken.
    pub(crate) fn is_first(&self) -> bool {
        self.base.replay_from == Base::first().replay_from
    }

    /// Refuses a log that ends with `last`, before a record of which segments or checkpoints tell: new
    /// records would get its number, and would be taken for records whose rows are stored.
    ///
    /// # Errors
    /// `Missing`.
    pub(crate) fn check_end(&self, last: Lsn) -> Result<(), EngineError> {
        if last < self.durable {
            let (from, first) = (self.durable, last.next());
            return Err(WalError::Missing { from, first }.into());
        }
        Ok(())
    }

    /// What it means that the log could not be opened.
    pub(crate) fn refused(&self, error: EngineError) -> EngineError {
        match error {
            EngineError::Wal(source)
                if self.is_first() && matches!(*source, WalError::Missing { .. }) =>
            {
                EngineError::NoCheckpoint { dir: self.store.dir().to_owned(), source }
            }
            error => error,
        }
    }

    fn restore(&mut self, checkpoint: &Checkpoint) -> Result<bool, EngineError> {
        let (start, record) = &checkpoint.index.start;
        let rules = rules_of(*start, record)?;
        for shard in &mut self.shards {
            shard.set_rules(*start, &rules);
        }
        let count = self.shards.len();
        for slot in (0..=u8::MAX).map(Slot) {
            let Some(state) = checkpoint.slot(slot)? else { return Ok(false) };
            if !self.shards[shard_of(slot, count)].restore_slot(slot, &state) {
                return Ok(false);
            }
        }
        if let Some(entry) = checkpoint.index.windows {
            let Some(state) = checkpoint.windows()? else { return Ok(false) };
            if !self.shared.windows.restore(entry.lsn, &rules, &state) {
                return Ok(false);
            }
            self.shards.iter_mut().for_each(|shard| shard.set_counted(entry.lsn));
        }
        self.base = Base::of(&checkpoint.index);
        Ok(true)
    }
}

/// The greatest record of which segments or checkpoints tell that it was durable.
pub(crate) fn durable_lsn(manifest: &Manifest, indexes: &[CheckpointIndex]) -> Lsn {
    let flushed = manifest.flushed().iter().copied();
    let files = manifest.files().iter().map(|file| file.last_lsn);
    let checkpoints = indexes.iter().flat_map(|index| [index.position.0, index.greatest_lsn()]);
    flushed.chain(files).chain(checkpoints).max().unwrap_or_default()
}
