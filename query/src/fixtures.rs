//! A small data directory with real files and heads in memory, for the tests of this crate.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tidewatch_env::{Disk, RealDisk};
use tidewatch_metrics::catalog::SeriesEntry;
use tidewatch_metrics::{
    AnomalyKind, Channel, EventTime, Flags, Lsn, SeriesCatalog, SeriesKey, SeriesRef, Severity,
    UnixNanos,
};
use tidewatch_operators::RuleSet;
use tidewatch_segments::{
    AlertRow, Compaction, Delete, DeliveryRow, Events, Flush, Head, Letter, LetterEnd, LetterId,
    LetterLimits, LetterRow, LettersInMemory, Manifest, MetricName, Published, Retention,
    RowColumns, SlotSet, Snapshot, WindowRow, commit_deletes, flush, quarantine,
};
use tokio::runtime::{Builder, Runtime};

use crate::{
    Format, OffsetRow, QueryAnswer, QueryEngine, QueryError, QueryInstruments, QueryLimits,
    QueryRequest, Source, SourceRow, WalSegmentRow,
};

pub(crate) const SECOND: i64 = 1_000_000_000;

/// A row as it arrives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) series: SeriesRef,
    pub(crate) time: i64,
    pub(crate) value: f64,
    /// What the row gets if it is in order; a late row gets none.
    pub(crate) severity: f32,
}

/// A data directory: real segments, heads in memory, and what else tables show.
#[derive(Debug)]
pub(crate) struct World {
    dir: TempDir,
    disk: Arc<dyn Disk>,
    catalog: Arc<SeriesCatalog>,
    published: Published,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    heads: Vec<Head>,
    lsn: Lsn,
    greatest: BTreeMap<SeriesRef, i64>,
    alerts: Vec<AlertRow>,
    deliveries: Vec<DeliveryRow>,
    windows: Vec<Arc<WindowRow>>,
    letters: LettersInMemory,
    rules: Arc<RuleSet>,
    is_ready: bool,
    damaged: Vec<PathBuf>,
}

/// Everything is kept for ever.
#[derive(Clone, Copy, Debug, Default)]
struct KeepAll;

impl Retention for KeepAll {
    fn keep_nanos(&self, _series: &SeriesEntry) -> Option<i64> {
        None
    }

    fn keeps(&self) -> &[Option<i64>] {
        &[None]
    }

    fn rules(&self) -> u64 {
        0
    }
}

