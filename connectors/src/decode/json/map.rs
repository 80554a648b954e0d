//! Where the objects of a message have what makes a sample.
#![deny(clippy::indexing_slicing)]

use tidewatch_metrics::limits::SERIES_LABELS_MAX;

use crate::decode::json::grammar::Text;
use crate::decode::json::is_named;
use crate::decode::json::path::{PathError, names_of};
use crate::decode::precision::Precision;

/// Values of one object.
const VALUES_MAX: usize = 64;
/// Bytes of a constant metric, and of a value's suffix.
const NAME_BYTES_MAX: usize = 256;

/// Where the metric's name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricPlace {
    /// At a path.
    Path(String),
    /// Nowhere: it is this one.
    Constant(String),
}

/// Where values are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValuePlace {
    /// At a path.
    Path(String),
    /// Each at its path; what comes first is the end of its metric's name, behind `_`, or all of it where there is
    /// no other.
    Named(Vec<(String, String)>),
}

/// Where labels are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelPlace {
    /// The object at a path has them.
    Object(String),
    /// Keys, each with the path of its value.
    Paths(Vec<(String, String)>),
}

/// Where things are, as people write it: paths are those of [`JsonMap::new`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapSpec {
    /// The time; without one, or where nothing is there, the message's counts.
    pub time: Option<String>,
    /// Its unit where it is a number; `None` tells it by the magnitude.
    pub time_unit: Option<Precision>,
    /// The metric; `None` only with named values.
    pub metric: Option<MetricPlace>,
    /// The values.
    pub value: Option<ValuePlace>,
    /// The labels.
    pub labels: Option<LabelPlace>,
}

/// What is wrong with one key of a [`MapSpec`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// The key must be there.
    #[error("{key} is missing")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A text that is no path.
    #[error("{path:?} is no path")]
    Path {
        /// The key.
        key: &'static str,
        /// The text.
        path: String,
        /// Why.
        #[source]
        source: PathError,
    },
    /// A name that is empty or too long.
    #[error("{name:?} is no name: it must have 1 to {NAME_BYTES_MAX} bytes")]
    Name {
        /// The key.
        key: &'static str,
        /// The name.
        name: String,
    },
    /// None, or too many, of what may be several.
    #[error("it has {found} entries, but must have 1 to {max}")]
    Count {
        /// The key.
        key: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        max: usize,
    },
}

impl MapError {
    /// The key that it is about.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::Missing { key }
            | Self::Path { key, .. }
            | Self::Name { key, .. }
            | Self::Count { key, .. } => key,
        }
    }
}

/// A member on the way to something, or at it.
#[derive(Clone, Debug, Default)]
struct Node {
    name: String,
    /// Behind the last one of those within it.
    end: usize,
    /// The path to it as people wrote it, if something is there.
    path: String,
}

/// Where the metric of a sample comes from; nodes by their places in [`JsonMap`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    Node(usize),
    Constant(String),
}

/// Where labels come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Labels {
    None,
    Object(usize),
    Nodes(Vec<(String, usize)>),
}

/// A [`MapSpec`] as it is used.
///
/// Invariants: nodes stand before those within them, and these follow one another (preorder); node 0 is the object
/// itself; what refers to a node refers to one that is there.
#[derive(Clone, Debug)]
pub struct JsonMap {
    nodes: Vec<Node>,
    pub(crate) time: Option<usize>,
    pub(crate) time_unit: Precision,
    pub(crate) metric: Metric,
    /// What is added to the metric, and the value.
    pub(crate) values: Vec<(String, usize)>,
    pub(crate) labels: Labels,
}

