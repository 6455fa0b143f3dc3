//! What a test program says of its tests.

/// Names of the tests that failed, by the list that the test harness prints last; `None` where there is no such list, or not
/// of as many as the harness counts.
pub(super) fn failures(printed: &str) -> Option<Vec<&str>> {
    let (_, list) = printed.rsplit_once("\nfailures:\n")?;
    let names: Vec<&str> = list.lines().map_while(|line| line.strip_prefix("    ")).collect();
    let (_, result) = list.rsplit_once("test result: FAILED. ")?;
    (counted(result, "failed")? == names.len()).then_some(names)
}

/// Whether exactly one test was run, and passed.
pub(super) fn one_passed(printed: &str) -> bool {
    let result = printed.rsplit_once("test result: ok. ").map(|(_, result)| result);
    result.and_then(|result| counted(result, "passed")) == Some(1)
}

/// How many tests the harness said that it would run.
pub(super) fn begun(printed: &str) -> usize {
    let lines = printed.lines().filter_map(|line| line.strip_prefix("running "));
    lines.filter_map(|line| line.split_whitespace().next()?.parse::<usize>().ok()).next().unwrap_or(0)
}

/// The number before a word of `1 passed; 2 failed; ...`.
fn counted(result: &str, what: &str) -> Option<usize> {
    let parts = result.lines().next()?.split("; ");
    parts.filter_map(|part| part.split_once(' ')).find(|(_, word)| *word == what)?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{begun, failures, one_passed};

    const FAILED: &str = "running 3 tests\ntest a::b ... FAILED\ntest c ... FAILED\n\nfailures:\n\n---- a::b stdout ----\n    x\n\n\
        failures:\n    a::b\n    c\n\ntest result: FAILED. 1 passed; 2 failed; 0 ignored\n";

    #[test]
    fn the_last_list_names_them() {
        assert_eq!(failures(FAILED).unwrap(), ["a::b", "c"]);
        assert_eq!(begun(FAILED), 3);
    }

    #[test]
    fn a_list_that_something_else_was_written_into_is_none() {
        assert_eq!(failures(&FAILED.replace("    c\n", "noise\n    c\n")), None);
    }

    #[test]
    fn a_program_that_died_names_none() {
        assert_eq!(failures("running 3 tests\ntest a::b ... "), None);
        assert_eq!(failures("test a ... a test's own text:\nfailures:\n    a::b\n"), None);
        assert_eq!(failures("test result: ok. 3 passed; 0 failed\n"), None);
    }

    #[test]
    fn a_name_that_no_test_has_any_more_has_not_passed() {
        assert!(one_passed(
            "running 1 test\ntest a ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored\n"
        ));
        assert!(!one_passed("running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored\n"));
    }
}
