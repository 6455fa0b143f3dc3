//! Octets by which it can be told that nothing of a long body was lost, changed or came twice.

use bytes::Bytes;

/// Length of the pattern: no power of two, so that pieces that changed places do not fit.
const PERIOD: usize = 65_521;

/// The largest piece that is sent at once.
pub(super) const PIECE: usize = 16 << 10;

/// Makes and checks the pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    /// The pattern twice, so that every piece lies in it whole.
    twice: Bytes,
    at: u64,
    intact: bool,
}

impl Pattern {
    /// At its beginning.
    pub(super) fn new() -> Self {
        let once = |index: usize| (index.wrapping_mul(31) >> 3) as u8;
        let twice = (0..PERIOD + PIECE).map(|index| once(index % PERIOD)).collect();
        Self { twice, at: 0, intact: true }
    }

    /// The next piece of a body of this length.
    pub(super) fn next(&mut self, length: u64) -> Option<Bytes> {
        let wanted = length.saturating_sub(self.at).min(PIECE as u64) as usize;
        if wanted == 0 {
            return None;
        }
        let start = (self.at % PERIOD as u64) as usize;
        self.at += wanted as u64;
        Some(self.twice.slice(start..start + wanted))
    }

    /// Compares what came next.
    pub(super) fn check(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let start = (self.at % PERIOD as u64) as usize;
            let (now, rest) = octets.split_at(octets.len().min(PIECE));
            self.intact &= self.twice[start..start + now.len()] == *now;
            self.at += now.len() as u64;
            octets = rest;
        }
    }

    /// How much there was.
    pub(super) fn length(&self) -> u64 {
        self.at
    }

    /// Whether all of it was the pattern.
    pub(super) fn is_intact(&self) -> bool {
        self.intact
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_known_again_however_it_is_cut_and_a_changed_one_is_not() {
        let mut made = Pattern::new();
        let mut all = Vec::new();
        while let Some(piece) = made.next(200_000) {
            all.extend_from_slice(&piece);
        }
        assert_eq!(all.len(), 200_000);
        let check = |all: &[u8]| {
            let mut seen = Pattern::new();
            all.chunks(7_001).for_each(|chunk| seen.check(chunk));
            (seen.length(), seen.is_intact())
        };
        assert_eq!(check(&all), (200_000, true));
        all[150_000] ^= 1;
        assert_eq!(check(&all), (200_000, false));
    }
}
