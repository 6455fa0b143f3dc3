//! On which line of a document a field stands.
//!
//! YAML's parser keeps no positions, so the lines are followed by their indentation, as people read them: block maps
//! and lists are understood, and what is written within one line is on that line. Where that ends the line that was
//! reached is told.

use serde_json::Value;

/// A step into a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Into this field.
    Field(String),
    /// Into this element, from 0.
    Element(usize),
}

/// How a path is written: `spec.ingress[0].from`.
pub(super) fn text(path: &[Step]) -> String {
    path.iter().fold(String::new(), |text, step| match step {
        Step::Field(name) if text.is_empty() => name.clone(),
        Step::Field(name) => format!("{text}.{name}"),
        Step::Element(index) => format!("{text}[{index}]"),
    })
}

/// The path that a message of the controller is about: what it begins with, or the rule that it names.
pub(super) fn path(message: &str, document: &Value) -> Option<Vec<Step>> {
    if let Some(rule) = message.strip_prefix("rule `") {
        return rule_named(rule.split('`').next()?, document);
    }
    let is_part = |character: char| character.is_ascii_alphanumeric() || "._-[]/".contains(character);
    let end = message.find(|character| !is_part(character)).unwrap_or(message.len());
    let (path, rest) = message.split_at(end);
    let begins = rest.starts_with([':', ' ']);
    let mut steps = Vec::new();
    for part in path.trim_end_matches('.').split('.') {
        let (name, indices) = part.split_once('[').unwrap_or((part, ""));
        if !name.is_empty() {
            steps.push(Step::Field(name.to_owned()));
        }
        let indices = indices.split('[').filter_map(|index| index.trim_end_matches(']').parse().ok());
        steps.extend(indices.map(Step::Element));
    }
    let first = match steps.first() {
        Some(Step::Field(name)) => document.get(name.as_str()),
        _ => None,
    };
    (begins && first.is_some()).then_some(steps)
}

/// The rule of this name, its own or by its place.
fn rule_named(name: &str, document: &Value) -> Option<Vec<Step>> {
    for direction in ["ingress", "egress"] {
        let rules = document["spec"][direction].as_array().into_iter().flatten().enumerate();
        for (index, rule) in rules {
            let own = rule["name"].as_str().filter(|own| !own.is_empty());
            if own == Some(name) || (own.is_none() && name == format!("{direction}[{index}]")) {
                let fields = ["spec", direction].map(|name| Step::Field(name.to_owned()));
                return Some([fields.as_slice(), &[Step::Element(index)]].concat());
            }
        }
    }
    None
}

/// The line, from 1, that the YAML parser names in what it says.
pub(super) fn line_in(cause: &str) -> Option<usize> {
    let (_, after) = cause.split_once("at line ")?;
    let digits = after.find(|character: char| !character.is_ascii_digit()).unwrap_or(after.len());
    after[..digits].parse().ok().filter(|line| *line > 0)
}

/// The first line of a document, from 0, that says something.
pub(super) fn begins(document: &str) -> usize {
    document.lines().position(says_something).unwrap_or(0)
}

/// The line of a document, from 0, on which the path's end stands, or what of it can be found.
pub(super) fn line(document: &str, path: &[Step]) -> usize {
    let mut lines: Vec<String> = document.lines().map(str::to_owned).collect();
    let mut reached = begins(document);
    let mut range = 0..lines.len();
    for step in path {
        let found = match step {
            Step::Field(name) => field(&lines, range, name),
            Step::Element(index) => element(&mut lines, range, *index),
        };
        let Some((at, below)) = found else { break };
        reached = at;
        range = below;
    }
    reached
}

