//! A template as text and actions, with the white space that `{{-` and `-}}` take away gone.

use super::{Place, TemplateError};

/// What a template consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// What stands there.
    Text(String),
    /// What stands between the braces, without comments.
    Action(Place, String),
}

/// White space as Go's templates mean it.
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// Takes a template apart.
pub(super) fn pieces(file: &str, text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim_next = false;
    while let Some(start) = rest.find("{{") {
        let line = text[..text.len() - rest.len() + start].matches('\n').count() + 1;
        let place = Place { file: file.to_owned(), line };
        let (before, after) = (&rest[..start], &rest[start + 2..]);
        let (trim_before, after) = match after.strip_prefix('-') {
            Some(inner) if inner.starts_with(SPACE) => (true, inner),
            _ => (false, after),
        };
        let end = end(after).ok_or_else(|| place.error("`{{` has no `}}`"))?;
        let (action, after) = (&after[..end], &after[end + 2..]);
        let (trim_after, action) = match action.strip_suffix('-') {
            Some(inner) if inner.ends_with(SPACE) => (true, inner),
            _ => (false, action),
        };
        push_text(&mut pieces, before, trim_next, trim_before);
        let action = action.trim_matches(SPACE);
        if let Some(comment) = action.strip_prefix("/*") {
            if !comment.ends_with("*/") {
                return Err(place.error("a comment stands alone in its braces and ends with `*/`"));
            }
        } else {
            pieces.push(Piece::Action(place, action.to_owned()));
        }
        trim_next = trim_after;
        rest = after;
    }
    push_text(&mut pieces, rest, trim_next, false);
    Ok(pieces)
}

fn push_text(pieces: &mut Vec<Piece>, text: &str, trim_start: bool, trim_end: bool) {
    let text = if trim_start { text.trim_start_matches(SPACE) } else { text };
    let text = if trim_end { text.trim_end_matches(SPACE) } else { text };
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// Where an action ends: at the first `}}` that is not in a string or a comment.
fn end(text: &str) -> Option<usize> {
    if text.trim_start_matches(SPACE).starts_with("/*") {
        let comment = text.find("*/")?;
        return text[comment..].find("}}").map(|end| comment + end);
    }
    let (mut quoted, mut escaped) = (false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '}' if !quoted && text[at..].starts_with("}}") => return Some(at),
            _ => {}
        }
    }
    None
}
