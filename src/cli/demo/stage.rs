//! Conducts the demo: history, live samples, alerts, the tour.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tidewatch_env::Clock;
use tidewatch_metrics::EventTime;

use crate::cli::client::{Client, ServerArgs};
use crate::cli::demo::feed::Feed;
use crate::cli::demo::judge::Judge;
use crate::cli::demo::player::Player;
use crate::cli::demo::script::Script;
use crate::cli::demo::server::DemoServer;
use crate::cli::demo::story::Story;
use crate::cli::demo::tour::Tour;
use crate::cli::error::CliError;
use crate::cli::stop::Stop;

/// Between two writes of live samples.
const PAUSE: Duration = Duration::from_millis(200);
/// A demo that ends by itself leaves so much time to read what its tour tells.
const TOUR_MARGIN: Duration = Duration::from_secs(5);

/// All that takes part, but for the server itself.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    server: &'a DemoServer,
    script: Script,
    clock: &'a dyn Clock,
    stop: Arc<Stop>,
    end: Option<Duration>,
    player: Player,
    feed: Feed,
    judge: Judge,
    tour: Tour,
    /// How far the generated series are.
    moment: EventTime,
    /// Anomalies that were told of.
    told: usize,
    toured: bool,
}

impl<'a> Stage<'a> {
    /// The stage of a demo that ends when it is stopped, or at `end` of the clock.
    ///
    /// # Errors
    /// If the server's address is none.
    pub(crate) fn new(
        server: &'a DemoServer,
        script: Script,
        clock: &'a dyn Clock,
        (stop, end): (Arc<Stop>, Option<Duration>),
    ) -> Result<Self, CliError> {
        let client = Client::new(&ServerArgs::at(server.url()), Arc::clone(&stop))?;
        let client = Arc::new(client);
        Ok(Self {
            server,
            clock,
            stop,
            end,
            player: Player::new(Arc::clone(&client), &script),
            feed: Feed::new(server.alerts_file()),
            judge: Judge::new(&script),
            tour: Tour::new(client),
            moment: script.live_start(),
            script,
            told: 0,
            toured: false,
        })
    }

    /// Runs until stopped; gives the result as one document.
    ///
    /// # Errors
    /// If the server fails, the story cannot be told, or it was stopped before anything could be seen.
    pub(crate) fn run(&mut self, story: &mut Story<'_>) -> Result<Value, CliError> {
        story.open(self.server)?;
        while self.player.write_history(self.script.live_start())? && !self.is_over() {}
        if self.stop.is_stopped() {
            return Err(CliError::Interrupted);
        }
        let started = self.clock.monotonic();
        story.history(self.player.samples(), started)?;
        while !self.is_over() {
            self.step(started, story)?;
            self.stop.wait(PAUSE);
        }
        self.show_alerts(story)?;
        story.close(self.server, &self.judge, self.moment)?;
        Ok(self.judge.document(&self.server.url(), self.moment))
    }

    /// What happens five times a second.
    fn step(&mut self, started: Duration, story: &mut Story<'_>) -> Result<(), CliError> {
        let (now, elapsed) = (self.clock.now(), self.clock.monotonic());
        self.moment = self.script.moment(elapsed - started, EventTime::new(now.nanos()));
        let names = self.script.generator().series();
        let begun = self.script.anomalies().iter().skip(self.told);
        for anomaly in begun.take_while(|anomaly| anomaly.onset <= self.moment) {
            story.injected(anomaly, &names[anomaly.series])?;
            self.told += 1;
        }
        self.player.play(self.moment, now, elapsed)?;
        self.show_alerts(story)?;
        if !self.toured && self.is_tour_time(elapsed) {
            self.toured = true;
            story.verdict(&self.judge, self.moment, self.script.generator().series())?;
            self.tour.run(story)?;
            story.next_steps(self.server, self.end)?;
        }
        Ok(())
    }

    fn show_alerts(&mut self, story: &mut Story<'_>) -> Result<(), CliError> {
        let alerts = self.feed.poll().map_err(|source| CliError::File {
            action: "read the alerts in",
            path: self.server.alerts_file(),
            source: source.into(),
        })?;
        for alert in alerts {
            if alert.is_firing() {
                let verdict = self.judge.judge(&alert, self.clock.monotonic());
                story.firing(&alert, verdict, &self.judge)?;
            } else {
                story.resolved(&alert)?;
            }
        }
        Ok(())
    }

    /// Once all is found, or nothing more is to come, or there is hardly time left.
    fn is_tour_time(&self, elapsed: Duration) -> bool {
        self.judge.is_complete()
            || self.moment >= self.script.live_end()
            || self.end.is_some_and(|end| elapsed + TOUR_MARGIN >= end)
    }

    fn is_over(&self) -> bool {
        self.stop.is_stopped() || self.end.is_some_and(|end| self.clock.monotonic() >= end)
    }
}