fn says_something(line: &str) -> bool {
    let line = line.trim_start();
    !line.is_empty() && !line.starts_with('#')
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn is_element(line: &str) -> bool {
    let line = line.trim_start_matches(' ');
    line == "-" || line.starts_with("- ")
}

type Found = Option<(usize, std::ops::Range<usize>)>;

/// The line of a block map's field, and the lines of its value.
fn field(lines: &[String], range: std::ops::Range<usize>, name: &str) -> Found {
    let first = range.clone().find(|line| says_something(&lines[*line]))?;
    let margin = indentation(&lines[first]);
    let is_it = |line: &str| {
        let line = line.trim_start_matches(' ');
        ["", "\"", "'"].iter().any(|quote| {
            let rest = line.strip_prefix(quote).and_then(|line| line.strip_prefix(name));
            let rest = rest.and_then(|line| line.strip_prefix(quote)).map(str::trim_start);
            rest.and_then(|rest| rest.strip_prefix(':'))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        })
    };
    let at = range.clone().find(|line| {
        says_something(&lines[*line]) && indentation(&lines[*line]) == margin && is_it(&lines[*line])
    })?;
    // A list may stand as far left as its field.
    let is_within =
        |line: &str| indentation(line) > margin || (indentation(line) == margin && is_element(line));
    let end = (at + 1..range.end).find(|line| says_something(&lines[*line]) && !is_within(&lines[*line]));
    Some((at, at + 1..end.unwrap_or(range.end)))
}

/// The line of a block list's element, and its lines: its dash is taken away, so that they can be read as a map's.
fn element(lines: &mut [String], range: std::ops::Range<usize>, index: usize) -> Found {
    let first = range.clone().find(|line| says_something(&lines[*line]))?;
    let margin = indentation(&lines[first]);
    let begins: Vec<usize> = range
        .clone()
        .filter(|line| {
            says_something(&lines[*line]) && indentation(&lines[*line]) == margin && is_element(&lines[*line])
        })
        .collect();
    let at = *begins.get(index)?;
    let end = begins.get(index + 1).copied().unwrap_or(range.end);
    lines[at].replace_range(margin..=margin, " ");
    Some((at, at..end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::{Step, begins, line, line_in, path, text};

    const POLICY: &str = "# A policy\nspec:\n  selector: {}\n  ingress:\n  - name: a\n    from: [{cidrs: [x]}]\n\n  -   # second\n    name: b\n    ports:\n      - port: 80\n      - {port: 0}\n  \"egress\": []\n";

    fn steps(path: &str) -> Vec<Step> {
        super::path(&format!("{path}: x"), &json!({"spec": {}})).unwrap()
    }

    #[test]
    fn fields_are_found_by_indentation_and_else_what_holds_them() {
        let found = |path: &str| POLICY.lines().nth(line(POLICY, &steps(path))).unwrap().trim().to_owned();
        assert_eq!(found("spec"), "spec:");
        assert_eq!(found("spec.ingress[0].name"), "- name: a");
        assert_eq!(found("spec.ingress[0].from[0].cidrs"), "from: [{cidrs: [x]}]");
        assert_eq!(found("spec.ingress[1].name"), "name: b");
        assert_eq!(found("spec.ingress[1].ports[1].port"), "- {port: 0}");
        assert_eq!(found("spec.egress"), "\"egress\": []");
        assert_eq!(found("spec.nothing.at.all"), "spec:");
        assert_eq!(begins(POLICY), 1);
    }

    #[test]
    fn a_message_says_where() {
        let document = json!({"spec": {"egress": [{}, {"name": "out"}]}, "metadata": {}});
        let of = |message: &str| path(message, &document).map(|path| text(&path));
        assert_eq!(of("spec.a[0].b[12]: bad; x").as_deref(), Some("spec.a[0].b[12]"));
        assert_eq!(of("spec.a.http is not built yet").as_deref(), Some("spec.a.http"));
        assert_eq!(of("metadata.name `x`: only one").as_deref(), Some("metadata.name"));
        assert_eq!(of("rule `out`: nobody").as_deref(), Some("spec.egress[1]"));
        assert_eq!(of("rule `egress[0]`: nobody").as_deref(), Some("spec.egress[0]"));
        assert_eq!(of("nothing of the kind"), None);
        assert_eq!(line_in("did not find x at line 7 column 2"), Some(7));
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(json!(1)), Just(json!("text")), Just(json!("two\nlines"))];
        leaf.prop_recursive(4, 40, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..4).prop_map(Value::Array),
                prop::collection::btree_map("[a-z]{1,6}", inner, 1..4).prop_map(|fields| json!(fields)),
            ]
        })
    }

    /// Every path of a value that ends in a field.
    fn fields(value: &Value, at: &mut Vec<Step>, found: &mut Vec<Vec<Step>>) {
        match value {
            Value::Object(fields_of) => {
                for (name, value) in fields_of {
                    at.push(Step::Field(name.clone()));
                    found.push(at.clone());
                    fields(value, at, found);
                    at.pop();
                }
            }
            Value::Array(elements) => {
                for (index, value) in elements.iter().enumerate() {
                    at.push(Step::Element(index));
                    fields(value, at, found);
                    at.pop();
                }
            }
            _ => {}
        }
    }

    proptest! {
        /// Whatever is written in blocks is found: the line has the field's name.
        #[test]
        fn every_field_of_a_block_is_found(value in values()) {
            let document = serde_yaml_ng::to_string(&value).unwrap();
            let mut all = Vec::new();
            fields(&value, &mut Vec::new(), &mut all);
            for path in all {
                let at = document.lines().nth(line(&document, &path)).unwrap();
                let Some(Step::Field(name)) = path.last() else { unreachable!() };
                prop_assert!(at.contains(&format!("{name}:")), "{} is not in {at:?} of\n{document}", text(&path));
            }
        }
    }
}
