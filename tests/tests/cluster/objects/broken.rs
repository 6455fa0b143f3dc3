//! Objects broken in one place each: what a schema forbids, found by walking it, and what only people think of.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::good::{Numbers, Step, at, good, place, places};

/// What must come of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected {
    /// The API server refuses it.
    Refused,
    /// The controller gives it this condition with status False.
    Told(&'static str),
    /// One of the two.
    Either(&'static str),
}

impl Expected {
    /// The condition that the controller may give.
    pub(super) fn condition(&self) -> Option<&'static str> {
        match self {
            Self::Refused => None,
            Self::Told(kind) | Self::Either(kind) => Some(kind),
        }
    }

    /// Whether the API server may refuse it.
    pub(super) fn may_be_refused(&self) -> bool {
        !matches!(self, Self::Told(_))
    }
}

/// A bad object.
#[derive(Debug, Clone)]
pub(super) struct Broken {
    /// What was done to it.
    pub(super) what: String,
    pub(super) kind: String,
    pub(super) object: Value,
    pub(super) expected: Expected,
    /// What whoever refuses it must name.
    pub(super) named: String,
}

/// The root of an object's schema without what the API server itself adds.
pub(super) fn root(definition: &Value) -> Value {
    let mut root = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
    if let Some(fields) = root["properties"].as_object_mut() {
        fields.retain(|name, _| name == "spec");
    }
    root
}

/// Every place of every definition, broken in every way that its schema knows.
pub(super) fn by_schema(definition: &Value, numbers: &mut Numbers) -> Vec<Broken> {
    let kind = definition["spec"]["names"]["kind"].as_str().expect("a kind");
    let root = root(definition);
    let mut found = Vec::new();
    places(&root, &mut Vec::new(), &mut found);
    let mut all = Vec::new();
    for (path, schema) in found {
        let base = good(&root, "", &path, numbers);
        let more = without_a_value(&root, &path);
        for way in ways(schema, &path, numbers, all.len()).into_iter().chain(more) {
            let mut object = base.clone();
            *at(&mut object, &path) = way.value;
            let what = format!("{kind} {}: {}", place(&path), way.what);
            all.push(Broken {
                what,
                kind: kind.to_owned(),
                object,
                expected: way.expected,
                named: way.named,
            });
        }
    }
    all
}

/// One way to break a place.
struct Way {
    what: String,
    value: Value,
    expected: Expected,
    named: String,
}

