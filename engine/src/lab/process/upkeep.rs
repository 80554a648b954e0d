//! Deletes, and what happens to segments after their flush.

use crossbeam::channel::bounded;
use tidewatch_metrics::EventTime;
use tidewatch_segments::MetricName;

use super::Process;
use crate::EngineError;
use crate::committer::Append;
use crate::compactor::Step;
use crate::deletes::DeleteRecord;
use crate::lab::script::Deletion;
use crate::record::KIND_DELETE;
use tidewatch_env::Clock;

impl Process {
    /// Somebody deletes rows, and is answered when the manifest names the delete.
    pub(in crate::lab) fn delete(&mut self, deletion: &Deletion) -> Result<(), EngineError> {
        self.machine.phase("delete");
        let metric = MetricName { db: "default".to_owned(), metric: deletion.metric.to_owned() };
        let record = DeleteRecord {
            received: self.machine.clock.now(),
            metric,
            from: EventTime::new(*deletion.times.start()),
            to: EventTime::new(*deletion.times.end()),
        };
        let (noted, answer) = bounded(1);
        let done = Box::new(move |ack| drop(noted.send(ack)));
        let note = Append {
            delete: Some(Box::new(record.clone())),
            ..Append::note(KIND_DELETE, record.encode(), done)
        };
        self.committer.commit(&mut vec![note])?;
        let Ok(Ok(crate::Ack { lsn })) = answer.try_recv() else { return Ok(()) };
        if self.name_deletes()? {
            self.machine.world.lock().deleted.push(lsn);
        }
        Ok(())
    }

    /// As in the process, what cannot be named now is named later; `false` then.
    pub(in crate::lab) fn name_deletes(&self) -> Result<bool, EngineError> {
        match self.writer.name_deletes().or_else(|_first| self.writer.name_deletes()) {
            Ok(()) => Ok(true),
            Err(_disk) if self.machine.world.lock().faulted => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Segments are merged until there is nothing left to do. As in the process, what fails is tried again
    /// later.
    pub(in crate::lab) fn compact(&mut self) -> Result<(), EngineError> {
        self.machine.phase("compact");
        loop {
            match self.compactor.step(true, &mut |_rows| true) {
                Ok(Step::Done) => {}
                Ok(Step::Idle | Step::Overtaken | Step::GivenUp) => break,
                Err(_disk) if self.machine.world.lock().faulted => break,
                Err(error) => return Err(error),
            }
        }
        self.name_deletes().map(drop)
    }
}
