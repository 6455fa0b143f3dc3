//! Answers as tables, JSON or YAML.

use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
    /// For programs that show findings in code; `analyze` only.
    Sarif,
}

/// An answer: as data, and as text for people.
#[derive(Debug)]
pub(super) struct View {
    data: Value,
    text: String,
}

impl View {
    /// An answer and its text.
    pub(super) fn new(data: &impl Serialize, text: String) -> Self {
        // Only maps with keys that are no strings could fail, and there are none.
        Self { data: serde_json::to_value(data).unwrap_or_default(), text }
    }

    /// Prints it.
    pub(super) fn print(&self, format: Format, to: &mut impl Write) -> io::Result<()> {
        match format {
            Format::Table => to.write_all(self.text.as_bytes()),
            Format::Json => {
                serde_json::to_writer_pretty(&mut *to, &self.data)?;
                to.write_all(b"\n")
            }
            Format::Yaml => {
                let text = serde_yaml_ng::to_string(&self.data).map_err(io::Error::other)?;
                to.write_all(text.as_bytes())
            }
            Format::Sarif => {
                Err(io::Error::other("only analyze answers in SARIF; choose table, json or yaml"))
            }
        }
    }
}

/// Rows under a head, columns aligned; nothing at all without rows.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell}{}", " ".repeat(width - cell.chars().count())))
            .collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(&mut head.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// A cell that says "-" for nothing.
pub(super) fn cell(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// Any JSON as text: lists of objects become tables, the rest `key: value`.
pub(super) fn outline(title: &str, value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let nested = |value: &Value| value.is_object() || is_list_of_objects(value);
            let mut text = format!("{title}:\n");
            if !fields.is_empty() && fields.values().all(Value::is_object) {
                return text + &indent(&table_of(fields.iter().map(|(name, row)| (Some(name), row))));
            }
            for (name, value) in fields.iter().filter(|(_, value)| !nested(value)) {
                text.push_str(&indent(&format!("{name}: {}\n", plain(value))));
            }
            for (name, value) in fields.iter().filter(|(_, value)| nested(value)) {
                text.push_str(&indent(&outline(name, value)));
            }
            text
        }
        list @ Value::Array(rows) if is_list_of_objects(list) => {
            format!("{title}:\n{}", indent(&table_of(rows.iter().map(|row| (None, row)))))
        }
        value => format!("{title}: {}\n", plain(value)),
    }
}

fn is_list_of_objects(value: &Value) -> bool {
    value.as_array().is_some_and(|rows| !rows.is_empty() && rows.iter().all(Value::is_object))
}

fn table_of<'a>(rows: impl Iterator<Item = (Option<&'a String>, &'a Value)>) -> String {
    let rows: Vec<_> = rows.collect();
    let mut columns: Vec<&str> = Vec::new();
    for name in rows.iter().filter_map(|(_, row)| row.as_object()).flat_map(|fields| fields.keys()) {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    let named = rows.iter().any(|(name, _)| name.is_some());
    let head: Vec<&str> = named.then_some("name").into_iter().chain(columns.iter().copied()).collect();
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|(name, row)| {
            let own = name.map(|name| (*name).clone());
            own.into_iter().chain(columns.iter().map(|column| plain(&row[*column]))).collect()
        })
        .collect();
    table(&head, &cells)
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => cell(text),
        Value::Array(values) if values.is_empty() => "-".to_owned(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        value => value.to_string(),
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
