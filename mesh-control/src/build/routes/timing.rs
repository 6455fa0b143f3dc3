//! Timeouts and retries of a rule.

use mesh_api::resources::{RouteRetry, RouteTimeouts};

use super::{super::fields::Problem, written};

/// Retries beyond the first attempt, at most: more would only multiply an overload.
const ATTEMPTS: u32 = 100;

/// A duration as the Gateway API writes it (GEP-2257), in milliseconds: one to four numbers of at most five digits,
/// each with its unit.
fn milliseconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0_u64;
    for _ in 0..4 {
        let digits = rest.len() - rest.trim_start_matches(|byte: char| byte.is_ascii_digit()).len();
        if !(1..=5).contains(&digits) {
            return None;
        }
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit, length) = match rest.as_bytes() {
            [b'm', b's', ..] => (1, 2),
            [b's', ..] => (1000, 1),
            [b'm', ..] => (60_000, 1),
            [b'h', ..] => (3_600_000, 1),
            _ => return None,
        };
        total += number * unit;
        rest = &rest[length..];
        if rest.is_empty() {
            return Some(total);
        }
    }
    None
}

fn duration(text: Option<&String>, path: &str, problems: &mut Vec<Problem>) -> Option<u64> {
    let text = text?;
    let read = milliseconds(text);
    if read.is_none() {
        let what =
            format!("`{text}` is not a duration; write numbers with h, m, s or ms, such as 10s or 1m30s");
        problems.push(Problem::invalid(path, what));
    }
    read
}

/// Reads the timeouts of a rule.
pub(super) fn timeouts(
    written: &written::Timeouts,
    path: &str,
    problems: &mut Vec<Problem>,
) -> RouteTimeouts {
    let request = duration(written.request.as_ref(), &format!("{path}.request"), problems);
    let backend = duration(written.backend_request.as_ref(), &format!("{path}.backendRequest"), problems);
    if let (Some(request @ 1..), Some(backend)) = (request, backend)
        && backend > request
    {
        let what = "cannot be longer than the timeout of the whole request";
        problems.push(Problem::invalid(&format!("{path}.backendRequest"), what));
    }
    RouteTimeouts { request_milliseconds: request, backend_request_milliseconds: backend }
}

/// Reads the retries of a rule.
pub(super) fn retry(written: &written::Retry, path: &str, problems: &mut Vec<Problem>) -> RouteRetry {
    let codes = written.codes.as_deref().unwrap_or_default();
    for code in codes.iter().filter(|code| !(400..=599).contains(*code)) {
        problems.push(Problem::invalid(
            &format!("{path}.codes"),
            format!("{code} is not a status from 400 to 599"),
        ));
    }
    if let Some(attempts) = written.attempts.filter(|attempts| !(1..=ATTEMPTS).contains(attempts)) {
        let what = format!("must be 1 to {ATTEMPTS}, not {attempts}; leave retry out for none");
        problems.push(Problem::invalid(&format!("{path}.attempts"), what));
    }
    let mut codes: Vec<u32> = codes.iter().copied().map(u32::from).collect();
    codes.sort_unstable();
    codes.dedup();
    RouteRetry {
        codes,
        attempts: written.attempts,
        backoff_milliseconds: duration(written.backoff.as_ref(), &format!("{path}.backoff"), problems),
    }
}

#[cfg(test)]
mod tests {
    use super::milliseconds;

    #[test]
    fn durations_are_those_of_gep_2257() {
        for (text, expected) in [
            ("0s", Some(0)),
            ("10s", Some(10_000)),
            ("1m30s", Some(90_000)),
            ("1h2m3s4ms", Some(3_723_004)),
            ("500ms", Some(500)),
            ("99999h", Some(359_996_400_000)),
            ("", None),
            ("10", None),
            ("s", None),
            ("1.5s", None),
            ("-1s", None),
            ("100000s", None),
            ("1s1s1s1s1s", None),
            ("1d", None),
        ] {
            assert_eq!(milliseconds(text), expected, "{text}");
        }
    }
}
