//! Actions to a tree.

use std::iter::Peekable;
use std::vec::IntoIter;

use serde_json::Value;

use super::split::{Piece, pieces};
use super::{Call, Node, Pipeline, Place, TemplateError, Term};

/// What a file defines: where, under which name, and what.
type Defined = Vec<(Place, String, Vec<Node>)>;

/// Reads a file: what it says, and what it defines.
pub(super) fn file(file: &str, text: &str) -> Result<(Vec<Node>, Defined), TemplateError> {
    let mut parser = Parser { pieces: pieces(file, text)?.into_iter(), defined: Vec::new() };
    match parser.block()? {
        (nodes, None) => Ok((nodes, parser.defined)),
        (_, Some((place, _, word))) => Err(place.error(format!("`{word}` ends nothing that was begun"))),
    }
}

/// What ends a block: where, the words of the action, and the first of them.
type End = (Place, Vec<Word>, String);

struct Parser {
    pieces: IntoIter<Piece>,
    defined: Defined,
}

impl Parser {
    /// Everything up to `end`, `else`, or the end of the file.
    fn block(&mut self) -> Result<(Vec<Node>, Option<End>), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (place, action) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(place, action) => (place, action),
            };
            let mut words = words(&place, &action)?;
            let keyword = match words.first() {
                Some(Word::Name(name)) => name.clone(),
                _ => String::new(),
            };
            match keyword.as_str() {
                "end" | "else" => {
                    words.remove(0);
                    return Ok((nodes, Some((place, words, keyword))));
                }
                "if" => {
                    let node = self.branches(place, words.split_off(1))?;
                    nodes.push(node);
                }
                "range" | "with" => {
                    let pipeline = pipeline(&place, words.split_off(1))?;
                    let body = self.body(&place)?;
                    let node = if keyword == "range" { Node::Range } else { Node::With };
                    nodes.push(node(place, pipeline, body));
                }
                "define" => {
                    let [_, Word::Text(name)] = words.as_slice() else {
                        return Err(place.error("write define \"NAME\""));
                    };
                    let name = name.clone();
                    let body = self.body(&place)?;
                    self.defined.push((place, name, body));
                }
                "template" | "block" | "break" | "continue" => {
                    return Err(place.error(format!("`{keyword}` is not known here")));
                }
                _ => {
                    let pipeline = pipeline(&place, words)?;
                    nodes.push(Node::Output(place, pipeline));
                }
            }
        }
        Ok((nodes, None))
    }

    /// A block that only `end` ends.
    fn body(&mut self, place: &Place) -> Result<Vec<Node>, TemplateError> {
        match self.block()? {
            (nodes, Some((_, words, word))) if word == "end" && words.is_empty() => Ok(nodes),
            (_, Some((at, _, word))) => Err(at.error(format!("`{word}` is not known here; `end` is"))),
            (_, None) => Err(place.error("has no `end`")),
        }
    }

    /// `if` with all that belongs to it.
    fn branches(&mut self, place: Place, condition: Vec<Word>) -> Result<Node, TemplateError> {
        let mut branches = Vec::new();
        let mut begun = (place, condition);
        loop {
            let (place, condition) = begun;
            let condition = pipeline(&place, condition)?;
            let (nodes, Some((at, mut words, word))) = self.block()? else {
                return Err(place.error("has no `end`"));
            };
            branches.push((place, condition, nodes));
            let goes_on = words.first() == Some(&Word::Name("if".to_owned()));
            match (word.as_str(), words.len()) {
                ("end", 0) => return Ok(Node::If(branches, Vec::new())),
                ("else", 0) => return Ok(Node::If(branches, self.body(&at)?)),
                ("else", _) if goes_on => begun = (at, words.split_off(1)),
                _ => return Err(at.error("write `end`, `else` or `else if CONDITION`")),
            }
        }
    }
}

/// A word of an action.
#[derive(Debug, Clone, PartialEq)]
enum Word {
    Name(String),
    Field(Vec<String>),
    Text(String),
    Number(i64),
    Pipe,
    Open,
    Close,
}

fn words(place: &Place, action: &str) -> Result<Vec<Word>, TemplateError> {
    let mut words = Vec::new();
    let mut rest = action.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '|' | '(' | ')' => 1,
            '"' => string_length(rest).ok_or_else(|| place.error("a string has no end"))?,
            _ => rest.find([' ', '\t', '\r', '\n', '|', '(', ')', '"']).unwrap_or(rest.len()),
        };
        let (word, after) = rest.split_at(length);
        words.push(read(place, word)?);
        rest = after.trim_start();
    }
    Ok(words)
}

fn read(place: &Place, word: &str) -> Result<Word, TemplateError> {
    let is_name = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
    };
    let unknown = || place.error(format!("`{word}` is not known here"));
    Ok(match word {
        "|" => Word::Pipe,
        "(" => Word::Open,
        ")" => Word::Close,
        "." => Word::Field(Vec::new()),
        _ if word.starts_with('"') => Word::Text(serde_json::from_str(word).map_err(|_| unknown())?),
        _ if is_name(word) => Word::Name(word.to_owned()),
        _ if word.starts_with('.') && word[1..].split('.').all(is_name) => {
            Word::Field(word[1..].split('.').map(str::to_owned).collect())
        }
        _ => Word::Number(word.parse().map_err(|_| unknown())?),
    })
}

/// How long the string is that the text begins with, quotes included.
fn string_length(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn pipeline(place: &Place, words: Vec<Word>) -> Result<Pipeline, TemplateError> {
    let mut words = words.into_iter().peekable();
    let pipeline = calls(place, &mut words)?;
    if words.next().is_some() {
        return Err(place.error("`)` closes nothing"));
    }
    Ok(pipeline)
}

/// Calls up to a closing parenthesis, which is left there, or the end.
fn calls(place: &Place, words: &mut Peekable<IntoIter<Word>>) -> Result<Pipeline, TemplateError> {
    let mut calls = Vec::new();
    loop {
        calls.push(call(place, words)?);
        if words.next_if_eq(&Word::Pipe).is_none() {
            return Ok(Pipeline(calls));
        }
    }
}

fn call(place: &Place, words: &mut Peekable<IntoIter<Word>>) -> Result<Call, TemplateError> {
    let mut call = Call { function: None, terms: Vec::new() };
    while let Some(word) = words.next_if(|word| !matches!(word, Word::Pipe | Word::Close)) {
        let begins = call.function.is_none() && call.terms.is_empty();
        let term = match word {
            Word::Name(name) if name == "true" || name == "false" => {
                Term::Literal(Value::Bool(name == "true"))
            }
            Word::Name(name) if begins => {
                call.function = Some(name);
                continue;
            }
            Word::Name(name) => return Err(place.error(format!("`{name}` can only begin a call"))),
            Word::Field(path) => Term::Field(path),
            Word::Text(text) => Term::Literal(Value::String(text)),
            Word::Number(number) => Term::Literal(number.into()),
            Word::Open => {
                let group = calls(place, words)?;
                if words.next_if_eq(&Word::Close).is_none() {
                    return Err(place.error("`(` is not closed"));
                }
                Term::Group(group)
            }
            Word::Pipe | Word::Close => unreachable!("neither is taken"),
        };
        call.terms.push(term);
    }
    match (&call.function, call.terms.len()) {
        (None, 0) => Err(place.error("something is missing")),
        (None, 2..) => Err(place.error("a value takes no arguments")),
        _ => Ok(call),
    }
}
