//! Which backend a request goes to, and which of its endpoints.
//!
//! Backends are drawn by weight. Endpoints are drawn twice by weight, and the one with fewer requests
//! for its weight wins: the power of two choices (M. Mitzenmacher, "The Power of Two Choices in
//! Randomized Load Balancing", 2001), which comes close to the least loaded of all without looking
//! at all, and does not send every request to the same one between two updates. Round robin is for
//! those who ask for it.

#[cfg(test)]
mod tests;

/// Things with weights. A weight of 0 is never picked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Weighted {
    /// For each, the sum of its weight and those before it.
    ends: Vec<u64>,
}

impl Weighted {
    /// Of weights.
    #[must_use]
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let sums = weights.into_iter().scan(0, |sum, weight| {
            *sum += u64::from(weight);
            Some(*sum)
        });
        Self { ends: sums.collect() }
    }

    /// The same, but that no others than these are picked.
    #[must_use]
    pub fn only(&self, kept: &[usize]) -> Self {
        let mut sum = 0;
        let ends = (0..self.len()).map(|index| {
            sum += if kept.contains(&index) { self.weight(index) } else { 0 };
            sum
        });
        Self { ends: ends.collect() }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The weight of one.
    fn weight(&self, index: usize) -> u64 {
        self.ends[index] - self.start(index)
    }

    fn start(&self, index: usize) -> u64 {
        index.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    /// Draws one with a probability in proportion to its weight, never one of `except`. `None` when
    /// no weight is left.
    #[must_use]
    pub fn pick(&self, random: u64, except: &[usize]) -> Option<usize> {
        let mut except: Vec<usize> = except.iter().copied().filter(|&index| index < self.len()).collect();
        except.sort_unstable();
        except.dedup();
        let excluded: u64 = except.iter().map(|&index| self.weight(index)).sum();
        let total = self.ends.last()? - excluded;
        if total == 0 {
            return None;
        }
        // A place on the line of all weights from which the excluded stretches are cut out.
        let mut place = spread(random, total);
        for &index in &except {
            if place >= self.start(index) {
                place += self.weight(index);
            }
        }
        Some(self.ends.partition_point(|&end| end <= place))
    }

    /// Draws two by weight and takes the one with fewer requests for its weight. `requests` says how
    /// many are under way at one; `except` are endpoints that this request has failed at, taken only
    /// when there is no other.
    #[must_use]
    pub fn least_requests(
        &self,
        random: [u64; 2],
        requests: impl Fn(usize) -> u32,
        except: &[usize],
    ) -> Option<usize> {
        let Some(first) = self.pick(random[0], except) else {
            return if except.is_empty() { None } else { self.least_requests(random, requests, &[]) };
        };
        let beside: Vec<usize> = except.iter().copied().chain([first]).collect();
        let Some(second) = self.pick(random[1], &beside) else { return Some(first) };
        // requests / weight, compared without a division; the one that goes there counted in, so
        // that of two idle ones the heavier is taken.
        let load = |index: usize, other: usize| {
            u128::from(u64::from(requests(index)) + 1) * u128::from(self.weight(other))
        };
        Some(if load(second, first) < load(first, second) { second } else { first })
    }

    /// The one whose turn it is: among as many turns in a row as the weights sum to, each has as many
    /// as its weight, spread out. `turn` counts up by one a request. `except` as above.
    #[must_use]
    pub fn round_robin(&self, turn: u64, except: &[usize]) -> Option<usize> {
        let total = *self.ends.last()?;
        if total == 0 {
            return None;
        }
        let place = u128::from(turn % total) * u128::from(stride(total)) % u128::from(total);
        let own = self.ends.partition_point(|&end| u128::from(end) <= place);
        if except.contains(&own) {
            // Any that is left: 2^64 over the golden section spreads the turns over all of them.
            return self.pick(turn.wrapping_mul(0x9e37_79b9_7f4a_7c15), except).or(Some(own));
        }
        Some(own)
    }
}

/// How far apart consecutive turns lie on the line of weights: about the golden section of it, which
/// spreads them evenly, and prime to it, so that every place has its turn (D. Knuth, TAOCP 6.4,
/// Fibonacci hashing).
fn stride(total: u64) -> u64 {
    let start = u64::try_from(u128::from(total) * 618_033_989 / 1_000_000_000).unwrap_or(total).max(1);
    (start..=total).find(|&step| greatest_common_divisor(step, total) == 1).unwrap_or(1)
}

const fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Where a random number lands among `count`: uniform up to a bias of `count / 2^64` (D. Lemire,
/// "Fast random integer generation in an interval", 2019).
#[must_use]
pub(crate) const fn spread(random: u64, count: u64) -> u64 {
    ((random as u128 * count as u128) >> 64) as u64
}
