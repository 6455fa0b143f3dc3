//! One scrape of a node's metrics, in OpenMetrics text.

/// A scrape.
#[derive(Debug, Clone)]
pub(super) struct Scrape(pub(super) String);

impl Scrape {
    /// The samples of a metric that have all these words in their labels, as they stand in the scrape.
    pub(super) fn lines(&self, metric: &str, labels: &[&str]) -> Vec<&str> {
        let is_sample =
            |line: &&str| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' ']));
        self.0
            .lines()
            .filter(is_sample)
            .filter(|line| labels.iter().all(|label| line.contains(label)))
            .collect()
    }

    /// The sum of those samples.
    pub(super) fn sum(&self, metric: &str, labels: &[&str]) -> f64 {
        let value = |line: &str| line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok());
        self.lines(metric, labels).into_iter().filter_map(value).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_name_and_labels() {
        let scrape = Scrape(
            "# HELP mesh_denied ...\nmesh_denied_total{policy=\"a\",rule=\"r\"} 3\n\
             mesh_denied_total{policy=\"b\",rule=\"r\"} 4\nmesh_denied_total_other 9\nmesh_x_total 2\n"
                .to_owned(),
        );
        assert_eq!(scrape.sum("mesh_denied_total", &["rule=\"r\""]), 7.0);
        assert_eq!(scrape.lines("mesh_denied_total", &["policy=\"a\""]).len(), 1);
        assert_eq!(scrape.sum("mesh_x_total", &[]), 2.0);
        assert_eq!(scrape.sum("mesh_missing", &[]), 0.0);
    }
}