impl World {
    pub(crate) fn new(shards: usize) -> Arc<Self> {
        let dir = TempDir::new().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let catalog = Arc::new(SeriesCatalog::new(1_000_000));
        let manifest = Manifest::open(&*disk, dir.path()).unwrap();
        let (heads, shared) = (0..shards).map(|_| Head::new()).unzip();
        let of_published = (Arc::clone(&disk), Arc::clone(&catalog));
        let published =
            Published::new(of_published.0, dir.path(), of_published.1, manifest, shared);
        let state = Mutex::new(State {
            heads,
            lsn: Lsn::ZERO,
            greatest: BTreeMap::new(),
            alerts: Vec::new(),
            deliveries: Vec::new(),
            windows: Vec::new(),
            letters: LettersInMemory::default(),
            rules: Arc::default(),
            is_ready: true,
            damaged: Vec::new(),
        });
        Arc::new(Self { dir, disk, catalog, published, state })
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn series(&self, db: &str, name: &str, labels: &[(&str, &str)]) -> SeriesRef {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let key = SeriesKey::new(db, name, "value", labels).unwrap();
        let (series, entry) = self.catalog.register(&key).unwrap();
        entry.set_detector(self.rules().detection(&key).model.code());
        series
    }

    /// Takes a record; tells of each row whether it is late.
    pub(crate) fn write(&self, rows: &[Arrival]) -> Vec<bool> {
        let mut state = self.state.lock().unwrap();
        state.lsn = state.lsn.next();
        let lsn = state.lsn;
        let mut all_late = Vec::new();
        for row in rows {
            let greatest = state.greatest.entry(row.series).or_insert(i64::MIN);
            let late = row.time <= *greatest;
            *greatest = row.time.max(*greatest);
            all_late.push(late);
            let severity = if late { 0.0 } else { row.severity };
            let mut flags = if late { Flags::LATE } else { Flags::NONE };
            if severity > 0.0 {
                let kind = kind_at(row.time);
                flags = flags.with(Flags::ONSET).with_channel(Channel::Deviation).with_kind(kind);
            }
            let shard = row.series.index() % state.heads.len();
            state.heads[shard].append(&RowColumns {
                series: &[row.series],
                times: &[EventTime::new(row.time)],
                values: &[row.value],
                severities: &[Severity::from_f32(severity)],
                flags: &[flags],
            });
        }
        state.heads.iter_mut().for_each(|head| head.publish(lsn));
        all_late
    }

    /// Freezes the head of a shard.
    pub(crate) fn freeze(&self, shard: usize) {
        let mut state = self.state.lock().unwrap();
        self.published.freeze(shard, &mut state.heads[shard]);
    }

    /// Moves the rows of a shard to a segment, and all events to files. Keeps the events in memory,
    /// as if a query had come in between.
    pub(crate) fn flush(&self, shard: usize) {
        self.freeze(shard);
        let state = self.state.lock().unwrap();
        let events = Events {
            alerts: &state.alerts,
            deliveries: &state.deliveries,
            last_lsn: state.lsn,
            ..Events::default()
        };
        for frozen in self.published.frozen(shard) {
            let filed = self.published.manifest().windows_lsn();
            let windows = state.windows.iter().filter(|window| window.lsn > filed);
            let windows: Vec<_> = windows.cloned().collect();
            let filed = self.published.manifest().letters_lsn();
            let letters = state.letters.rows.iter().filter(|row| row.lsn > filed);
            let letters: Vec<_> = letters.cloned().collect();
            let letters_lsn = letters.last().map_or(filed, |row| row.lsn);
            let input = Flush {
                frozen: &[Arc::clone(&frozen)],
                slots: SlotSet::ALL,
                catalog: &self.catalog,
                events: Events { windows: &windows, letters: &letters, letters_lsn, ..events },
                now: UnixNanos::default(),
            };
            let manifest = self.published.manifest();
            let flushed = flush(&self.disk, self.dir.path(), &manifest, &input).unwrap();
            self.published.commit_flush(shard, &[frozen], flushed.manifest);
        }
        self.forget_deletes();
    }

    /// A record with these messages, of which something was refused.
    pub(crate) fn keep(&self, letters: &[Letter]) -> Lsn {
        let mut state = self.state.lock().unwrap();
        state.lsn = state.lsn.next();
        let lsn = state.lsn;
        state.letters.rows.extend(letters.iter().map(|letter| {
            Arc::new(LetterRow {
                lsn,
                source: "main".into(),
                topic: "metrics".into(),
                partition: 3,
                topic_id: 7,
                received: UnixNanos::new(1_700_000_000_000_000_000),
                letter: letter.clone(),
            })
        }));
        state.heads.iter_mut().for_each(|head| head.publish(lsn));
        lsn
    }

    /// A letter has come to its end.
    pub(crate) fn end(&self, id: LetterId, end: LetterEnd) {
        let mut state = self.state.lock().unwrap();
        Arc::make_mut(&mut state.letters.ends).insert(id, end);
    }

    /// Deletes rows that were written before.
    pub(crate) fn delete(&self, metric: &str, times: RangeInclusive<i64>) {
        let lsn = {
            let mut state = self.state.lock().unwrap();
            state.lsn = state.lsn.next();
            for (shard, head) in state.heads.iter_mut().enumerate() {
                self.published.freeze(shard, head);
            }
            state.lsn
        };
        let metric = MetricName { db: "default".to_owned(), metric: metric.to_owned() };
        let (from, to) = (EventTime::new(*times.start()), EventTime::new(*times.end()));
        let deletes = [Delete { lsn, metric, from, to }];
        let place = (&self.disk, self.dir.path());
        let unflushed = self.published.oldest_unflushed();
        let next = commit_deletes(place, &self.published.manifest(), &deletes, unflushed).unwrap();
        self.published.commit_files(next.unwrap());
    }

    /// Carries out the next task that segments wait for; false if there is none.
    pub(crate) fn compact(&self) -> bool {
        let (now, catalog) = (UnixNanos::default(), &*self.catalog);
        let letters = LetterLimits::default();
        let compaction = Compaction { retention: &KeepAll, now, force: true, catalog, letters };
        let (place, manifest) = ((&self.disk, self.dir.path()), self.published.manifest());
        let Some(task) = compaction.next_task(&manifest) else { return false };
        let mut pace = |_| true;
        let prepared = compaction.prepare(place, &manifest, task, &mut pace).unwrap();
        let next = prepared.unwrap().commit(place, &manifest, &[]).unwrap();
        self.published.commit_files(next.unwrap());
        for unread in self.published.take_unread() {
            self.disk.remove(&unread).unwrap();
        }
        self.forget_deletes();
        true
    }

    fn forget_deletes(&self) {
        let unflushed = self.published.oldest_unflushed();
        let place = (&self.disk, self.dir.path());
        let done = commit_deletes(place, &self.published.manifest(), &[], unflushed).unwrap();
        done.into_iter().for_each(|next| self.published.commit_files(next));
    }

    /// Deletes that still hide rows.
    pub(crate) fn deletes(&self) -> usize {
        self.published.manifest().deletes().len()
    }

    /// Files whose names begin so.
    pub(crate) fn files(&self, prefix: &str) -> Vec<PathBuf> {
        let files = self.published.manifest().files().to_vec();
        let files = files.iter().filter(|meta| meta.file.starts_with(prefix));
        files.map(|meta| self.dir.path().join(&meta.file)).collect()
    }

    pub(crate) fn add_alert(&self, alert: AlertRow) {
        self.state.lock().unwrap().alerts.push(alert);
    }

    pub(crate) fn add_delivery(&self, delivery: DeliveryRow) {
        self.state.lock().unwrap().deliveries.push(delivery);
    }

    /// A window that closes now.
    pub(crate) fn add_window(&self, window: WindowRow) {
        let mut state = self.state.lock().unwrap();
        let lsn = state.lsn;
        state.windows.push(Arc::new(WindowRow { lsn, ..window }));
    }

    /// Files that queries could not read.
    pub(crate) fn damaged(&self) -> Vec<PathBuf> {
        self.state.lock().unwrap().damaged.clone()
    }

    /// Takes a damaged file out of the manifest.
    pub(crate) fn quarantine(&self, path: &Path) {
        let file = path.file_name().unwrap().to_str().unwrap();
        let place = (&self.disk, self.dir.path());
        let next = quarantine(place, &self.published.manifest(), file).unwrap();
        self.published.commit_files(next.unwrap());
    }

    /// Puts rules in force; there is room for all detectors that they ask for.
    pub(crate) fn set_rules(&self, rules: RuleSet) {
        for (_, entry) in self.catalog.since(0) {
            entry.set_detector(rules.detection(&entry.key()).model.code());
        }
        self.state.lock().unwrap().rules = Arc::new(rules);
    }

    pub(crate) fn set_ready(&self, is_ready: bool) {
        self.state.lock().unwrap().is_ready = is_ready;
    }
}

impl Source for World {
    fn snapshot(&self, _timeout: Duration) -> Result<Snapshot, QueryError> {
        let state = self.state.lock().unwrap();
        if !state.is_ready {
            return Err(QueryError::NotReady);
        }
        self.published.snapshot(state.lsn).ok_or(QueryError::NotReady)
    }

