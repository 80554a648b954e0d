//! Who is compared.

use std::error::Error;

use rcf3::{Forest, OnlineIForest};

use crate::online::Online;

/// What draws random numbers draws the same ones every time.
const SEED: u64 = 1;

/// A detector of another crate, with its own default parameters but for those named here.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Peer {
    /// `rcf3`: robust random cut forest, of so many trees of 256 samples over the last `shingle` values.
    CutForest { shingle: usize, trees: usize },
    /// `rcf3`: online isolation forest.
    IsolationForest,
    /// `augurs`: changepoints, found with the whole series in view.
    Changepoints,
}

impl Peer {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::CutForest { shingle: 1, trees: 50 },
        Self::CutForest { shingle: 1, trees: 100 },
        Self::CutForest { shingle: 8, trees: 50 },
        Self::CutForest { shingle: 8, trees: 100 },
        Self::IsolationForest,
        Self::Changepoints,
    ];

    /// The crate, and what of it.
    pub(crate) fn name(self) -> String {
        match self {
            Self::CutForest { shingle, trees } => {
                format!("rcf3 Forest, shingle {shingle}, {trees} trees")
            }
            Self::IsolationForest => "rcf3 OnlineIForest".to_owned(),
            Self::Changepoints => "augurs NormalGammaDetector".to_owned(),
        }
    }

    /// A detector of a series that has not begun; none where only whole series can be given.
    pub(crate) fn online(self) -> Result<Option<Online>, Box<dyn Error>> {
        let online = match self {
            Self::CutForest { shingle, trees } => {
                let forest = Forest::builder(1).shingle_size(shingle).num_trees(trees).seed(SEED);
                Online::of_cut_forest(forest.build()?)
            }
            Self::IsolationForest => {
                Online::of_isolation_forest(OnlineIForest::builder(1).seed(SEED).build()?)
            }
            Self::Changepoints => return Ok(None),
        };
        Ok(Some(online))
    }
}
