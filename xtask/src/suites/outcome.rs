//! What a test program says of its tests.

/// Names of the tests that failed, by the list that the test harness prints last.
pub(super) fn failures(printed: &str) -> Vec<&str> {
    let Some((_, list)) = printed.rsplit_once("\nfailures:\n") else { return Vec::new() };
    list.lines().map_while(|line| line.strip_prefix("    ")).collect()
}

#[cfg(test)]
mod tests {
    use super::failures;

    #[test]
    fn the_last_list_names_them() {
        let printed = "running 3 tests\ntest a::b ... FAILED\ntest c ... FAILED\n\nfailures:\n\n---- a::b stdout ----\n    x\n\n\
            failures:\n    a::b\n    c\n\ntest result: FAILED. 1 passed; 2 failed\n";
        assert_eq!(failures(printed), ["a::b", "c"]);
    }

    #[test]
    fn a_program_that_died_names_none() {
        assert!(failures("running 3 tests\ntest a::b ... ").is_empty());
        assert!(failures("test result: ok. 3 passed; 0 failed\n").is_empty());
    }
}
