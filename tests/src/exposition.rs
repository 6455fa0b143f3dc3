//! Metrics as a scraper reads them: the text of OpenMetrics 1.0 and of Prometheus 0.0.4, taken apart exactly. A line
//! that is neither a comment nor a sample is an error, so that a test also sees that a scraper could read the page.

mod line;

use std::collections::BTreeMap;

pub use line::Error;

/// One series and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The sample's name, `_total` and `_bucket` included.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// Whether each of these labels is there with this value.
    #[must_use]
    pub fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(name, value)| self.labels.get(*name).is_some_and(|own| own == value))
    }
}

/// One scrape.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scrape {
    samples: Vec<Sample>,
}

impl Scrape {
    /// Takes a page apart.
    ///
    /// # Errors
    /// If a line is not of the format, or a series comes twice.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut samples: Vec<Sample> = Vec::new();
        let mut known = std::collections::BTreeSet::new();
        for (number, text) in text.lines().enumerate() {
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let problem = |problem: String| Error { line: number + 1, text: text.to_owned(), problem };
            let sample = line::sample(text).map_err(problem)?;
            if !known.insert((sample.name.clone(), sample.labels.clone())) {
                return Err(problem("this series was there already".to_owned()));
            }
            samples.push(sample);
        }
        Ok(Self { samples })
    }

    /// Every sample with this name and these labels; others may be there too.
    pub fn select<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| sample.name == name && sample.has(labels))
    }

    /// Their sum; 0 if there is none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.select(name, labels).map(|sample| sample.value).sum()
    }

    /// The value of the only one, `None` if there is none or more than one.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.select(name, labels);
        let first = found.next()?;
        found.next().is_none().then_some(first.value)
    }

    /// Every sample, in the order of the page.
    #[must_use]
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }
}

#[cfg(test)]
mod tests {
    use super::Scrape;

    const PAGE: &str = "# HELP a_bytes Bytes.\n# TYPE a_bytes counter\n\
                        a_bytes_total{to=\"x\",from=\"say \\\"hi\\\"\\\\ \\n, {}\"} 12\n\
                        a_bytes_total{to=\"y\",from=\"z\",} 1.5e3 1700000000.5\n\
                        up 1\nsize_bucket{le=\"+Inf\"} +Inf # {trace=\"1\"} 3\n# EOF\n";

    #[test]
    fn samples_come_with_labels_unescaped_and_values() {
        let scrape = Scrape::parse(PAGE).unwrap();
        assert_eq!(scrape.samples().len(), 4);
        assert_eq!(scrape.value("a_bytes_total", &[("to", "x")]), Some(12.0));
        assert_eq!(scrape.samples()[0].labels["from"], "say \"hi\"\\ \n, {}");
        assert_eq!(scrape.value("a_bytes_total", &[]), None, "two of them");
        assert_eq!(scrape.sum("a_bytes_total", &[]), 1512.0);
        assert_eq!(scrape.value("up", &[]), Some(1.0));
        assert_eq!(scrape.value("size_bucket", &[("le", "+Inf")]), Some(f64::INFINITY));
        assert_eq!(scrape.sum("absent", &[]), 0.0);
    }

    #[test]
    fn what_a_scraper_could_not_read_is_an_error() {
        for page in
            ["a{b=c} 1", "a{b=\"c} 1", "a", "a one", "1a 1", "a{b=\"c\"", "a{b=\"c\" d=\"e\"} 1", "a 1\na 2"]
        {
            assert!(Scrape::parse(page).is_err(), "{page}");
        }
    }
}
