//! Samples a second through 1,000 series in turn, on one core.

use std::error::Error;
use std::hint::black_box;
use std::time::Duration;

use tidewatch_env::{Rng, thread_cpu_time};
use tidewatch_metrics::EventTime;
use tidewatch_operators::{Model, SeriesDetector};

use crate::corpus_run::MODELS;

use crate::online::Online;
use crate::peer::Peer;
use crate::table::{markdown, scaled};
use crate::{changepoints, is_wanted};

const SERIES: usize = 1_000;
const STEP_NANOS: i64 = 60_000_000_000;
/// Samples that ours have seen: the sets of a second generation are being filled.
const WARM_OURS: i64 = 9_000;
/// Samples that peers have seen: forests are full, and windows slide.
const WARM_PEERS: i64 = 3_000;
/// Peers that were warmed one by one; the others are copies.
const DISTINCT: usize = 8;
/// Rounds go on for so long.
const LOOK_MIN: Duration = Duration::from_secs(2);
/// Samples of a series that is given as a whole: a week.
const WHOLE: i64 = 7 * 1_440;

/// The figures of everyone who is wanted.
pub(crate) fn table(only: &[&str]) -> Result<String, Box<dyn Error>> {
    let mut rows = Vec::new();
    for model in MODELS.into_iter().filter(|model| is_wanted(model.name(), only)) {
        rows.push(vec![format!("`{model}`"), scaled(of_model(model)?)]);
    }
    for peer in Peer::ALL.into_iter().filter(|peer| is_wanted(&peer.name(), only)) {
        let speed = match peer {
            Peer::Changepoints => of_changepoints()?,
            Peer::CutForest { .. } | Peer::IsolationForest => of_online(peer)?,
        };
        rows.push(vec![peer.name(), scaled(speed)]);
    }
    Ok(markdown(&["model", "samples/s"], &rows))
}

fn of_model(model: Model) -> Result<f64, Box<dyn Error>> {
    let mut rng = Rng::from_seed(1);
    let mut fleet: Vec<_> = (0..SERIES).map(|_| SeriesDetector::new(model)).collect();
    for detector in &mut fleet {
        for scrape in 0..WARM_OURS {
            detector.observe(time(scrape), value(scrape, &mut rng));
        }
    }
    rounds(WARM_OURS, &mut rng, |series, scrape, value| {
        black_box(fleet[series].observe(time(scrape), value));
        Ok(())
    })
}

fn of_online(peer: Peer) -> Result<f64, Box<dyn Error>> {
    let mut rng = Rng::from_seed(1);
    let mut distinct: Vec<Online> = Vec::with_capacity(DISTINCT);
    for _ in 0..DISTINCT {
        let mut online = peer.online()?.ok_or("forests are online")?;
        for scrape in 0..WARM_PEERS {
            online.score(value(scrape, &mut rng))?;
        }
        distinct.push(online);
    }
    let mut fleet: Vec<Online> = distinct.iter().cycle().take(SERIES).cloned().collect();
    rounds(WARM_PEERS, &mut rng, |series, _, value| {
        black_box(fleet[series].score(value)?);
        Ok(())
    })
}

/// One sample of each series after the other, round by round.
fn rounds(
    warm: i64,
    rng: &mut Rng,
    mut score: impl FnMut(usize, i64, f64) -> Result<(), Box<dyn Error>>,
) -> Result<f64, Box<dyn Error>> {
    let (mut scrape, mut samples, mut spent) = (warm, 0.0, Duration::ZERO);
    while spent < LOOK_MIN {
        let values: Vec<f64> = (0..SERIES).map(|_| value(scrape, rng)).collect();
        let begin = thread_cpu_time()?;
        for (series, value) in values.iter().enumerate() {
            score(series, scrape, *value)?;
        }
        spent += thread_cpu_time()?.saturating_sub(begin);
        samples += values.len() as f64;
        scrape += 1;
    }
    Ok(samples / spent.as_secs_f64())
}

/// Whole series, one after the other: there is no other way.
fn of_changepoints() -> Result<f64, Box<dyn Error>> {
    let mut rng = Rng::from_seed(1);
    let (mut samples, mut spent) = (0.0, Duration::ZERO);
    while spent < LOOK_MIN {
        let values: Vec<f64> = (0..WHOLE).map(|scrape| value(scrape, &mut rng)).collect();
        let begin = thread_cpu_time()?;
        black_box(changepoints::scores(&values));
        spent += thread_cpu_time()?.saturating_sub(begin);
        samples += values.len() as f64;
    }
    Ok(samples / spent.as_secs_f64())
}

fn time(scrape: i64) -> EventTime {
    EventTime::new(1_700_000_000_000_000_000 + scrape * STEP_NANOS)
}

/// A triangle of the day, and noise: the sum of eight dice is near enough to a normal one.
fn value(scrape: i64, rng: &mut Rng) -> f64 {
    let minute = scrape.rem_euclid(1_440);
    let noise: f64 = (0..8).map(|_| rng.unit_f64()).sum();
    (minute - 720).abs() as f64 / 72.0 + noise
}
