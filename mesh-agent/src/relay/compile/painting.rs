//! Which rule decides first, for every port of one key.
//!
//! The ports are cut at the bounds of all ranges; then rules are laid on the pieces in the order
//! of evaluation, each only where its stage is still bare. A union-find over the pieces skips the
//! ones already painted, so the work is near-linear in rules plus pieces.

use std::collections::{BTreeSet, HashMap};

use mesh_ebpf::policy::{Hit, Ruling, Stages};

use super::ports::prefixes;

/// A rule as it applies to one key and protocol.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    /// What it says there.
    pub hit: Hit,
    /// It belongs to the Admin stage.
    pub admin: bool,
    /// It is in force.
    pub enforced: bool,
    /// It counts when Audit policies are taken as in force.
    pub audited: bool,
    /// The ports it is about, first and last; `None` = all.
    pub ports: Option<Vec<(u16, u16)>>,
}

/// The trie entries, as (port, prefix bits, ruling), that together say the first hit of every
/// stage for every port. `layers` come in order of rank.
pub(super) fn paint(layers: &[Layer]) -> Vec<(u16, u32, Ruling)> {
    let pieces = cut(layers);
    let mut stages = [(); 4].map(|()| Stage::bare(pieces.len()));
    for layer in layers {
        let takes = [
            layer.enforced && layer.admin,
            layer.enforced && !layer.admin,
            layer.audited && layer.admin,
            layer.audited && !layer.admin,
        ];
        for (stage, _) in stages.iter_mut().zip(takes).filter(|(_, takes)| *takes) {
            match &layer.ports {
                None => stage.lay(0..pieces.len(), layer.hit),
                Some(ranges) => {
                    for &(first, last) in ranges {
                        let from = pieces.partition_point(|&start| start < u32::from(first));
                        let to = pieces.partition_point(|&start| start <= u32::from(last));
                        stage.lay(from..to, layer.hit);
                    }
                }
            }
        }
    }
    let mut runs: Vec<(u16, u16, Ruling)> = Vec::new();
    for (piece, &start) in pieces.iter().enumerate() {
        let [enforced_admin, enforced_rest, audited_admin, audited_rest] =
            [0, 1, 2, 3].map(|stage: usize| stages[stage].hits[piece]);
        let ruling = Ruling {
            enforced: Stages { admin: enforced_admin, rest: enforced_rest },
            audited: Stages { admin: audited_admin, rest: audited_rest },
        };
        let end = pieces.get(piece + 1).copied().unwrap_or(0x1_0000);
        let (Ok(first), Ok(last)) = (u16::try_from(start), u16::try_from(end - 1)) else { continue };
        match runs.last_mut() {
            Some(run) if run.2 == ruling => run.1 = last,
            _ => runs.push((first, last, ruling)),
        }
    }
    compress(&runs)
}

/// The starts of the pieces between the bounds of all ranges, ascending from 0.
fn cut(layers: &[Layer]) -> Vec<u32> {
    let mut starts = BTreeSet::from([0]);
    for (first, last) in layers.iter().filter_map(|layer| layer.ports.as_ref()).flatten() {
        starts.insert(u32::from(*first));
        starts.insert(u32::from(*last) + 1);
    }
    starts.remove(&0x1_0000);
    starts.into_iter().collect()
}

/// One stage: what is painted on each piece, and where the next bare piece is.
struct Stage {
    hits: Vec<Hit>,
    next: Vec<usize>,
}

impl Stage {
    fn bare(pieces: usize) -> Self {
        Self { hits: vec![Hit::NONE; pieces], next: (0..=pieces).collect() }
    }

    fn lay(&mut self, pieces: std::ops::Range<usize>, hit: Hit) {
        let mut piece = self.bare_from(pieces.start);
        while piece < pieces.end {
            self.hits[piece] = hit;
            self.next[piece] = piece + 1;
            piece = self.bare_from(piece + 1);
        }
    }

    fn bare_from(&mut self, mut piece: usize) -> usize {
        while self.next[piece] != piece {
            self.next[piece] = self.next[self.next[piece]];
            piece = self.next[piece];
        }
        piece
    }
}

/// Prefixes for runs: the ruling that would need most of them becomes one prefix of length 0,
/// which the longer ones of the others override.
fn compress(runs: &[(u16, u16, Ruling)]) -> Vec<(u16, u32, Ruling)> {
    let mut cost: HashMap<[u32; 4], (usize, Ruling)> = HashMap::new();
    for (first, last, ruling) in runs {
        cost.entry(ranks(ruling)).or_insert((0, *ruling)).0 += prefixes(*first, *last).count();
    }
    // Ties are broken by ranks, so that equal policies compile to equal sets.
    let Some((background, ruling)) = cost
        .into_iter()
        .max_by_key(|(ranks, (count, _))| (*count, std::cmp::Reverse(*ranks)))
        .map(|(ranks, (_, ruling))| (ranks, ruling))
    else {
        return Vec::new();
    };
    let nothing = ranks(&NOTHING);
    let mut entries = Vec::new();
    if background != nothing {
        entries.push((0, 0, ruling));
    }
    for (first, last, ruling) in runs.iter().filter(|run| ranks(&run.2) != background) {
        entries.extend(prefixes(*first, *last).map(|(port, bits)| (port, bits, *ruling)));
    }
    entries
}

const NOTHING: Ruling = Ruling { enforced: Stages::NONE, audited: Stages::NONE };

/// What tells rulings of one set apart: the rank names the rule.
fn ranks(ruling: &Ruling) -> [u32; 4] {
    [
        ruling.enforced.admin.rank,
        ruling.enforced.rest.rank,
        ruling.audited.admin.rank,
        ruling.audited.rest.rank,
    ]
}
