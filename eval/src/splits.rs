//! What a level chosen on some files gives on others.

use serde::Serialize;
use tidewatch_env::Rng;

/// The seed of all splits: the same files are the same halves in every run and for every model.
const SEED: u64 = 7;
/// Halves that are drawn for one that can be judged, at most.
const DRAWS_MAX: usize = 100;

/// Mean and standard deviation of a figure over random halves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The standard deviation, that of the sample.
    pub sd: f64,
}

/// Chooses on a random half of the files and judges on the other, `splits` times.
///
/// `figure` gets the files to choose on and those to judge, as indices, and gives none where one of the halves has no
/// label; then other halves are drawn. The half that is chosen on has the smaller number of files where it is odd.
///
/// `None` without two files, without a split, or where hardly any halves can be judged.
pub(crate) fn over_halves(
    files: usize,
    splits: usize,
    figure: impl Fn(&[usize], &[usize]) -> Option<f64>,
) -> Option<Spread> {
    if files < 2 || splits == 0 {
        return None;
    }
    let mut rng = Rng::from_seed(SEED);
    let mut order: Vec<usize> = (0..files).collect();
    let mut figures = Vec::new();
    for _ in 0..splits.saturating_mul(DRAWS_MAX) {
        shuffle(&mut order, &mut rng);
        let (chosen_on, judged) = order.split_at(files / 2);
        figures.extend(figure(chosen_on, judged));
        if figures.len() == splits {
            return Some(spread(&figures));
        }
    }
    None
}

/// Fisher and Yates.
fn shuffle(order: &mut [usize], rng: &mut Rng) {
    for last in (1..order.len()).rev() {
        let bound = u64::try_from(last + 1).expect("fewer than 2^64 files");
        let other = usize::try_from(rng.below(bound)).expect("at most the last place");
        order.swap(last, other);
    }
}

fn spread(figures: &[f64]) -> Spread {
    let count = figures.len() as f64;
    let mean = figures.iter().sum::<f64>() / count;
    let squares: f64 = figures.iter().map(|figure| (figure - mean) * (figure - mean)).sum();
    let sd = if figures.len() > 1 { (squares / (count - 1.0)).sqrt() } else { 0.0 };
    Spread { mean, sd }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_apart_and_together_everything() {
        let mut seen = std::cell::RefCell::new([0_u32; 7]);
        let spread = over_halves(7, 400, |chosen_on, judged| {
            assert_eq!((chosen_on.len(), judged.len()), (3, 4));
            let mut all = [chosen_on, judged].concat();
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2, 3, 4, 5, 6]);
            chosen_on.iter().for_each(|file| seen.borrow_mut()[*file] += 1);
            Some(1.0)
        });
        assert_eq!(spread, Some(Spread { mean: 1.0, sd: 0.0 }));
        // Each file is in 3 of 7 halves: 171 times, with a standard deviation below 10.
        assert!(seen.get_mut().iter().all(|count| count.abs_diff(171) < 50), "{seen:?}");
    }

    #[test]
    fn halves_that_cannot_be_judged_are_drawn_again() {
        let figures = std::cell::Cell::new(0.0);
        let figure = |chosen_on: &[usize], _: &[usize]| {
            chosen_on.contains(&0).then(|| {
                figures.set(figures.get() + 1.0);
                figures.get()
            })
        };
        let spread = over_halves(4, 3, figure).unwrap();
        assert_eq!(spread, Spread { mean: 2.0, sd: 1.0 });
        assert_eq!(over_halves(4, 3, |_, _| None), None);
        assert_eq!(over_halves(1, 3, |_, _| Some(1.0)), None);
        assert_eq!(over_halves(4, 0, |_, _| Some(1.0)), None);
    }
}
