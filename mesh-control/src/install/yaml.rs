//! YAML for whom YAML 1.1 holds, as it does for kubectl and Helm: `Off`, `yes` and `on` are booleans there, and what is
//! meant as text is quoted here.

use serde_json::Value;

/// Words that are no text in YAML 1.1 (<https://yaml.org/type/bool.html>, <https://yaml.org/type/null.html>).
const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

/// Writes a value; maps in the order of their keys, lists below their key. Ends without a line break.
pub(super) fn write(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

/// A value whose first line is begun already, at `margin` spaces.
fn block(value: &Value, margin: usize, text: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (index, (name, value)) in fields.iter().enumerate() {
                if index > 0 {
                    line(margin, text);
                }
                text.push_str(&scalar(name));
                text.push(':');
                match value {
                    Value::Array(elements) if !elements.is_empty() => {
                        line(margin, text);
                        block(value, margin, text);
                    }
                    Value::Object(fields) if !fields.is_empty() => {
                        line(margin + 2, text);
                        block(value, margin + 2, text);
                    }
                    _ => {
                        text.push(' ');
                        block(value, margin + 2, text);
                    }
                }
            }
        }
        Value::Array(elements) if !elements.is_empty() => {
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    line(margin, text);
                }
                text.push_str("- ");
                block(element, margin + 2, text);
            }
        }
        Value::String(several) if margin > 0 && is_plain_block(several) => {
            text.push_str("|-");
            for one in several.lines() {
                if one.is_empty() {
                    text.push('\n');
                } else {
                    line(margin, text);
                    text.push_str(one);
                }
            }
        }
        Value::String(one) => text.push_str(&scalar(one)),
        // Numbers, booleans, null and what is empty are written as in JSON.
        _ => text.push_str(&value.to_string()),
    }
}

fn line(margin: usize, text: &mut String) {
    text.push('\n');
    text.push_str(&" ".repeat(margin));
}

/// Text on one line: as it is where nobody could take it for anything else, else quoted as in JSON, which is YAML too.
fn scalar(text: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || " -_./(),;`'".contains(character);
    let begins = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/');
    let is_word = WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    if begins && !is_word && !text.ends_with(' ') && text.chars().all(plain) {
        return text.to_owned();
    }
    let quoted = Value::String(text.to_owned()).to_string();
    // YAML takes these for ends of lines, or for nothing that may stand there; JSON does not.
    let mut text = String::with_capacity(quoted.len());
    for character in quoted.chars() {
        match character {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => text.push(character),
        }
    }
    text
}

/// Whether several lines can be written below one another: nothing in them is hidden or cut off.
fn is_plain_block(text: &str) -> bool {
    let is_shown = |line: &str| {
        !line.starts_with(' ') && !line.ends_with(' ') && line.chars().all(|one| matches!(one, ' '..='~'))
    };
    text.contains('\n') && !text.starts_with('\n') && !text.ends_with('\n') && text.split('\n').all(is_shown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::write;

    #[test]
    fn what_could_be_taken_for_something_else_is_quoted() {
        for (value, text) in [
            (json!("Off"), "\"Off\""),
            (json!("yes"), "\"yes\""),
            (json!("N"), "\"N\""),
            (json!("1e3"), "\"1e3\""),
            (json!("~"), "\"~\""),
            (json!(""), "\"\""),
            (json!("a: b"), "\"a: b\""),
            (json!("Offer"), "Offer"),
            (json!("/sys/fs/bpf"), "/sys/fs/bpf"),
            (json!({"off": [true, null, 1, {}, []]}), "\"off\":\n- true\n- null\n- 1\n- {}\n- []"),
            (json!({"a": {"b": [{"c": 1, "d": "e\nf"}]}}), "a:\n  b:\n  - c: 1\n    d: |-\n      e\n      f"),
            (json!([[1, 2], [3]]), "- - 1\n  - 2\n- - 3"),
        ] {
            assert_eq!(write(&value), text);
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let text =
            prop_oneof!["[ -~\n]{0,12}", "\\PC{0,8}", Just("Off".to_owned()), Just("a\n\nb".to_owned())];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i32>().prop_map(|number| json!(number)),
            text.clone().prop_map(Value::String),
        ];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            let fields = prop::collection::btree_map(text.clone(), inner.clone(), 0..4);
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(Value::Array),
                fields.prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(value in values()) {
            let text = write(&value);
            prop_assert_eq!(serde_yaml_ng::from_str::<Value>(&text).unwrap(), value, "{}", text);
        }
    }
}
