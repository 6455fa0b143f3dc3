//! Test programs of the workspace, a few side by side: they wait far more than they compute.
//!
//! They act on a real kernel with real timings on a machine that others share. So a test that fails is run once more when
//! everything else has ended, in a process of its own. One that fails again fails the run; one that passes then is told of
//! by name at the end: a defect of the test or of the mesh that somebody has to find.

mod outcome;

use std::{
    fmt::Display,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{process, workspace};

/// Programs that take minutes: they begin first.
const LONG: [&str; 5] = ["tunnel", "identity", "survival", "hbone", "enrolment"];

/// A program whose tests take turns for the machine's one cluster by themselves, and else have an API server of their own
/// and mostly wait: two at a time. Every other program's tests share one scene and come one after another.
const TAKES_TURNS: &str = "cluster";

/// A test program.
#[derive(Debug)]
struct Suite {
    name: String,
    program: PathBuf,
    folder: PathBuf,
}

/// Which tests of a program are run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice<'a> {
    /// Only tests whose name contains this.
    pub(crate) filter: Option<&'a str>,
    /// Those that are shown as ignored, and no others.
    pub(crate) ignored: bool,
}

/// Builds the test programs that cargo knows by these arguments and runs them, as many at once as there are `lanes`; gives
/// the number of tests that were run.
pub(crate) fn run(selection: &[&str], choice: Choice, lanes: usize) -> Result<usize> {
    let suites = built(selection)?;
    let logs = workspace::root().join("target/test");
    fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
    let (mut failed, mut flaky) = (Vec::new(), Vec::new());
    let ran = side_by_side(&suites, choice, lanes)?;
    let tests = ran.iter().map(|(_, ran)| outcome::begun(&ran.printed)).sum();
    for (suite, ran) in ran.iter().filter(|(_, ran)| !ran.succeeded) {
        let names = outcome::failures(&ran.printed);
        if names.is_none() {
            failed.push(format!("{} (it did not say which tests; read its output)", suite.name));
        }
        for name in names.unwrap_or_default() {
            let shown = format!("{}: {name}", suite.name);
            let again = suite.run(choice, Some(name))?;
            let passed = again.succeeded && outcome::one_passed(&again.printed);
            if passed { &mut flaky } else { &mut failed }.push(shown);
        }
    }
    tell("failed once and passed when run again, which is a defect to be found", &flaky);
    tell("failed", &failed);
    if !failed.is_empty() {
        bail!("{} failed in {} test programs", failed.len(), suites.len());
    }
    Ok(tests)
}

/// Runs every program.
fn side_by_side<'s>(suites: &'s [Suite], choice: Choice, lanes: usize) -> Result<Vec<(&'s Suite, Ran)>> {
    let waiting = Mutex::new(suites.iter());
    let lane = || -> Result<Vec<(&'s Suite, Ran)>> {
        let mut ran = Vec::new();
        while let Some(suite) = { waiting.lock().unwrap_or_else(PoisonError::into_inner).next() } {
            ran.push((suite, suite.run(choice, None)?));
        }
        Ok(ran)
    };
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
        let mut ran = Vec::new();
        for lane in lanes {
            ran.extend(lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(ran)
    })
}

struct Ran {
    succeeded: bool,
    /// On its standard output, where the test harness says what became of the tests.
    printed: String,
}

impl Suite {
    /// Runs the tests of the choice, or the one of this name; prints what they print once they are done.
    fn run(&self, choice: Choice, only: Option<&str>) -> Result<Ran> {
        let name = match only {
            None => self.name.clone(),
            Some(test) => format!("{}.{}.again", self.name, test.replace("::", ".")),
        };
        let log = workspace::root().join("target/test").join(&name).with_extension("log");
        let errors = log.with_extension("stderr.log");
        println!("== {name} begins, in {}", log.display());
        let mut command = Command::new(&self.program);
        // Files, not pipes: a process that a test left behind would keep a pipe open for ever. And two, so that what it writes
        // does not stand in the middle of what the harness says.
        command.current_dir(&self.folder).stdout(created(&log)?).stderr(created(&errors)?);
        command.arg(if self.name == TAKES_TURNS { "--test-threads=2" } else { "--test-threads=1" });
        command.args(choice.ignored.then_some("--ignored"));
        match only {
            Some(test) => command.args(["--exact", test]),
            None => command.args(choice.filter),
        };
        let began = Instant::now();
        let status = command.status().with_context(|| format!("cannot run {}", self.program.display()))?;
        let (printed, complained) = (text(&log)?, text(&errors)?);
        println!("== {name}: {:.0} s, {status}\n{printed}{complained}", began.elapsed().as_secs_f64());
        Ok(Ran { succeeded: status.success(), printed })
    }
}

fn created(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("cannot write {}", path.display()))
}

fn text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Compiles, and finds the programs in what cargo says of it.
fn built(selection: &[&str]) -> Result<Vec<Suite>> {
    let mut cargo = process::cargo();
    cargo
        .args(["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"])
        .args(selection);
    let messages = process::said(&mut cargo)?;
    let mut suites: Vec<Suite> = messages.lines().filter_map(suite).collect();
    suites.sort_by_key(|suite| LONG.iter().position(|name| *name == suite.name).unwrap_or(LONG.len()));
    if suites.is_empty() {
        bail!("no test program in `cargo test {}`", selection.join(" "));
    }
    Ok(suites)
}

fn suite(message: &str) -> Option<Suite> {
    let message: Value = serde_json::from_str(message).ok()?;
    let program = PathBuf::from(message["executable"].as_str()?);
    let is_test = message["target"]["kind"].as_array()?.iter().any(|kind| kind == "test");
    let manifest = PathBuf::from(message["manifest_path"].as_str()?);
    let folder = manifest.parent()?.to_owned();
    is_test.then(|| Suite {
        name: message["target"]["name"].as_str().unwrap_or_default().to_owned(),
        program,
        folder,
    })
}

fn tell(what: impl Display, tests: &[String]) {
    if !tests.is_empty() {
        println!("== {what}:\n   {}", tests.join("\n   "));
    }
}