fn ways(schema: &Value, path: &[Step], numbers: &mut Numbers, serial: usize) -> Vec<Way> {
    let mut ways = Vec::new();
    let named = place(path);
    let mut refused = |what: &str, value: Value| {
        let way = Way { what: what.to_owned(), value, expected: Expected::Refused, named: named.clone() };
        ways.push(way);
    };
    let name = path.iter().rev().find_map(|step| match step {
        Step::Field(name) => Some(name.as_str()),
        Step::Element | Step::Key => None,
    });
    let mut sound = || good(schema, name.unwrap_or_default(), &[], numbers);
    let bound = |keyword: &str| schema[keyword].as_f64().map(|bound| bound as i64);
    let many = |keyword: &str| bound(keyword).and_then(|bound| usize::try_from(bound).ok());
    let kind = schema["type"].as_str();
    if !path.is_empty() {
        let others = [json!(7), json!("text"), json!(true), json!(["text"]), json!({"field": "text"})];
        let is_wrong = |value: &Value| match kind {
            Some("string") => !value.is_string(),
            Some("integer") => !value.is_number(),
            Some("boolean") => !value.is_boolean(),
            Some("array") => !value.is_array(),
            Some("object") => !value.is_object(),
            // A port by number or name.
            _ => !value.is_string() && !value.is_number(),
        };
        let wrong: Vec<Value> = others.into_iter().filter(is_wrong).collect();
        let serial = serial % wrong.len();
        refused("of another type", wrong[serial].clone());
    }
    if let Some(least) = bound("minimum") {
        refused("below the least", json!(least - 1));
    }
    if let Some(most) = bound("maximum") {
        refused("above the most", json!(most + 1));
    }
    if schema["x-kubernetes-int-or-string"] == true {
        for port in [json!(0), json!(-1), json!(65536), json!(""), json!("8080"), json!("Http"), json!("-a")]
        {
            refused(&format!("the port {port}"), port);
        }
    }
    if let Some(values) = schema["enum"].as_array() {
        refused("none of the values", json!("Nonsense"));
        let first = values[0].as_str().unwrap_or_default();
        if !first.is_empty() {
            refused("in other letters", json!(first.to_ascii_lowercase() + "S"));
        }
    } else if kind == Some("string") {
        if let Some(most) = many("maxLength") {
            refused("too long", json!("a".repeat(most + 1)));
        }
        if schema["format"] == "cidr" {
            for cidr in ["10.0.0.0", "10.0.0.0/33", "fd00::/129", "somewhere", "::ffff:10.0.0.0/104", ""] {
                refused(&format!("the range {cidr}"), json!(cidr));
            }
        } else if schema["pattern"].is_string() || named.ends_with("TTL") {
            refused("of no such form", json!("! no such form"));
        }
        if named.ends_with("TTL") {
            for life in ["1s", "999999h", "1d", "-1h", ""] {
                refused(&format!("the life {life}"), json!(life));
            }
        }
    }
    if kind == Some("array") {
        if many("minItems").is_some_and(|least| least > 0) {
            refused("empty", json!([]));
        }
        if let Some(most) = many("maxItems") {
            refused("too many", json!(vec![sound()[0].clone(); most + 1]));
        }
    }
    if let Some(most) = many("maxProperties") {
        let keys = (0..=most).map(|number| (format!("k{number}"), json!("v")));
        refused("too many", Value::Object(keys.collect()));
    }
    if schema["properties"].is_object() {
        let sound = sound();
        for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let mut value = sound.clone();
            value.as_object_mut().expect("a map").remove(required);
            let named = if named.is_empty() { required.to_owned() } else { format!("{named}.{required}") };
            let what = format!("without {required}");
            ways.push(Way { what, value, expected: Expected::Refused, named });
        }
        let mut value = sound;
        // Names are quoted in what the controller says, so that `misspelt1` is not found in `misspelt12`.
        let field = format!("misspelt{serial}x");
        value[field.as_str()] = json!("x");
        let what = "with a field that there is not".to_owned();
        ways.push(Way { what, value, expected: Expected::Told("Accepted"), named: field });
    }
    ways
}

/// A place with nothing in it. Of a rule or a selector that is never what is meant; elsewhere it stands for the default.
fn without_a_value(root: &Value, path: &[Step]) -> Option<Way> {
    let (last, above) = path.split_last()?;
    let mut parent = root;
    for step in above {
        parent = match step {
            Step::Field(name) => &parent["properties"][name.as_str()],
            Step::Element => &parent["items"],
            Step::Key => &parent["additionalProperties"],
        };
    }
    // What MeshConfig leaves out for some namespaces is as for all.
    let of_namespaces = path.get(1) == Some(&Step::Field("namespaces".to_owned()));
    let strict = (above.contains(&Step::Element) && !of_namespaces) || *last == Step::Key;
    let is_needed = match last {
        Step::Field(name) => parent["required"].as_array().is_some_and(|all| all.contains(&json!(name))),
        Step::Element => true,
        Step::Key => false,
    };
    // The API server takes it for one that is left out, and it may be the one that is needed.
    let (expected, named) = match (strict, is_needed) {
        (_, true) => (Expected::Refused, place(path)),
        (true, false) => (Expected::Either("Accepted"), place(above)),
        (false, false) => return None,
    };
    let what = "without a value".to_owned();
    Some(Way { what, value: Value::Null, expected, named })
}

