//! Durations as Kubernetes writes them (`metav1.Duration`), without fractions: `24h`, `1h30m`. The
//! one form of every field, option and argument.

use std::time::Duration;

/// Reads a duration; nothing where the text is none.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds: u64 = 0;
    let mut units = ["h", "m", "s"].into_iter().zip([3600, 60, 1]);
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        // Each unit once, the larger before the smaller.
        let (unit, factor) = units.by_ref().find(|(unit, _)| after.starts_with(unit))?;
        seconds = seconds.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
        rest = after.strip_prefix(unit)?;
    }
    (!text.is_empty()).then(|| Duration::from_secs(seconds))
}

/// Reads a duration that somebody wrote on a command line.
///
/// # Errors
/// Where the text is none; says how one is written.
pub fn argument(text: &str) -> Result<Duration, String> {
    parse(text).ok_or_else(|| "write a number with h, m or s, such as 24h or 1h30m".to_owned())
}

/// Writes a duration as [`parse`] reads it, to the second.
#[must_use]
pub fn text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let written: String = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    if written.is_empty() { "0s".to_owned() } else { written }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{parse, text};

    #[test]
    fn only_numbers_with_units_in_order_are_durations() {
        assert_eq!(parse("1h30m5s"), Some(Duration::from_secs(5405)));
        assert_eq!(parse("87600h"), Some(Duration::from_secs(87_600 * 3600)));
        for wrong in [
            "",
            "24",
            "h",
            "1d",
            "-1h",
            "1.5h",
            "1m1h",
            "1h1h",
            "1h ",
            "99999999999999999999h",
            "9999999999999999h",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(seconds in 0..u64::from(u32::MAX)) {
            let duration = Duration::from_secs(seconds);
            prop_assert_eq!(parse(&text(duration)), Some(duration));
        }
    }
}
