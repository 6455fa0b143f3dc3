//! One run of the suite, and what became of its tests.

use std::{
    fmt,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use super::Error;

/// What is claimed: the profiles for meshes. The features come from the `XMesh`.
const PROFILES: &str = "MESH-HTTP,MESH-GRPC";

/// Who claims it, for the report: organisation, project, place, contact.
const CLAIMED_BY: [&str; 4] =
    ["--organization=mesh", "--project=mesh", "--url=mesh.internal", "--contact=mesh.internal"];

/// Enrols the namespaces that the suite makes.
const ENROLLED: &str = "--namespace-labels=mesh.internal/mode=enabled";

/// The suite ends itself after this long.
const LONGEST: &str = "-test.timeout=20m";

/// The test that all tests of the suite are part of.
const WHOLE: &str = "TestConformance/";

/// The suite and what it is told.
#[derive(Debug)]
pub(super) struct Suite<'a> {
    pub(super) program: &'a Path,
    pub(super) kubeconfig: PathBuf,
    /// The `XMesh` that the suite learns features from.
    pub(super) mesh: &'a str,
    /// The same features, where the suite does not look.
    pub(super) features: &'a str,
    pub(super) report: &'a Path,
    pub(super) test: Option<&'a str>,
}

/// What became of a run.
#[derive(Debug)]
pub(super) struct Outcome {
    succeeded: bool,
    took: Duration,
    passed: Vec<String>,
    failed: Vec<String>,
}

impl Suite<'_> {
    /// Runs it; what it says is written to the log.
    pub(super) fn run(&self, log: &Path) -> Result<Outcome, Error> {
        let start = Instant::now();
        let file = File::create(log).map_err(Error::io("write", log))?;
        let errors = file.try_clone().map_err(Error::io("write", log))?;
        let mut suite = Command::new(self.program);
        suite.args(["-test.v", LONGEST, ENROLLED]).args(CLAIMED_BY);
        // An empty class: there are no gateways here, and no features of them to be found.
        suite.args(["--gateway-class=", "--version", env!("CARGO_PKG_VERSION")]);
        suite.arg(format!("--mesh-name={}", self.mesh)).arg(format!("--conformance-profiles={PROFILES}"));
        match self.test {
            // The suite learns no features then.
            Some(test) => {
                suite.arg(format!("--run-test={test}")).arg(format!("--supported-features={}", self.features))
            }
            None => suite.arg(format!("--report-output={}", self.report.display())),
        };
        suite.env("KUBECONFIG", &self.kubeconfig).stdout(file).stderr(errors);
        let status = suite.status().map_err(Error::io("run", self.program))?;
        let said = fs::read_to_string(log).map_err(Error::io("read", log))?;
        Ok(Outcome {
            succeeded: status.success(),
            took: start.elapsed(),
            passed: ended(&said, "PASS"),
            failed: ended(&said, "FAIL"),
        })
    }
}

impl Outcome {
    /// Whether the suite says so; nothing tested is nothing passed.
    pub(super) fn has_passed(&self) -> bool {
        self.succeeded && self.failed.is_empty() && !self.passed.is_empty()
    }

    /// What to say of a run that has not.
    pub(super) fn failure(&self, number: u32) -> Option<String> {
        let what = match self.failed.as_slice() {
            [] => "it ended without saying what failed".to_owned(),
            names => names.join(", "),
        };
        (!self.has_passed()).then(|| format!("run {number}: {what}"))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (passed, failed) = (self.passed.len(), self.failed.len());
        write!(f, "{passed} passed, {failed} failed in {} s", self.took.as_secs())?;
        self.failed.iter().try_for_each(|name| write!(f, "\n  failed: {name}"))
    }
}

/// The suite's tests that ended like this; a test's own cases are not counted.
fn ended(said: &str, how: &str) -> Vec<String> {
    let prefix = format!("--- {how}: {WHOLE}");
    let names = said.lines().filter_map(|line| line.trim_start().strip_prefix(&prefix)?.split(' ').next());
    names.filter(|name| !name.contains('/')).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Outcome, ended};

    const SAID: &str = "=== RUN   TestConformance\n--- FAIL: TestConformance (1.0s)\n    --- PASS: TestConformance/A (0.1s)\n        \
        --- PASS: TestConformance/A/case (0.1s)\n    --- FAIL: TestConformance/B (0.1s)\n    --- SKIP: TestConformance/C (0.0s)\n";

    #[test]
    fn tests_are_counted_and_their_cases_are_not() {
        assert_eq!((ended(SAID, "PASS"), ended(SAID, "FAIL")), (vec!["A".to_owned()], vec!["B".to_owned()]));
    }

    #[test]
    fn a_run_without_a_test_has_not_passed() {
        let none = Outcome { succeeded: true, took: Duration::ZERO, passed: Vec::new(), failed: Vec::new() };
        assert!(none.failure(2).is_some_and(|said| said.starts_with("run 2: ")));
    }
}
