//! Objects that are as their definition asks, made from it: the least that holds together, with one field on top.

use serde_json::{Map, Value, json};

/// Numbers that are the same in every run.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    /// One below `bound` (xorshift64*).
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).unwrap_or_default() % bound.max(1)
    }
}

/// A step into an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Into this field.
    Field(String),
    /// Into the first element.
    Element,
    /// Into the value of a map's one key.
    Key,
}

/// The key that maps have here.
const KEY: &str = "app";

/// How errors write the place: `spec.ingress[0].from`.
pub(super) fn place(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Field(name) => text.push_str(&format!("{}{name}", if text.is_empty() { "" } else { "." })),
            Step::Element => text.push_str("[0]"),
            Step::Key => text.push_str(&format!(".{KEY}")),
        }
    }
    text
}

/// The value at a place.
pub(super) fn at<'a>(mut value: &'a mut Value, path: &[Step]) -> &'a mut Value {
    for step in path {
        value = match step {
            Step::Field(name) => &mut value[name.as_str()],
            Step::Element => &mut value[0],
            Step::Key => &mut value[KEY],
        };
    }
    value
}

/// Every place of a schema that an object can have, with the schema there.
pub(super) fn places<'a>(schema: &'a Value, path: &mut Vec<Step>, found: &mut Vec<(Vec<Step>, &'a Value)>) {
    found.push((path.clone(), schema));
    let below = |step: Step, schema: &'a Value, path: &mut Vec<Step>, found: &mut Vec<_>| {
        path.push(step);
        places(schema, path, found);
        path.pop();
    };
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        // What is not built is refused whatever it says.
        if !["jwt", "limit", "fqdns"].contains(&name.as_str()) {
            below(Step::Field(name.clone()), field, path, found);
        }
    }
    if schema["items"].is_object() {
        below(Step::Element, &schema["items"], path, found);
    }
    if schema["additionalProperties"].is_object() {
        below(Step::Key, &schema["additionalProperties"], path, found);
    }
}

/// A value that the schema allows and that has something at `path`. `name` is the field it is for.
pub(super) fn good(schema: &Value, name: &str, path: &[Step], numbers: &mut Numbers) -> Value {
    match (path.split_first(), schema["type"].as_str()) {
        (Some((Step::Element, rest)), _) => json!([good(&schema["items"], name, rest, numbers)]),
        (Some((Step::Key, rest)), _) => {
            json!({KEY: good(&schema["additionalProperties"], name, rest, numbers)})
        }
        (Some((Step::Field(field), rest)), _) => {
            let value = good(&schema["properties"][field.as_str()], field, rest, numbers);
            object(schema, Some((field, value)), numbers)
        }
        (None, Some("object")) if schema["properties"].is_object() => object(schema, None, numbers),
        (None, Some("object")) => json!({KEY: good(&schema["additionalProperties"], name, &[], numbers)}),
        (None, Some("array")) => json!([good(&schema["items"], name, &[], numbers)]),
        (None, _) => scalar(schema, name, numbers),
    }
}

/// The least that an object of this schema needs, and a field that is wanted.
fn object(schema: &Value, wanted: Option<(&str, Value)>, numbers: &mut Numbers) -> Value {
    let mut object = Map::new();
    object.extend(wanted.map(|(field, value)| (field.to_owned(), value)));
    let known = |field: &str| schema["properties"].get(field).is_some();
    let mut needed: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let lacks = |object: &Map<String, Value>, fields: &[&str]| {
        fields.iter().all(|field| known(field) && !object.contains_key(*field))
    };
    if lacks(&object, &["selector", "targetRefs"]) {
        needed.push("selector");
    }
    if lacks(&object, &["ingress", "egress"]) {
        needed.push("ingress");
    }
    // An entry names someone, and in a ClusterAccessPolicy a service account has no namespace of its own.
    if known("serviceAccounts") && (object.is_empty() || object.contains_key("serviceAccounts")) {
        needed.push("namespaces");
    }
    if known("operator") {
        needed.push("values");
    }
    // Requests are on ports, an entry names some, and a path or a header is compared in one way.
    if object.contains_key("http") || object.contains_key("grpc") {
        needed.push("ports");
    }
    if known("methods") && object.is_empty() {
        needed.push("methods");
    }
    if lacks(&object, &["service", "method"]) {
        needed.push("service");
    }
    let ways = ["exact", "prefix", "regex", "present"];
    if known("exact") && !ways.iter().any(|way| object.contains_key(*way)) {
        needed.push("exact");
    }
    for field in needed {
        if !object.contains_key(field) {
            object.insert(field.to_owned(), good(&schema["properties"][field], field, &[], numbers));
        }
    }
    Value::Object(object)
}

fn scalar(schema: &Value, name: &str, numbers: &mut Numbers) -> Value {
    let number = numbers.below(500);
    if let Some(values) = schema["enum"].as_array() {
        // What may stand anywhere.
        let anywhere = |value: &&Value| ![json!("Off"), json!("Pass"), json!("Exists")].contains(value);
        let values: Vec<&Value> =
            values.iter().filter(anywhere).take(if name == "operator" { 1 } else { 9 }).collect();
        return values[numbers.below(values.len())].clone();
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return json!(1 + number);
    }
    match schema["type"].as_str() {
        Some("boolean") => json!(name == "present" || number.is_multiple_of(2)),
        Some("integer") => json!(501 + number),
        _ => match (name, schema["format"].as_str()) {
            (_, Some("cidr")) => json!(format!("10.{}.0.0/16", number % 256)),
            ("spiffe", _) => json!("spiffe://cluster.local/ns/shop/sa/*"),
            ("rootTTL", _) => json!("87600h"),
            ("issuerTTL", _) => json!("2160h30m"),
            ("workloadTTL", _) => json!("24h"),
            ("trustDomain", _) => json!("cluster.local"),
            ("methods", _) => json!("GET"),
            ("exact" | "prefix", _) => json!(format!("/n{number}")),
            _ => json!(format!("n{number}")),
        },
    }
}
