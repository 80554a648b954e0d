//! Where the trees of half-spaces cut.

/// Coordinates of a point.
pub(super) const FEATURES: usize = 4;
/// Trees: the source's.
pub(super) const TREES: usize = 25;
/// Cuts from the whole to a last part. The source has 15, for 25 MB of counts; 4 and 8 are nearer than other seeds.
pub(super) const DEPTH: usize = 6;
/// Last parts of a tree.
pub(super) const LEAVES: usize = 1 << DEPTH;
/// What the trees are drawn from: the fraction of the golden ratio.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// A cut of one part in two halves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Split {
    pub(super) feature: u8,
    pub(super) at: f32,
}

/// Of each tree the cut of part `i`, from 1 on, drawn once for ever.
///
/// A tree has a work range in each coordinate, `s - 2 max(s, 1 - s)` to `s + 2 max(s, 1 - s)` with a random `s` in the unit
/// interval; a part is cut in the middle of a random coordinate of it. Source: Tan, Ting, Liu (2011), algorithm 1.
pub(super) static SPLITS: [[Split; LEAVES]; TREES] = draw();

impl Split {
    /// The half of part `part` in which a point lies.
    pub(super) fn half(self, part: usize, point: &[f32; FEATURES]) -> usize {
        2 * part + if point[self.feature as usize] < self.at { 0 } else { 1 }
    }
}

/// xorshift64*.
const fn next(state: u64) -> u64 {
    let state = state ^ (state >> 12);
    let state = state ^ (state << 25);
    state ^ (state >> 27)
}

/// A number in 0..2^24, of the upper bits.
const fn bits(state: u64) -> u32 {
    let [_, _, _, _, _, low, middle, high] =
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
    u32::from_le_bytes([low, middle, high, 0])
}

#[expect(clippy::cast_precision_loss, reason = "24 bits")]
#[expect(clippy::cast_possible_truncation, reason = "fewer coordinates than 256")]
const fn draw() -> [[Split; LEAVES]; TREES] {
    let mut splits = [[Split { feature: 0, at: 0.0 }; LEAVES]; TREES];
    let mut state = SEED;
    let mut tree = 0;
    while tree < TREES {
        let mut ranges = [[[0.0_f32; 2]; FEATURES]; 2 * LEAVES];
        let mut feature = 0;
        while feature < FEATURES {
            state = next(state);
            let s = bits(state) as f32 / (1 << 24) as f32;
            let reach = 2.0 * if s > 0.5 { s } else { 1.0 - s };
            ranges[1][feature] = [s - reach, s + reach];
            feature += 1;
        }
        let mut part = 1;
        while part < LEAVES {
            state = next(state);
            let feature = bits(state) as usize % FEATURES;
            let [low, high] = ranges[part][feature];
            let at = 0.5 * (low + high);
            splits[tree][part] = Split { feature: feature as u8, at };
            ranges[2 * part] = ranges[part];
            ranges[2 * part][feature] = [low, at];
            ranges[2 * part + 1] = ranges[part];
            ranges[2 * part + 1][feature] = [at, high];
            part += 1;
        }
        tree += 1;
    }
    splits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_cuts_each_coordinate_where_it_was_not_cut_before() {
        for splits in &SPLITS {
            for part in 1..LEAVES {
                let Split { feature, at } = splits[part];
                assert!((-2.0..3.0).contains(&at), "{at}");
                let mut child = part;
                while child > 1 {
                    let parent = splits[child / 2];
                    let is_above = child % 2 == 1;
                    assert!(
                        parent.feature != feature || (at > parent.at) == is_above,
                        "part {part} is cut outside of itself"
                    );
                    child /= 2;
                }
            }
        }
    }

    #[test]
    fn all_coordinates_are_cut_about_equally_often_and_no_two_trees_are_equal() {
        let mut counts = [0; FEATURES];
        for (tree, splits) in SPLITS.iter().enumerate() {
            splits[1..].iter().for_each(|split| counts[usize::from(split.feature)] += 1);
            assert!(SPLITS[..tree].iter().all(|other| other != splits), "tree {tree}");
        }
        let share = TREES * (LEAVES - 1) / FEATURES;
        let near = share - share / 5..share + share / 5;
        assert!(counts.iter().all(|count| near.contains(count)), "{counts:?}");
    }
}
