//! What a report must not tell: secrets, wherever they may stand.
//!
//! Objects are gone through by field: environment values, the data of Secrets and ConfigMaps, and
//! whatever a field's name calls secret. Every text, logs too, is gone through for what looks like a
//! secret: private keys, tokens, and values behind words such as `password=`. Too much is taken out
//! rather than too little.

use serde_json::{Map, Value};

/// What stands in the place of what was taken out.
pub(super) const REDACTED: &str = "REDACTED";

/// Parts of fields' names whose text is secret; what they refer to is not.
const WORDS: [&str; 8] =
    ["password", "passwd", "secret", "token", "credential", "apikey", "api_key", "privatekey"];
/// Fields with such a word that only name something.
const NAMES: [&str; 10] = [
    "secretname",
    "secretref",
    "secretkeyref",
    "imagepullsecrets",
    "automountserviceaccounttoken",
    "serviceaccounttoken",
    "tokenexpirationseconds",
    "tokenrequests",
    "secrets",
    "secret",
];
/// Annotations that repeat a whole object.
const COPIES: [&str; 1] = ["kubectl.kubernetes.io/last-applied-configuration"];
/// Words that a secret follows in a line of text, after `=`, `:` or a blank.
const LABELS: [&str; 9] =
    ["password", "passwd", "secret", "token", "bearer", "authorization", "api_key", "apikey", "private_key"];

/// An object without its secrets.
pub(super) fn object(value: &mut Value) {
    let kind = value["kind"].as_str().unwrap_or_default().to_owned();
    if let Value::Object(fields) = value
        && matches!(kind.as_str(), "Secret" | "ConfigMap")
    {
        for name in ["data", "stringData", "binaryData"] {
            if let Some(Value::Object(data)) = fields.get_mut(name) {
                data.values_mut().for_each(|value| *value = REDACTED.into());
            }
        }
    }
    any(value);
}

