//! What the intervals show. "Shown" is a statement about the whole interval, never about the median alone; and a
//! machine on which no mesh differs from itself by more than the margin can show nothing.

use serde::Serialize;

use crate::statistics::Estimate;

/// Fewest pairs that a statement may rest on.
pub const FEWEST_PAIRS: usize = 15;

/// What is to be shown of a ratio mesh / no mesh.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// It is above this.
    Above(f64),
    /// It is below this.
    Below(f64),
    /// Nothing: the ratio is information.
    None,
}

/// Whether a target is met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "verdict", content = "why")]
pub enum Verdict {
    /// The whole interval meets it.
    Shown(String),
    /// It does not, or cannot be told.
    NotShown(String),
    /// There is no target.
    Information,
}

/// Judges the estimate of mesh / no mesh beside that of no mesh / no mesh.
#[must_use]
pub fn judge(target: Target, mesh: &Estimate, plain: &Estimate) -> Verdict {
    let (bound, holds, median_holds, margin) = match target {
        Target::None => return Verdict::Information,
        Target::Above(bound) => {
            (format!("above {bound}"), mesh.low > bound, mesh.median > bound, 1.0 - bound)
        }
        Target::Below(bound) => {
            (format!("below {bound}"), mesh.high < bound, mesh.median < bound, bound - 1.0)
        }
    };
    if mesh.pairs < FEWEST_PAIRS {
        return Verdict::NotShown(format!("{} pairs are fewer than {FEWEST_PAIRS}", mesh.pairs));
    }
    let spread = (plain.high - 1.0).max(1.0 - plain.low);
    let interval = format!("{:.3} to {:.3}", mesh.low, mesh.high);
    if spread > margin {
        let percent = |value: f64| format!("{:.1} %", value * 100.0);
        return Verdict::NotShown(format!(
            "no mesh differs from itself by up to {}, more than the margin of {}: the machine is too noisy now",
            percent(spread),
            percent(margin)
        ));
    }
    if holds {
        Verdict::Shown(format!("all of {interval} is {bound}"))
    } else if median_holds {
        Verdict::NotShown(format!("the median is {bound}, but not all of {interval}; more --runs narrow it"))
    } else {
        Verdict::NotShown(format!("the median {:.3} is not {bound}", mesh.median))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(low: f64, median: f64, high: f64) -> Estimate {
        Estimate { median, low, high, least: low, greatest: high, pairs: 15 }
    }

    const QUIET: (f64, f64, f64) = (0.99, 1.0, 1.01);

    fn verdict(target: Target, mesh: (f64, f64, f64), plain: (f64, f64, f64)) -> Verdict {
        judge(target, &estimate(mesh.0, mesh.1, mesh.2), &estimate(plain.0, plain.1, plain.2))
    }

    #[test]
    fn the_whole_interval_must_meet_the_target() {
        let above = Target::Above(0.97);
        assert!(matches!(verdict(above, (0.98, 0.99, 1.0), QUIET), Verdict::Shown(_)));
        assert!(matches!(verdict(above, (0.96, 0.99, 1.0), QUIET), Verdict::NotShown(_)));
        let below = Target::Below(1.03);
        assert!(matches!(verdict(below, (1.0, 1.01, 1.02), QUIET), Verdict::Shown(_)));
        assert!(matches!(verdict(below, (1.0, 1.01, 1.03), QUIET), Verdict::NotShown(_)));
    }

    #[test]
    fn a_machine_that_differs_from_itself_shows_nothing() {
        let noisy = (0.90, 1.0, 1.1);
        let Verdict::NotShown(why) = verdict(Target::Above(0.97), (0.98, 0.99, 1.0), noisy) else { panic!() };
        assert!(why.contains("noisy"), "{why}");
    }

    #[test]
    fn few_pairs_show_nothing_and_no_target_is_information() {
        let few = Estimate { pairs: FEWEST_PAIRS - 1, ..estimate(1.0, 1.0, 1.0) };
        assert!(matches!(judge(Target::Above(0.97), &few, &few), Verdict::NotShown(_)));
        assert_eq!(verdict(Target::None, (0.5, 0.5, 0.5), QUIET), Verdict::Information);
    }
}