    fn rules(&self) -> Arc<RuleSet> {
        Arc::clone(&self.state.lock().unwrap().rules)
    }

    fn report_damage(&self, path: &Path) {
        self.state.lock().unwrap().damaged.push(path.to_owned());
    }

    fn wal_segments(&self) -> Vec<WalSegmentRow> {
        let row = |file: &str, first, last| WalSegmentRow {
            file: file.to_owned(),
            first_lsn: first,
            last_lsn: last,
            bytes: 1_024,
            state: "active".to_owned(),
        };
        let one = Some(Lsn::new(1));
        vec![row("wal-1.log", one, Some(Lsn::new(9))), row("wal-2.log", None, None)]
    }

    fn offsets(&self) -> Vec<OffsetRow> {
        let row = |partition, first_offset, next_offset, lsn| OffsetRow {
            source: "main".to_owned(),
            topic: "metrics".to_owned(),
            partition,
            topic_id: u128::from(partition) << 100,
            first_offset,
            next_offset,
            lsn: Lsn::new(lsn),
        };
        vec![row(0, 0, 5, 3), row(0, 6, 7, 9), row(1, 1 << 40, 1 << 40, 0)]
    }

    fn sources(&self) -> Vec<SourceRow> {
        let row = |partition, state, lag_seconds, trouble: Option<&str>| SourceRow {
            source: "main".to_owned(),
            topic: "metrics".to_owned(),
            partition,
            state,
            next_offset: 7,
            end_offset: 9,
            lag_messages: 2,
            lag_seconds,
            messages: 6,
            bytes: 600,
            samples: 60,
            bad_messages: 1,
            gap_messages: 3,
            trouble: trouble.map(Into::into),
        };
        vec![row(0, "reading", 1.5, None), row(1, "stopped", 90.0, Some("it stops"))]
    }