fn any(value: &mut Value) {
    match value {
        Value::Object(fields) => object_fields(fields),
        Value::Array(items) => list(items),
        Value::String(text) => *text = self::text(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Of a list of arguments the one behind `--token` is a secret too.
fn list(items: &mut [Value]) {
    let mut next_is_secret = false;
    for item in items {
        let is_secret = next_is_secret;
        next_is_secret = item.as_str().is_some_and(|text| text.starts_with('-') && is_label(text));
        match item {
            Value::String(text) if is_secret => *text = REDACTED.to_owned(),
            item => object(item),
        }
    }
}

fn object_fields(fields: &mut Map<String, Value>) {
    fields.remove("managedFields");
    if let Some(Value::Object(annotations)) = fields.get_mut("annotations") {
        for copy in COPIES {
            annotations.remove(copy);
        }
    }
    for (name, value) in fields.iter_mut() {
        match value {
            Value::Array(variables) if name == "env" => variables.iter_mut().for_each(variable),
            Value::String(text) if is_secret(name) => *text = REDACTED.to_owned(),
            value => object(value),
        }
    }
}

/// One variable of a container's environment: its value may be anything.
fn variable(variable: &mut Value) {
    match variable.get_mut("value") {
        Some(value) => *value = REDACTED.into(),
        None => object(variable),
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !NAMES.contains(&name.as_str()) && WORDS.iter().any(|word| name.contains(word))
}

/// A text without what looks like a secret.
pub(super) fn text(text: &str) -> String {
    let text = without_keys(text);
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        out.push_str(&line_without_secrets(line));
    }
    out
}

/// Without what stands between `-----BEGIN ... PRIVATE KEY-----` and its end; without an end, to the
/// end of the text.
fn without_keys(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find("-----BEGIN ") {
        let (before, block) = rest.split_at(begin);
        out.push_str(before);
        let title = block.trim_start_matches("-----BEGIN ").split("-----").next().unwrap_or_default();
        let end = block.find("-----END ").map(|end| {
            let tail = &block[end + "-----END ".len()..];
            tail.find("-----").map_or(block.len(), |close| end + "-----END ".len() + close + "-----".len())
        });
        // One that was cut off ends where the next begins.
        let next = block["-----BEGIN ".len()..].find("-----BEGIN ").map(|next| next + "-----BEGIN ".len());
        let end = [end, next].into_iter().flatten().min();
        let (block, after) = block.split_at(end.unwrap_or(block.len()));
        out.push_str(if title.contains("PRIVATE KEY") { REDACTED } else { block });
        rest = after;
    }
    out + rest
}

/// Whether a word of `Authorization: SCHEME CREDENTIALS` says what kind of credentials come next (RFC 9110, 11.4).
fn is_scheme(word: &str) -> bool {
    word.eq_ignore_ascii_case("bearer") || word.eq_ignore_ascii_case("basic")
}

fn line_without_secrets(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut next_is_secret = false;
    for word in
        line.split_inclusive(|letter: char| letter.is_whitespace() || "\"',;&?(){}[]".contains(letter))
    {
        let end = word.chars().next_back().filter(|letter| !is_of_word(*letter));
        let body = &word[..word.len() - end.map_or(0, char::len_utf8)];
        let (label, value) = split(body);
        let names_secret = label.is_some_and(is_label);
        if is_token(body) || (next_is_secret && is_value(body)) {
            out.push_str(REDACTED);
            next_is_secret = is_scheme(body);
        } else if names_secret && !value.is_empty() {
            out.push_str(&body[..body.len() - value.len()]);
            out.push_str(REDACTED);
            next_is_secret = is_scheme(value);
        } else {
            out.push_str(body);
            // `password: x`, `"token":"x"`, `Bearer x`: between the two may be signs alone.
            next_is_secret = names_secret
                || is_scheme(body)
                || (next_is_secret && body.chars().all(|letter| ":=".contains(letter)))
                || (is_label(body) && end.is_some_and(|end| "\"'".contains(end)));
        }
        out.extend(end);
    }
    out
}

fn is_of_word(letter: char) -> bool {
    !(letter.is_whitespace() || "\"',;&?(){}[]".contains(letter))
}

/// `label=value` or `label:value`.
fn split(word: &str) -> (Option<&str>, &str) {
    match word.find(['=', ':']) {
        Some(at) => (Some(&word[..at]), &word[at + 1..]),
        None => (None, ""),
    }
}

fn is_label(word: &str) -> bool {
    let word = word.trim_start_matches('-').to_ascii_lowercase().replace('-', "_");
    LABELS.iter().any(|label| word == *label || word.ends_with(&format!("_{label}")))
}

/// Something that can be a secret at all, and not a sign between a word and its value.
fn is_value(word: &str) -> bool {
    word.chars().any(char::is_alphanumeric)
}

/// A JSON web token: three parts of base64url, the first of which is an object.
fn is_token(word: &str) -> bool {
    word.find("eyJ").is_some_and(|start| {
        let parts: Vec<&str> = word[start..].split('.').collect();
        let encoded =
            |part: &&str| part.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_=".contains(letter));
        parts.len() >= 3 && parts.iter().take(2).all(encoded) && parts[0].len() >= 10
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::{REDACTED, object, text};

    const JWT: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJl";

    #[test]
    fn objects_keep_their_form_and_lose_their_secrets() {
        let mut pod = json!({
            "kind": "Pod",
            "metadata": {
                "name": "a",
                "managedFields": [{ "manager": "x" }],
                "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "{\"env\":\"hunter2\"}", "kept": "yes" },
            },
            "spec": {
                "automountServiceAccountToken": false,
                "imagePullSecrets": [{ "name": "registry" }],
                "containers": [{
                    "name": "app",
                    "args": ["--db-password=hunter2", "--token", "hunter2", "--listen=:80"],
                    "env": [
                        { "name": "PASSWORD", "value": "hunter2" },
                        { "name": "HARMLESS", "value": "hunter2" },
                        { "name": "REF", "valueFrom": { "secretKeyRef": { "name": "db", "key": "password" } } },
                    ],
                }],
                "volumes": [{ "name": "v", "secret": { "secretName": "db" } }],
            },
            "extra": { "apiToken": "hunter2", "note": format!("uses {JWT} here") },
        });
        object(&mut pod);
        let told = pod.to_string();
        assert!(
            !told.contains("hunter2") && !told.contains(JWT) && !told.contains("managedFields"),
            "{told}"
        );
        assert_eq!(pod["spec"]["containers"][0]["env"][2]["valueFrom"]["secretKeyRef"]["name"], "db");
        assert_eq!(pod["spec"]["volumes"][0]["secret"]["secretName"], "db");
        assert_eq!(pod["metadata"]["annotations"]["kept"], "yes");
        assert_eq!(pod["spec"]["containers"][0]["args"][3], "--listen=:80");
    }

    #[test]
    fn no_data_of_a_secret_or_config_map_is_told() {
        for kind in ["Secret", "ConfigMap"] {
            let mut list = json!({ "kind": "List", "items": [{ "kind": kind, "data": { "a": "hunter2" }, "stringData": { "b": "hunter2" } }] });
            object(&mut list);
            assert_eq!(list["items"][0]["data"]["a"], REDACTED);
            assert_eq!(list["items"][0]["stringData"]["b"], REDACTED);
        }
    }

    #[test]
    fn logs_lose_what_looks_like_a_secret() {
        let log = format!(
            "INFO joining with {JWT} at mesh-control\n\
             authorization: Bearer abc.def\n\
             Authorization: Basic dXNlcjpwYXNz\n\
             {{\"token\":\"hunter2\",\"node\":\"n1\"}}\n\
             GET /x?password=hunter2&y=1\n\
             -----BEGIN EC PRIVATE KEY-----\nMHcCAQ\nEEIhun\n-----END EC PRIVATE KEY-----\n\
             -----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n\
             the token was refused: node n1\n"
        );
        let told = text(&log);
        for gone in [JWT, "abc.def", "dXNlcjpwYXNz", "hunter2", "MHcCAQ", "EEIhun"] {
            assert!(!told.contains(gone), "{gone}: {told}");
        }
        for kept in [
            "INFO joining with ",
            " at mesh-control",
            "\"node\":\"n1\"",
            "&y=1",
            "MIIB",
            "the token was refused: node n1",
        ] {
            assert!(told.contains(kept), "{kept}: {told}");
        }
    }

    #[test]
    fn a_key_that_breaks_off_takes_the_rest_with_it() {
        assert_eq!(text("a -----BEGIN PRIVATE KEY-----\nMHcC\nmore"), format!("a {REDACTED}"));
        let cut = "-----BEGIN CERTIFICATE-----\nMIIB\n";
        let key = "-----BEGIN PRIVATE KEY-----\nMHcC\n-----END PRIVATE KEY-----";
        assert_eq!(
            text(&format!("{cut}{key} b")),
            format!("{cut}{REDACTED} b"),
            "what breaks off hides none"
        );
    }

    proptest! {
        #[test]
        fn a_secret_does_not_come_through_whatever_is_around_it(
            before in "[ -~]{0,40}",
            after in "[ -~]{0,40}",
            secret in "[a-zA-Z0-9]{20,30}",
            form in 0..4_usize,
        ) {
            let inner = match form {
                0 => format!(" eyJhbGciOiJSUzI1NiJ9.{secret}.{secret} "),
                1 => format!(" password={secret} "),
                2 => format!("\"token\":\"{secret}\" "),
                _ => format!("\n-----BEGIN RSA PRIVATE KEY-----\n{secret}\n-----END RSA PRIVATE KEY-----\n"),
            };
            // What is around it does not begin a block of its own.
            prop_assume!(!before.contains("-----"));
            let told = text(&format!("{before}{inner}{after}"));
            prop_assert!(!told.contains(&secret), "{}", told);
        }

        #[test]
        fn ordinary_lines_stay_as_they_are(line in "[a-z0-9 /.:-]{0,60}") {
            prop_assume!(!["password", "passwd", "secret", "token", "bearer", "authorization", "key", "-----"].iter().any(|word| line.contains(word)));
            prop_assert_eq!(text(&line), line);
        }
    }
}
