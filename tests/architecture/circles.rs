//! Circles of imports.

use crate::imports::Import;
use std::collections::{BTreeMap, BTreeSet};

type Graph<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Sets of more than one node each of which is reached from every other one.
pub(crate) fn circles<'a>(
    edges: impl Iterator<Item = (&'a str, &'a str)>,
) -> Vec<BTreeSet<&'a str>> {
    let mut graph = Graph::new();
    for (from, to) in edges.filter(|(from, to)| from != to) {
        graph.entry(from).or_default().insert(to);
    }
    let reached: Graph<'_> = graph.keys().map(|node| (*node, reached_from(&graph, node))).collect();
    let mut circles = BTreeSet::new();
    for (node, there) in &reached {
        let back = |other: &&str| reached.get(other).is_some_and(|there| there.contains(node));
        if there.contains(node) {
            circles.insert(there.iter().copied().filter(back).collect::<BTreeSet<_>>());
        }
    }
    circles.into_iter().collect()
}

fn reached_from<'a>(graph: &Graph<'a>, node: &str) -> BTreeSet<&'a str> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![node]);
    while let Some(node) = open.pop() {
        for next in graph.get(node).into_iter().flatten() {
            if reached.insert(*next) {
                open.push(next);
            }
        }
    }
    reached
}

/// An import as one between neighbours: files and folders that the same folder holds.
pub(crate) fn neighbours(import: &Import) -> (&str, &str) {
    let (from, to) = (import.from.as_str(), import.to.as_str());
    let names = from.split("::").zip(to.split("::"));
    let common: usize = names.take_while(|(a, b)| a == b).map(|(name, _)| name.len() + 2).sum();
    let end = |path: &str| path[common..].find("::").map_or(path.len(), |end| common + end);
    (&from[..end(from)], &to[..end(to)])
}
