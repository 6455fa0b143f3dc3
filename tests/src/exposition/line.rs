//! One line of the exposition format.

use std::collections::BTreeMap;

use super::Sample;

/// A page that a scraper could not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("metrics, line {line}: {problem}: {text}")]
pub struct Error {
    pub(super) line: usize,
    pub(super) text: String,
    pub(super) problem: String,
}

/// `name{label="value",...} value [timestamp] [# exemplar]`
pub(super) fn sample(text: &str) -> Result<Sample, String> {
    let (name, mut rest) = split_name(text)?;
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = read_labels(inside, &mut labels)?;
    }
    let word = rest.split_whitespace().next().ok_or("it has no value")?;
    let value = match word {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        number => number.parse().map_err(|_| format!("value {number:?} is no number"))?,
    };
    Ok(Sample { name: name.to_owned(), labels, value })
}

/// Reads up to and past the closing brace; gives what follows.
fn read_labels<'a>(mut rest: &'a str, labels: &mut BTreeMap<String, String>) -> Result<&'a str, String> {
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Ok(after);
        }
        let (name, after) = split_name(rest)?;
        let quoted = after.strip_prefix("=\"").ok_or_else(|| format!("label {name} has no quoted value"))?;
        let (value, after) =
            unquote(quoted).ok_or_else(|| format!("the value of label {name} does not end"))?;
        if labels.insert(name.to_owned(), value).is_some() {
            return Err(format!("label {name} is there twice"));
        }
        rest = match after.strip_prefix(',') {
            Some(after) => after,
            None if after.starts_with('}') => after,
            None => return Err(format!("label {name} is followed by neither ',' nor '}}'")),
        };
    }
}

fn split_name(text: &str) -> Result<(&str, &str), String> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':').unwrap_or(text.len());
    let name = &text[..end];
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(format!("{name:?} is no name"));
    }
    Ok((name, &text[end..]))
}

/// The value up to the closing quote, with `\\`, `\"` and `\n` undone, and what follows.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            c => value.push(c),
        }
    }
    None
}
