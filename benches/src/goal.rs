//! Whether what was measured is what was wanted.

use std::fmt;

/// A figure beside its bound; the figure is always one that was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goal {
    /// What was measured.
    pub measured: f64,
    /// What it is to be at most.
    pub at_most: f64,
    /// The unit of both, with a blank before it if it has one.
    pub unit: &'static str,
}

impl Goal {
    /// Whether it is reached.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.measured <= self.at_most
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { measured, at_most, unit } = self;
        let word = if self.is_reached() { "reached" } else { "NOT reached" };
        write!(f, "{measured:.2}{unit}; goal at most {at_most}{unit}: {word}")
    }
}

#[cfg(test)]
mod tests {
    use super::Goal;

    #[test]
    fn a_goal_is_reached_at_its_bound_and_never_by_what_is_no_number() {
        let goal = |measured| Goal { measured, at_most: 2.0, unit: " MB" };
        assert_eq!(goal(2.0).to_string(), "2.00 MB; goal at most 2 MB: reached");
        assert_eq!(goal(2.01).to_string(), "2.01 MB; goal at most 2 MB: NOT reached");
        assert!(!goal(f64::NAN).is_reached());
    }
}
