//! The figures of a long run.

use serde::Serialize;

/// What a long run came to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    /// Samples acknowledged.
    pub(crate) samples: u64,
    /// Seconds of load.
    pub(crate) load_seconds: f64,
    /// Seconds from then until nothing was left to merge.
    pub(crate) settle_seconds: f64,
    /// Times that the server asked to wait.
    pub(crate) busy: u64,
    /// The disk's budget.
    pub(crate) disk_bytes_budget: u64,
    /// The most that the data directory took.
    pub(crate) disk_bytes_max: u64,
    /// Bytes that flushes wrote.
    pub(crate) flushed_bytes: f64,
    /// Bytes that merges wrote.
    pub(crate) merged_bytes: f64,
    /// Samples dropped.
    pub(crate) rows_erased: f64,
    /// Samples that are kept.
    pub(crate) rows_kept: u64,
    /// Segments that hold them, and their bytes.
    pub(crate) segments: u64,
    /// Bytes of those segments.
    pub(crate) segment_bytes: u64,
    /// Resident memory of the server after each tenth of the load.
    pub(crate) resident_bytes: Vec<u64>,
    /// Questions asked while samples came, and those without an answer in time.
    pub(crate) questions: u64,
    /// Questions without an answer in time.
    pub(crate) unanswered: u64,
    /// Hours of metrics that were as generated, in all answers.
    pub(crate) hours_exact: u64,
    /// Hours of metrics that should have been and were not.
    pub(crate) hours_wrong: u64,
    /// At the end: hours of metrics that are as generated, dropped in part, and dropped.
    pub(crate) end_hours: [u64; 3],
}

impl Figures {
    /// Bytes written to segments for each byte that was flushed.
    pub(crate) fn write_amplification(&self) -> f64 {
        (self.flushed_bytes + self.merged_bytes) / self.flushed_bytes.max(1.0)
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mib = |bytes: u64| bytes >> 20;
        let memory: Vec<_> =
            self.resident_bytes.iter().map(|bytes| mib(*bytes).to_string()).collect();
        let [exact, partial, gone] = self.end_hours;
        format!(
            "samples acknowledged   {} in {:.1} s ({:.2} M/s), asked to wait {} times\n\
             disk                   {} MiB at most, budget {} MiB\n\
             write amplification    {:.2} (flushes {:.0} MiB, merges {:.0} MiB)\n\
             kept                   {} samples in {} segments, {:.2} B each; {:.0} dropped\n\
             memory, MiB            {}\n\
             asked under load       {} times, {} without answer in time: {} hours exact, {} wrong\n\
             asked at the end       {exact} hours exact, {partial} dropped in part, {gone} dropped\n\
             until all was merged   {:.1} s\n",
            self.samples,
            self.load_seconds,
            self.samples as f64 / self.load_seconds.max(1e-9) / 1e6,
            self.busy,
            mib(self.disk_bytes_max),
            mib(self.disk_bytes_budget),
            self.write_amplification(),
            self.flushed_bytes / 1_048_576.0,
            self.merged_bytes / 1_048_576.0,
            self.rows_kept,
            self.segments,
            self.segment_bytes as f64 / self.rows_kept.max(1) as f64,
            self.rows_erased.abs(),
            memory.join(" "),
            self.questions,
            self.unanswered,
            self.hours_exact,
            self.hours_wrong,
            self.settle_seconds,
        )
    }
}
