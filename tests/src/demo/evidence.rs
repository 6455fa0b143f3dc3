//! What a claim rests on, as it is printed: what was done, what was seen, and whether that is as claimed.

use std::{
    fmt::Display,
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use super::Error;

/// Whether a claim holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Everything was as claimed.
    Holds,
    /// Something was not.
    Fails,
}

/// Takes what a claim rests on and prints it at once.
#[derive(Debug)]
pub(super) struct Evidence {
    verdict: Verdict,
    checks: u32,
    color: bool,
}

impl Evidence {
    /// What is done now.
    pub(super) fn did(&mut self, what: impl Display) {
        self.print("•", "36", what);
    }

    /// What was seen, where nothing follows from it alone.
    pub(super) fn saw(&mut self, what: impl Display) {
        self.print(" ", "2", what);
    }

    /// What was seen, and whether it is as claimed. The claim fails if not.
    pub(super) fn check(&mut self, as_claimed: bool, what: impl Display) {
        self.checks += 1;
        if as_claimed {
            self.print("✔", "32", what);
        } else {
            self.verdict = Verdict::Fails;
            self.print("✘", "31", what);
        }
    }

    fn print(&self, mark: &str, color: &str, what: impl Display) {
        println!("     {} {what}", painted(self.color, color, mark));
    }
}

/// Prints claims one after another and counts how they went.
#[derive(Debug)]
pub(super) struct Printer {
    color: bool,
    passed: u32,
    failed: u32,
}

impl Default for Printer {
    fn default() -> Self {
        Self { color: std::io::stdout().is_terminal(), passed: 0, failed: 0 }
    }
}

impl Printer {
    /// What comes before all claims.
    pub(super) fn heading(&self, text: &str) {
        println!("{text}");
    }

    /// Prints a claim and what `show` finds. A claim that cannot be tried, or checks nothing, does not hold.
    pub(super) fn claim(
        &mut self,
        title: &str,
        show: impl FnOnce(&mut Evidence) -> Result<(), Error>,
    ) -> Verdict {
        let number = self.passed + self.failed + 1;
        println!(
            "\n{} {}",
            painted(self.color, "1", &format!("{number:>3}.")),
            painted(self.color, "1", title)
        );
        let mut evidence = Evidence { verdict: Verdict::Holds, checks: 0, color: self.color };
        let start = Instant::now();
        if let Err(error) = show(&mut evidence) {
            evidence.check(false, error);
        }
        if evidence.checks == 0 {
            evidence.check(false, "nothing was checked");
        }
        let seconds = start.elapsed().as_secs_f64();
        match evidence.verdict {
            Verdict::Holds => {
                self.passed += 1;
                println!("   {} claim {number} holds ({seconds:.1} s)", painted(self.color, "1;32", "✔"));
            }
            Verdict::Fails => {
                self.failed += 1;
                println!(
                    "   {} claim {number} does NOT hold ({seconds:.1} s)",
                    painted(self.color, "1;31", "✘")
                );
            }
        }
        // What was shown must be on screen while the next claim takes its time.
        let _ = std::io::stdout().flush();
        evidence.verdict
    }

    /// More about what just failed.
    pub(super) fn note(&self, text: &str) {
        println!("     {text}");
    }

    /// The last line; says whether every claim holds.
    pub(super) fn summary(&self, took: Duration) -> bool {
        let Self { passed, failed, .. } = self;
        println!("\n{passed} passed, {failed} failed in {:.1} s", took.as_secs_f64());
        *failed == 0 && *passed > 0
    }
}

fn painted(color: bool, code: &str, text: &str) -> String {
    if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_fails_by_a_check_an_error_or_for_want_of_checks() {
        let mut printer = Printer { color: false, passed: 0, failed: 0 };
        let broken = || Error::Unexpected { program: "x".to_owned(), said: String::new() };
        assert_eq!(
            printer.claim("good", |evidence| {
                evidence.check(true, "yes");
                Ok(())
            }),
            Verdict::Holds
        );
        assert_eq!(
            printer.claim("wrong", |evidence| {
                evidence.check(false, "no");
                Ok(())
            }),
            Verdict::Fails
        );
        assert_eq!(printer.claim("broken", |_| Err(broken())), Verdict::Fails);
        assert_eq!(printer.claim("empty", |_| Ok(())), Verdict::Fails);
        assert!(!printer.summary(Duration::ZERO));
        assert_eq!((printer.passed, printer.failed), (1, 3));
    }
}