    fn alerts(&self) -> Vec<AlertRow> {
        self.state.lock().unwrap().alerts.clone()
    }

    fn deliveries(&self) -> Vec<DeliveryRow> {
        self.state.lock().unwrap().deliveries.clone()
    }

    fn letters(&self, after: Lsn, upto: Lsn) -> Option<LettersInMemory> {
        let LettersInMemory { rows, ends } = self.state.lock().unwrap().letters.clone();
        let rows = rows.into_iter().filter(|row| after < row.lsn && row.lsn <= upto);
        Some(LettersInMemory { rows: rows.collect(), ends })
    }

    fn windows(&self, after: Lsn, upto: Lsn) -> Option<Vec<Arc<WindowRow>>> {
        let state = self.state.lock().unwrap();
        let closed = state.windows.iter().filter(|row| after < row.lsn && row.lsn <= upto);
        Some(closed.cloned().collect())
    }
}

/// An engine on a world, and a runtime to ask it from.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) engine: QueryEngine,
    pub(crate) instruments: QueryInstruments,
    pub(crate) runtime: Runtime,
}

impl Asked {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        Self::with_limits(world, QueryLimits::default())
    }

    pub(crate) fn with_limits(world: &Arc<World>, limits: QueryLimits) -> Self {
        let source: Arc<dyn Source> = Arc::<World>::clone(world);
        let instruments = QueryInstruments::default();
        let engine = QueryEngine::new(source, limits, instruments.clone()).unwrap();
        let runtime = Builder::new_current_thread().build().unwrap();
        Self { engine, instruments, runtime }
    }

    pub(crate) fn ask(&self, request: QueryRequest) -> Result<QueryAnswer, QueryError> {
        self.runtime.block_on(self.engine.execute(request))
    }

    /// The answer as CSV with its header.
    pub(crate) fn csv(&self, sql: &str) -> Result<String, QueryError> {
        let answer = self.ask(request(sql, Format::Csv))?;
        Ok(String::from_utf8(answer.body.to_vec()).unwrap())
    }
}

pub(crate) fn request(sql: &str, format: Format) -> QueryRequest {
    let (sql, db) = (sql.to_owned(), "default".to_owned());
    QueryRequest { sql, db, format, timeout: Some(Duration::from_secs(30)) }
}

pub(crate) fn at_second(second: i64) -> UnixNanos {
    UnixNanos::new(second * SECOND)
}

/// What the anomaly looks like that an unusual sample at `time` is of; nothing is said of one in eight.
pub(crate) fn kind_at(time: i64) -> AnomalyKind {
    AnomalyKind::from_code(u8::try_from((time / SECOND).rem_euclid(8)).unwrap())
}