impl JsonMap {
    /// Paths are the names of members from the message's object inwards, with dots between; a name with a dot or a
    /// quote stands in quotes, with `\"` and `\\` for these two.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn new(spec: &MapSpec) -> Result<Self, MapError> {
        let mut tree = Tree::default();
        let time = spec.time.as_ref().map(|path| tree.leaf("time", path)).transpose()?;
        let value = spec.value.as_ref().ok_or(MapError::Missing { key: "value" })?;
        let metric = match (&spec.metric, value) {
            (Some(MetricPlace::Path(path)), _) => Metric::Node(tree.leaf("metric", path)?),
            (Some(MetricPlace::Constant(name)), _) => {
                Metric::Constant(checked_name("metric", name)?)
            }
            (None, ValuePlace::Named(_)) => Metric::Constant(String::new()),
            (None, ValuePlace::Path(_)) => return Err(MapError::Missing { key: "metric" }),
        };
        let values = match value {
            ValuePlace::Path(path) => vec![(String::new(), tree.leaf("value", path)?)],
            ValuePlace::Named(named) => {
                let between = if spec.metric.is_some() { "_" } else { "" };
                let suffix = |name: &str| Ok(format!("{between}{}", checked_name("value", name)?));
                tree.named("value", (named, VALUES_MAX), suffix)?
            }
        };
        let labels = match &spec.labels {
            None => Labels::None,
            Some(LabelPlace::Object(path)) => Labels::Object(tree.leaf("labels", path)?),
            Some(LabelPlace::Paths(named)) => {
                let key = |name: &str| checked_name("labels", name);
                Labels::Nodes(tree.named("labels", (named, SERIES_LABELS_MAX), key)?)
            }
        };
        let time_unit = spec.time_unit.unwrap_or(Precision::Auto);
        let (nodes, places) = tree.in_preorder();
        let place = |branch: usize| places.get(branch).copied().unwrap_or_default();
        let moved = |named: Vec<(String, usize)>| {
            named.into_iter().map(|(name, branch)| (name, place(branch))).collect()
        };
        Ok(Self {
            nodes,
            time: time.map(place),
            time_unit,
            metric: match metric {
                Metric::Node(branch) => Metric::Node(place(branch)),
                Metric::Constant(name) => Metric::Constant(name),
            },
            values: moved(values),
            labels: match labels {
                Labels::None => Labels::None,
                Labels::Object(branch) => Labels::Object(place(branch)),
                Labels::Nodes(named) => Labels::Nodes(moved(named)),
            },
        })
    }

    /// How many nodes there are.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Those from `node` up to this one are within it, itself included.
    #[inline]
    pub(crate) fn end_of(&self, node: usize) -> usize {
        self.nodes.get(node).map_or(node, |node| node.end)
    }

    /// The node within `node` that a member's name leads to.
    #[inline]
    pub(super) fn child(&self, node: usize, member: Text, bytes: &[u8]) -> Option<usize> {
        self.child_where(node, |name| is_named(member, bytes, name))
    }

    /// The node within `node` that this name leads to.
    #[inline]
    pub(crate) fn child_named(&self, node: usize, name: &[u8]) -> Option<usize> {
        self.child_where(node, |known| known == name)
    }

    /// The nodes right within `node`, with their names.
    pub(crate) fn children(&self, node: usize) -> impl Iterator<Item = (usize, &str)> {
        let end = self.end_of(node);
        let first = Some(node + 1).filter(|first| *first < end);
        let next = move |child: &usize| Some(self.end_of(*child)).filter(|next| *next < end);
        let children = std::iter::successors(first, next);
        children.filter_map(|child| Some((child, self.nodes.get(child)?.name.as_str())))
    }

    #[inline]
    fn child_where(&self, node: usize, is_it: impl Fn(&[u8]) -> bool) -> Option<usize> {
        let end = self.end_of(node);
        let mut child = node + 1;
        while child < end {
            let there = self.nodes.get(child)?;
            if is_it(there.name.as_bytes()) {
                return Some(child);
            }
            child = there.end;
        }
        None
    }

    /// The path of a node as people wrote it; empty where nothing is there.
    pub(crate) fn path(&self, node: usize) -> &str {
        self.nodes.get(node).map_or("", |node| &node.path)
    }
}

fn checked_name(key: &'static str, name: &str) -> Result<String, MapError> {
    let is_fine = (1..=NAME_BYTES_MAX).contains(&name.len());
    is_fine.then(|| name.to_owned()).ok_or_else(|| MapError::Name { key, name: name.to_owned() })
}

/// Nodes in the order in which they came, the first of which is the object itself.
#[derive(Debug)]
struct Tree {
    branches: Vec<Branch>,
}

#[derive(Debug, Default)]
struct Branch {
    name: String,
    path: String,
    within: Vec<usize>,
}

impl Default for Tree {
    fn default() -> Self {
        Self { branches: vec![Branch::default()] }
    }
}

impl Tree {
    /// The branch at the end of a path.
    fn leaf(&mut self, key: &'static str, path: &str) -> Result<usize, MapError> {
        let names = names_of(path).map_err(|source| MapError::Path {
            key,
            path: path.to_owned(),
            source,
        })?;
        let mut at = 0;
        for name in names {
            let found = self.branch(at).within.iter().copied();
            let found = found.into_iter().find(|child| self.branch(*child).name == name);
            at = found.unwrap_or_else(|| {
                let child = self.branches.len();
                self.branches.push(Branch { name, ..Branch::default() });
                self.branch_mut(at).within.push(child);
                child
            });
        }
        path.clone_into(&mut self.branch_mut(at).path);
        Ok(at)
    }

    /// Those at the ends of named paths.
    fn named(
        &mut self,
        key: &'static str,
        (named, max): (&[(String, String)], usize),
        name: impl Fn(&str) -> Result<String, MapError>,
    ) -> Result<Vec<(String, usize)>, MapError> {
        if named.is_empty() || named.len() > max {
            return Err(MapError::Count { key, found: named.len(), max });
        }
        named.iter().map(|(text, path)| Ok((name(text)?, self.leaf(key, path)?))).collect()
    }

    fn branch(&self, at: usize) -> &Branch {
        self.branches.get(at).expect("branches refer to branches that are there")
    }

    fn branch_mut(&mut self, at: usize) -> &mut Branch {
        self.branches.get_mut(at).expect("branches refer to branches that are there")
    }

    /// The nodes, and the place of each branch among them.
    fn in_preorder(&self) -> (Vec<Node>, Vec<usize>) {
        let (mut nodes, mut places) = (Vec::new(), vec![0; self.branches.len()]);
        self.append(0, &mut nodes, &mut places);
        (nodes, places)
    }

    fn append(&self, at: usize, nodes: &mut Vec<Node>, places: &mut [usize]) {
        let (branch, place) = (self.branch(at), nodes.len());
        nodes.push(Node { name: branch.name.clone(), end: 0, path: branch.path.clone() });
        for child in &branch.within {
            self.append(*child, nodes, places);
        }
        let end = nodes.len();
        if let (Some(node), Some(slot)) = (nodes.get_mut(place), places.get_mut(at)) {
            node.end = end;
            *slot = place;
        }
    }
}
