//! Clients, and the idempotency keys that some of them send under.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidewatch_connectors::decode::Precision;
use tidewatch_metrics::Lsn;

use super::Process;
use crate::EngineError;
use crate::idempotency::{Claim, Claimed, IdempotencyKey, StoredAnswer, request_hash};
use crate::ingest::{Durability, LineReport, LineWrite};
use crate::lab::finding::Layer;
use crate::lab::script::Request;
use crate::lab::world::Acked;

const DATABASE: &str = "default";

/// What a request came to as it was sent.
enum Sent {
    /// Its record is on its way, or it was answered.
    Taken,
    /// Another one with its key is in hand.
    Waits,
}

impl Process {
    /// Clients send these requests at the same time; they make one group of the log. Those that have to
    /// wait for another one with their key are sent again when that has come to its end.
    pub(in crate::lab) fn write(
        &mut self,
        requests: &[(usize, &Request)],
    ) -> Result<(), EngineError> {
        self.machine.phase("append");
        let mut sent = requests.to_vec();
        loop {
            let woken = Arc::new(AtomicUsize::new(0));
            let mut waiting = Vec::new();
            for (number, request) in &sent {
                if matches!(self.send((*number, request), &woken)?, Sent::Waits) {
                    waiting.push((*number, *request));
                }
            }
            self.commit()?;
            if woken.load(Ordering::Relaxed) != waiting.len() {
                let told = format!("of {} clients that wait {woken:?} are woken", waiting.len());
                self.machine.world.lock().break_promise(Layer::Conduct, told);
            }
            if waiting.is_empty() {
                return Ok(());
            }
            // Where a full disk refuses the first of them, the next is the first.
            if waiting.len() == sent.len() {
                let told = format!("{waiting:?} wait for one that has come to its end");
                self.machine.world.lock().break_promise(Layer::Conduct, told);
                return Ok(());
            }
            sent = waiting;
        }
    }

    fn send(
        &self,
        (number, request): (usize, &Request),
        woken: &Arc<AtomicUsize>,
    ) -> Result<Sent, EngineError> {
        let now = self.shared.progress.log_time();
        let mut claim = None;
        if let Some(key) = request.key {
            match self.claim(key, request, woken) {
                Ok(Claimed::Free(free)) => claim = Some(free),
                Ok(Claimed::Waits) => return Ok(Sent::Waits),
                Ok(Claimed::Replay { answer, lsn }) => {
                    self.replayed((number, request), &answer, lsn);
                    return Ok(Sent::Taken);
                }
                Err(EngineError::KeyReused) => {
                    let mut world = self.machine.world.lock();
                    let refused = world.keys.refuse((key, number));
                    world.check(Layer::Ledger, refused);
                    return Ok(Sent::Taken);
                }
                Err(error) => return Err(error),
            }
        }
        let report = self.append((number, request), claim)?;
        self.check_report((number, request), &report);
        if report.appended {
            self.machine.world.lock().make(number, request.key, now);
        }
        Ok(Sent::Taken)
    }

    fn claim(
        &self,
        key: u64,
        request: &Request,
        woken: &Arc<AtomicUsize>,
    ) -> Result<Claimed, EngineError> {
        let key = IdempotencyKey::new(format!("key-{key}").as_bytes())?;
        let hash = request_hash(&[b"/write", request.body.as_bytes()]);
        let woken = Arc::clone(woken);
        let wake = move || {
            woken.fetch_add(1, Ordering::Relaxed);
        };
        self.keys.claim(DATABASE, &key, hash, Box::new(wake))
    }

    fn append(
        &self,
        (number, request): (usize, &Request),
        claim: Option<Claim>,
    ) -> Result<LineReport, EngineError> {
        let (level, key) = (request.durability, request.key);
        let early = self.machine.acks_early && level == Durability::Synced;
        let world = self.machine.world.clone();
        let done = Box::new(move |ack: Result<crate::Ack, EngineError>| match ack {
            Ok(crate::Ack { lsn }) => {
                world.lock().acknowledge(Acked { request: number, lsn, level }, key);
            }
            Err(error) => world.lock().refuse(number, &error),
        });
        let write = LineWrite {
            db: DATABASE,
            body: request.body.as_bytes(),
            precision: Precision::Nanoseconds,
            accept_partial: true,
            durability: if early { Durability::Written } else { level },
            permit: self.ingest.admit(u64::try_from(request.body.len()).unwrap_or(u64::MAX))?,
            client: None,
            claim,
        };
        self.ingest.write_lines(write, done)
    }

    fn replayed(&self, (number, request): (usize, &Request), answer: &StoredAnswer, lsn: Lsn) {
        self.check_report((number, request), &answer.report);
        let now = self.shared.progress.log_time();
        let mut world = self.machine.world.lock();
        if let Some(key) = request.key {
            let replayed = world.keys.replay((key, number), (lsn, now));
            world.check(Layer::Ledger, replayed);
        }
        // A key stands for a record that no crash can take, whatever its first client asked for.
        world.acks.push(Acked { request: number, lsn, level: Durability::Synced });
    }

    /// The first answer of a request, and all that repeat it, say the same.
    fn check_report(&self, (number, request): (usize, &Request), report: &LineReport) {
        let accepted = u64::try_from(request.lines()).unwrap_or(u64::MAX);
        let counts = (report.lines_accepted, report.lines_rejected, report.refused.len() as u64);
        if counts != (accepted, request.lines_bad, request.lines_bad) {
            let told = format!("request {number}: {report:?}");
            self.machine.world.lock().break_promise(Layer::Ledger, told);
        }
    }
}
