//! The result: for people as a table, for programs as JSON.

use std::fmt;

use serde::Serialize;

use crate::{
    machine::Machine,
    setting::Setting,
    statistics::{self, Estimate},
    traffic::Quantity,
    verdict::{self, Target, Verdict},
};

/// One round's measurements of one quantity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Round {
    /// With the mesh.
    pub mesh: f64,
    /// Without.
    pub plain: f64,
    /// Without, a second time.
    pub plain_again: f64,
}

/// What came of one quantity.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Which.
    pub quantity: Quantity,
    /// Median with the mesh.
    pub mesh: f64,
    /// Median without.
    pub plain: f64,
    /// No mesh against itself.
    pub plain_ratio: Estimate,
    /// Mesh against no mesh.
    pub mesh_ratio: Estimate,
    /// What was to be shown.
    pub target: Target,
    /// Whether it is.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What all that rests on.
    pub rounds: Vec<Round>,
}

impl Row {
    /// Evaluates the rounds of a quantity; `None` without any or when a measurement is no positive number.
    #[must_use]
    pub fn new(setting: Setting, quantity: Quantity, rounds: Vec<Round>, seed: u64) -> Option<Self> {
        let pairs =
            |of: fn(&Round) -> f64| rounds.iter().map(|round| (of(round), round.plain)).collect::<Vec<_>>();
        let mesh_ratio = statistics::paired_ratio(&pairs(|round| round.mesh), seed)?;
        let plain_ratio = statistics::paired_ratio(&pairs(|round| round.plain_again), seed)?;
        let middle = |of: fn(&Round) -> f64| statistics::median(&rounds.iter().map(of).collect::<Vec<_>>());
        let target = setting.target(quantity);
        Some(Self {
            quantity,
            mesh: middle(|round| round.mesh)?,
            plain: middle(|round| round.plain)?,
            plain_ratio,
            mesh_ratio,
            target,
            verdict: verdict::judge(target, &mesh_ratio, &plain_ratio),
            rounds,
        })
    }
}

/// The whole result.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Where and with what.
    pub machine: Machine,
    /// Where the pods are, and how they are joined to their node.
    pub layout: String,
    /// Connections that the mesh counted: proof that it was in the path.
    pub connections_seen: u64,
    /// One for each quantity.
    pub rows: Vec<Row>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine)?;
        writeln!(f, "{}; with and without the mesh up at once, measured in turn", self.layout)?;
        writeln!(f, "the mesh counted {} connections of its arm", self.connections_seen)?;
        let pairs = self.rows.first().map_or(0, |row| row.mesh_ratio.pairs);
        writeln!(
            f,
            "{pairs} pairs; ratios: paired median [95 % bootstrap interval] (least to greatest pair)\n"
        )?;
        writeln!(f, "no mesh against itself (what this machine can tell apart):")?;
        for row in &self.rows {
            writeln!(f, "  {:<26} {}", row.quantity.title(), Ratio(row.plain_ratio))?;
        }
        writeln!(f, "\nmesh against no mesh:")?;
        for row in &self.rows {
            let value = |value| row.quantity.shown(value);
            let ratio = Ratio(row.mesh_ratio);
            writeln!(
                f,
                "  {:<26} {ratio}   medians {} and {}",
                row.quantity.title(),
                value(row.mesh),
                value(row.plain)
            )?;
        }
        writeln!(f)?;
        for row in &self.rows {
            let target = match row.target {
                Target::Above(bound) => format!("ratio > {bound}"),
                Target::Below(bound) => format!("ratio < {bound}"),
                Target::None => continue,
            };
            let (word, why) = match &row.verdict {
                Verdict::Shown(why) => ("shown", why.as_str()),
                Verdict::NotShown(why) => ("not shown", why.as_str()),
                Verdict::Information => continue,
            };
            writeln!(f, "{:<26} {target}: {word}: {why}", row.quantity.title())?;
        }
        Ok(())
    }
}

struct Ratio(Estimate);

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Estimate { median, low, high, least, greatest, .. } = self.0;
        write!(f, "{median:.3} [{low:.3}, {high:.3}] ({least:.3} to {greatest:.3})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(mesh: f64) -> Report {
        let rounds: Vec<Round> =
            (0..15).map(|_| Round { mesh: mesh * 1e10, plain: 1e10, plain_again: 1e10 }).collect();
        Report {
            machine: Machine::here(),
            layout: "two pods of one node, routed".to_owned(),
            connections_seen: 1,
            rows: vec![Row::new(Setting::SameNode, Quantity::Throughput, rounds, 1).unwrap()],
        }
    }

    #[test]
    fn the_table_says_what_is_shown() {
        let text = report(0.99).to_string();
        assert!(
            text.contains("throughput, Gb/s           ratio > 0.97: shown: all of 0.990 to 0.990"),
            "{text}"
        );
        assert!(text.contains("medians 9.90 and 10.00"), "{text}");
        let text = report(0.5).to_string();
        assert!(text.contains("not shown: the median 0.500 is not above 0.97"), "{text}");
    }

    #[test]
    fn the_json_has_every_measurement() {
        let json = serde_json::to_value(report(0.99)).unwrap();
        assert_eq!(json["rows"][0]["rounds"].as_array().map(Vec::len), Some(15));
        assert_eq!(json["rows"][0]["verdict"], "shown");
    }

    #[test]
    fn a_failed_measurement_gives_no_row() {
        let rounds = vec![Round { mesh: f64::NAN, plain: 1.0, plain_again: 1.0 }];
        assert!(Row::new(Setting::SameNode, Quantity::Latency, rounds, 1).is_none());
    }
}