/// Fields that do not go together and names that lead nowhere, as people get them wrong.
pub(super) fn by_hand() -> Vec<Broken> {
    let mut all = Vec::new();
    let rule = |direction: &str, rule: Value| (format!("spec.{direction}[0]"), json!({direction: [rule]}));
    let mut shared: Vec<(String, Value, Expected, &str)> = Vec::new();
    for direction in ["ingress", "egress"] {
        let peers = if direction == "ingress" { "from" } else { "to" };
        for (field, value) in
            [("jwt", json!({"issuer": "https://idp.example"})), ("limit", json!({"requests": 100}))]
        {
            let (_, spec) = rule(direction, json!({field: value, "ports": [{"port": 80}]}));
            shared.push((format!("{field} is not built"), spec, Expected::Refused, field));
        }
        for (what, ports, entry, expected, named) in [
            ("requests without ports", json!(null), json!({"methods": ["GET"]}), Expected::Refused, "ports"),
            (
                "requests on UDP",
                json!([{"port": 53, "protocol": "UDP"}]),
                json!({"methods": ["GET"]}),
                Expected::Refused,
                "TCP",
            ),
            ("no requests", json!([{"port": 80}]), json!({}), Expected::Refused, "http"),
            (
                "a path in two ways",
                json!([{"port": 80}]),
                json!({"paths": [{"exact": "/a", "prefix": "/a"}]}),
                Expected::Refused,
                "paths",
            ),
            (
                "a header that is not there",
                json!([{"port": 80}]),
                json!({"headers": [{"name": "a", "present": false}]}),
                Expected::Refused,
                "present",
            ),
            (
                "an expression that is none",
                json!([{"port": 80}]),
                json!({"paths": [{"regex": "("}]}),
                Expected::Told("Accepted"),
                "paths[0].regex",
            ),
            (
                "a path that is not normalised",
                json!([{"port": 80}]),
                json!({"paths": [{"prefix": "/a/../b"}]}),
                Expected::Told("Accepted"),
                "paths[0].prefix",
            ),
        ] {
            let mut of_requests = json!({"http": [entry]});
            if !ports.is_null() {
                of_requests["ports"] = ports;
            }
            let (_, spec) = rule(direction, of_requests);
            shared.push((what.to_owned(), spec, expected, named));
        }
        for (what, ports) in [
            ("a range that ends before it begins", json!([{"port": 9000, "endPort": 8999}])),
            ("a range that begins with a name", json!([{"port": "http", "endPort": 9000}])),
        ] {
            let (_, spec) = rule(direction, json!({"ports": ports}));
            shared.push((what.to_owned(), spec, Expected::Refused, "endPort"));
        }
        let (path, spec) = rule(direction, json!({peers: [{}]}));
        shared.push((format!("{path} names nobody"), spec, Expected::Refused, peers));
        for (operator, values) in [("In", json!([])), ("NotIn", json!([])), ("Exists", json!(["a"]))] {
            let selector =
                json!({"matchExpressions": [{"key": "app", "operator": operator, "values": values}]});
            let (_, spec) = rule(direction, json!({peers: [{"pods": selector, "namespaces": ["shop"]}]}));
            shared.push((format!("{operator} with {values}"), spec, Expected::Refused, "values"));
        }
        for (what, entry, named) in [
            ("a namespace", json!({"namespaces": ["nowhere"]}), "nowhere"),
            ("a service account", json!({"serviceAccounts": ["nobody"], "namespaces": ["shop"]}), "nobody"),
            ("a trust domain", json!({"spiffe": ["spiffe://else.where/ns/shop/sa/a"]}), "else.where"),
        ] {
            let (_, spec) = rule(direction, json!({peers: [entry]}));
            shared.push((format!("{what} that there is not"), spec, Expected::Told("ResolvedRefs"), named));
        }
    }
    let (_, spec) = rule("ingress", json!({"mtls": "Off"}));
    shared.push(("mtls Off for what arrives".to_owned(), spec, Expected::Refused, "mtls"));
    let service = json!([{"name": "gone", "namespace": "shop"}]);
    let (_, spec) = rule("egress", json!({"to": [{"services": service, "cidrs": ["10.0.0.0/8"]}]}));
    shared.push(("services and others".to_owned(), spec, Expected::Refused, "services"));
    let (_, spec) = rule("egress", json!({"to": [{"services": service}]}));
    shared.push((
        "a Service that there is not".to_owned(),
        spec,
        Expected::Told("ResolvedRefs"),
        "shop/gone",
    ));
    let (_, spec) = rule("egress", json!({"to": [{"fqdns": ["*.example.com"]}]}));
    shared.push(("fqdns are not built".to_owned(), spec, Expected::Refused, "fqdns"));
    shared.push(("of no direction".to_owned(), json!({}), Expected::Refused, "ingress or egress"));

    let mut add = |kind: &str, own: Value, more: &Value, what: String, expected: Expected, named: &str| {
        let mut spec = own;
        for (field, value) in more.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        let (kind, named) = (kind.to_owned(), named.to_owned());
        let what = format!("{kind}: {what}");
        all.push(Broken { what, kind, object: json!({"spec": spec}), expected, named });
    };
    for (what, spec, expected, named) in shared {
        let own = json!({"selector": {"matchLabels": {"app": "none"}}});
        add("AccessPolicy", own, &spec, what.clone(), expected.clone(), named);
        let own =
            json!({"tier": "Admin", "priority": 5, "subject": {"pods": {"matchLabels": {"app": "none"}}}});
        add("ClusterAccessPolicy", own, &spec, what, expected, named);
    }
    let service = json!([{"kind": "Service", "name": "gone"}]);
    for (what, spec, expected, named) in [
        (
            "selector and targetRefs",
            json!({"selector": {}, "targetRefs": service, "ingress": []}),
            Expected::Refused,
            "targetRefs",
        ),
        ("no selector", json!({"ingress": []}), Expected::Refused, "selector"),
        (
            "Pass",
            json!({"selector": {}, "ingress": [{"action": "Pass"}]}),
            Expected::Refused,
            "spec.ingress[0].action",
        ),
        (
            "a target that there is not",
            json!({"targetRefs": service, "ingress": []}),
            Expected::Told("ResolvedRefs"),
            "targetRefs",
        ),
        (
            "an account of the own namespace that there is not",
            json!({"selector": {"matchLabels": {"app": "none"}}, "ingress": [{"from": [{"serviceAccounts": ["nobody"]}]}]}),
            Expected::Told("ResolvedRefs"),
            "nobody",
        ),
    ] {
        add("AccessPolicy", spec, &Value::Null, what.to_owned(), expected, named);
    }
    let account = json!([{"from": [{"serviceAccounts": ["a"]}]}]);
    for (what, spec, named) in [
        (
            "Pass in the Baseline tier",
            json!({"tier": "Baseline", "subject": {}, "ingress": [{"action": "Pass"}]}),
            "ingress",
        ),
        (
            "an account of no namespace",
            json!({"tier": "Admin", "subject": {}, "ingress": account}),
            "serviceAccounts",
        ),
        (
            "a Service of no namespace",
            json!({"tier": "Admin", "subject": {}, "egress": [{"to": [{"services": [{"name": "a"}]}]}]}),
            "namespace",
        ),
    ] {
        add("ClusterAccessPolicy", spec, &Value::Null, what.to_owned(), Expected::Refused, named);
    }
    for (what, ca, named) in [
        ("an issuer shorter than what it issues", json!({"issuerTTL": "25h"}), "issuerTTL"),
        ("a root shorter than what it issues", json!({"rootTTL": "2160h"}), "rootTTL"),
        ("all together", json!({"rootTTL": "1h", "issuerTTL": "50m", "workloadTTL": "40m"}), "issuerTTL"),
    ] {
        add("MeshConfig", json!({"ca": ca}), &Value::Null, what.to_owned(), Expected::Refused, named);
    }
    all
}

/// As many sorts of breakage as there are, for the record.
pub(super) fn tally(all: &[Broken]) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for broken in all {
        *tally.entry(format!("{} {:?}", broken.kind, broken.expected)).or_default() += 1;
    }
    tally
}
