//! `RequestMirror` (`HTTPRequestMirrorFilter` of Gateway API).

use crate::pick::spread;
use crate::table::route::Destination;

/// Sends copies of requests somewhere else; their responses are dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Where copies go: one endpoint of it each.
    pub destination: Destination,
    /// Which share of requests is copied.
    pub fraction: Fraction,
}

/// A share of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fraction {
    numerator: u32,
    denominator: u32,
}

/// Why a fraction is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{numerator}/{denominator} is no fraction: the denominator is at least 1 and the numerator at most that"
)]
pub struct FractionError {
    numerator: u32,
    denominator: u32,
}

impl std::fmt::Display for Fraction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.numerator, self.denominator)
    }
}

impl Fraction {
    /// Every request: what Gateway API takes where neither `percent` nor `fraction` is written.
    pub const ALL: Self = Self { numerator: 1, denominator: 1 };

    /// `numerator` of every `denominator` requests; `percent` has a denominator of 100.
    ///
    /// # Errors
    /// When the denominator is 0, or the numerator greater than it.
    pub const fn new(numerator: u32, denominator: u32) -> Result<Self, FractionError> {
        if denominator == 0 || numerator > denominator {
            return Err(FractionError { numerator, denominator });
        }
        Ok(Self { numerator, denominator })
    }

    /// Whether a request is of the share.
    #[must_use]
    pub const fn takes(self, random: u64) -> bool {
        spread(random, self.denominator as u64) < self.numerator as u64
    }
}
