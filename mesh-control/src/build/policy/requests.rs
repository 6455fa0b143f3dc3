//! The requests that a rule is about, judged on their own.

use mesh_api::{
    crd::{GrpcRule, HeaderRule, HttpRule, PathRule, PortRule, Protocol},
    resources::{GrpcRequests, HttpRequests, PathMatch, ValueMatch, path_match, value_match},
};

use super::super::{fields::Problem, literal};

/// The requests of a rule: any entry of either list. Both empty = every connection.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Requests {
    pub(super) http: Vec<HttpRequests>,
    pub(super) grpc: Vec<GrpcRequests>,
}

impl Requests {
    /// Whether the rule is about connections, whatever is spoken on them.
    pub(super) fn are_all(&self) -> bool {
        self.http.is_empty() && self.grpc.is_empty()
    }

    /// Whether some request may match both. Where it says not, that is true.
    pub(super) fn may_meet(&self, other: &Self) -> bool {
        if self.are_all() || other.are_all() || !self.grpc.is_empty() || !other.grpc.is_empty() {
            return true;
        }
        let apart = |a: &[String], b: &[String]| {
            !a.is_empty() && !b.is_empty() && !a.iter().any(|value| b.contains(value))
        };
        self.http.iter().any(|a| other.http.iter().any(|b| !apart(&a.methods, &b.methods)))
    }
}

/// Reads the requests of a rule at `path`, whose ports are these.
pub(super) fn read(
    http: Option<Vec<HttpRule>>,
    grpc: Option<Vec<GrpcRule>>,
    ports: Option<&[PortRule]>,
    path: &str,
    problems: &mut Vec<Problem>,
) -> Requests {
    for (field, length) in [("http", http.as_ref().map(Vec::len)), ("grpc", grpc.as_ref().map(Vec::len))] {
        let Some(length) = length else { continue };
        let path = format!("{path}.{field}");
        if length == 0 {
            problems.push(Problem::invalid(&path, "must not be empty; leave it out for every connection"));
        }
        match ports {
            None => problems.push(Problem::invalid(&path, "needs ports; name those that speak HTTP")),
            Some(ports) if ports.iter().any(|port| port.protocol != Protocol::Tcp) => {
                problems
                    .push(Problem::invalid(&path, "needs TCP ports; give the UDP ports a rule of their own"));
            }
            Some(_) => {}
        }
    }
    let http = http.into_iter().flatten().enumerate();
    let grpc = grpc.into_iter().flatten().enumerate();
    Requests {
        http: http
            .map(|(index, entry)| read_http(entry, &format!("{path}.http[{index}]"), problems))
            .collect(),
        grpc: grpc
            .map(|(index, entry)| read_grpc(entry, &format!("{path}.grpc[{index}]"), problems))
            .collect(),
    }
}

fn read_http(entry: HttpRule, path: &str, problems: &mut Vec<Problem>) -> HttpRequests {
    let HttpRule { methods, paths, headers, hosts } = entry;
    if methods.is_none() && paths.is_none() && headers.is_none() && hosts.is_none() {
        problems.push(Problem::invalid(
            path,
            "names no requests; name some, or leave http out for every connection",
        ));
    }
    for (field, length) in [
        ("methods", methods.as_ref().map(Vec::len)),
        ("paths", paths.as_ref().map(Vec::len)),
        ("headers", headers.as_ref().map(Vec::len)),
        ("hosts", hosts.as_ref().map(Vec::len)),
    ] {
        if length == Some(0) {
            problems.push(Problem::invalid(
                &format!("{path}.{field}"),
                "must not be empty; leave it out for any",
            ));
        }
    }
    let methods = methods.unwrap_or_default();
    for (index, method) in methods.iter().enumerate() {
        if let Some(fault) = literal::method_problem(method) {
            problems.push(Problem::invalid(&format!("{path}.methods[{index}]"), fault));
        }
    }
    let paths = paths.into_iter().flatten().enumerate();
    let paths = paths
        .filter_map(|(index, rule)| read_path(rule, &format!("{path}.paths[{index}]"), problems))
        .collect();
    let headers = headers.into_iter().flatten().enumerate();
    let headers = headers
        .filter_map(|(index, rule)| read_header(rule, &format!("{path}.headers[{index}]"), problems))
        .collect();
    let hosts = hosts.unwrap_or_default();
    for (index, host) in hosts.iter().enumerate() {
        if let Some(fault) = literal::host_problem(host) {
            problems.push(Problem::invalid(&format!("{path}.hosts[{index}]"), fault));
        }
    }
    HttpRequests { methods, paths, headers, hosts }
}

fn read_path(rule: PathRule, path: &str, problems: &mut Vec<Problem>) -> Option<PathMatch> {
    use path_match::Type::{Exact, Prefix, Regex};
    let PathRule { exact, prefix, regex } = rule;
    let given = [(Exact, "exact", exact), (Prefix, "prefix", prefix), (Regex, "regex", regex)];
    let (type_, field, value) = the_one(given, "exact, prefix and regex", path, problems)?;
    let read = match type_ {
        Regex => literal::expression_problem(&value).map_or(Ok(value), Err),
        Prefix => literal::normal_path(&value).map(|path| literal::without_trailing_slash(&path).to_owned()),
        _ => literal::normal_path(&value),
    };
    let value =
        read.map_err(|fault| problems.push(Problem::invalid(&format!("{path}.{field}"), fault))).ok()?;
    Some(PathMatch { r#type: type_.into(), value })
}

fn read_header(rule: HeaderRule, path: &str, problems: &mut Vec<Problem>) -> Option<ValueMatch> {
    use value_match::Type::{Exact, Prefix, Present, Regex};
    let HeaderRule { name, exact, prefix, regex, present } = rule;
    if let Some(fault) = literal::header_name_problem(&name) {
        problems.push(Problem::invalid(&format!("{path}.name"), fault));
    }
    if present == Some(false) {
        let what = "must be true: a header that must not be there belongs in a Deny rule";
        problems.push(Problem::invalid(&format!("{path}.present"), what));
    }
    let given = [
        (Exact, "exact", exact),
        (Prefix, "prefix", prefix),
        (Regex, "regex", regex),
        (Present, "present", present.map(|_| String::new())),
    ];
    let (type_, field, value) = the_one(given, "exact, prefix, regex and present", path, problems)?;
    let fault = match type_ {
        Regex => literal::expression_problem(&value),
        Present => None,
        _ => literal::header_value_problem(&value),
    };
    if let Some(fault) = fault {
        problems.push(Problem::invalid(&format!("{path}.{field}"), fault));
    }
    Some(ValueMatch { r#type: type_.into(), name: name.to_ascii_lowercase(), value })
}

/// The one field of several that is there.
fn the_one<T, const N: usize>(
    given: [(T, &'static str, Option<String>); N],
    names: &str,
    path: &str,
    problems: &mut Vec<Problem>,
) -> Option<(T, &'static str, String)> {
    let mut there = given.into_iter().filter_map(|(type_, field, value)| Some((type_, field, value?)));
    match (there.next(), there.next()) {
        (Some(one), None) => Some(one),
        (None, _) => {
            problems.push(Problem::invalid(path, format!("exactly one of {names} is needed; it has none")));
            None
        }
        (Some(_), Some(_)) => {
            problems
                .push(Problem::invalid(path, format!("exactly one of {names} is needed; it has several")));
            None
        }
    }
}

fn read_grpc(entry: GrpcRule, path: &str, problems: &mut Vec<Problem>) -> GrpcRequests {
    let GrpcRule { service, method } = entry;
    if service.is_none() && method.is_none() {
        problems.push(Problem::invalid(path, "service or method is needed"));
    }
    if let Some(fault) = service.as_deref().and_then(literal::grpc_service_problem) {
        problems.push(Problem::invalid(&format!("{path}.service"), fault));
    }
    if let Some(fault) = method.as_deref().and_then(literal::grpc_method_problem) {
        problems.push(Problem::invalid(&format!("{path}.method"), fault));
    }
    GrpcRequests { service: service.unwrap_or_default(), method: method.unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use mesh_api::crd::{GrpcRule, HttpRule, PortRule};
    use serde_json::{Value, json};

    use super::{Requests, read};

    fn judge(http: Value, grpc: Value, ports: Value) -> (Requests, Vec<String>) {
        let mut problems = Vec::new();
        let http: Option<Vec<HttpRule>> = serde_json::from_value(http).unwrap();
        let grpc: Option<Vec<GrpcRule>> = serde_json::from_value(grpc).unwrap();
        let ports: Option<Vec<PortRule>> = serde_json::from_value(ports).unwrap();
        let requests = read(http, grpc, ports.as_deref(), "spec.ingress[0]", &mut problems);
        (requests, problems.into_iter().map(|problem| problem.message).collect())
    }

    #[test]
    fn the_forms_of_the_design_are_read() {
        let http = json!([{
            "methods": ["GET"],
            "paths": [{"prefix": "/api/"}, {"exact": "/healthz"}, {"regex": "/v[0-9]+/.*"}],
            "headers": [{"name": "X-Tier", "exact": "gold"}, {"name": "x-id", "present": true}],
            "hosts": ["vault.bank", "*.bank"]
        }]);
        let grpc = json!([{"service": "bank.Vault", "method": "Open"}]);
        let (requests, problems) = judge(http, grpc, json!([{"port": 80}]));
        assert!(problems.is_empty(), "{problems:?}");
        let entry = &requests.http[0];
        assert_eq!(entry.paths[0].value, "/api", "a prefix is by segments");
        assert_eq!(entry.headers[0].name, "x-tier");
        assert_eq!(
            (requests.grpc[0].service.as_str(), requests.grpc[0].method.as_str()),
            ("bank.Vault", "Open")
        );
        assert!(!requests.are_all());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_field() {
        let ports = json!([{"port": 80}]);
        for (http, grpc, ports, told) in [
            (json!([]), json!(null), ports.clone(), "spec.ingress[0].http: must not be empty"),
            (json!([{}]), json!(null), ports.clone(), "http[0]: names no requests"),
            (json!([{"methods": ["GET"]}]), json!(null), json!(null), "http: needs ports"),
            (
                json!([{"methods": ["GET"]}]),
                json!(null),
                json!([{"port": 53, "protocol": "UDP"}]),
                "http: needs TCP ports",
            ),
            (json!([{"methods": ["get"]}]), json!(null), ports.clone(), "http[0].methods[0]: `get`"),
            (json!([{"methods": []}]), json!(null), ports.clone(), "http[0].methods: must not be empty"),
            (json!([{"paths": [{}]}]), json!(null), ports.clone(), "http[0].paths[0]: exactly one of"),
            (
                json!([{"paths": [{"exact": "/a", "regex": "/a"}]}]),
                json!(null),
                ports.clone(),
                "http[0].paths[0]: exactly one of",
            ),
            (json!([{"paths": [{"prefix": "api"}]}]), json!(null), ports.clone(), "paths[0].prefix: `api`"),
            (json!([{"paths": [{"regex": "("}]}]), json!(null), ports.clone(), "paths[0].regex: \"(\""),
            (
                json!([{"headers": [{"name": "a b", "present": true}]}]),
                json!(null),
                ports.clone(),
                "headers[0].name: `a b`",
            ),
            (
                json!([{"headers": [{"name": "a", "present": false}]}]),
                json!(null),
                ports.clone(),
                "headers[0].present: must be true",
            ),
            (json!([{"hosts": ["a.*"]}]), json!(null), ports.clone(), "hosts[0]: `a.*`"),
            (json!(null), json!([{}]), ports.clone(), "grpc[0]: service or method is needed"),
            (json!(null), json!([{"service": "a/b"}]), ports.clone(), "grpc[0].service: `a/b`"),
            (json!(null), json!([{"method": "1"}]), ports, "grpc[0].method: `1`"),
        ] {
            let (_, problems) = judge(http, grpc, ports);
            assert!(problems.len() == 1 && problems[0].contains(told), "{told}: {problems:?}");
        }
    }

    #[test]
    fn methods_that_differ_keep_rules_apart() {
        let of = |methods: Value| judge(json!([{"methods": methods}]), json!(null), json!([{"port": 80}])).0;
        assert!(!of(json!(["GET"])).may_meet(&of(json!(["POST", "PUT"]))));
        assert!(of(json!(["GET", "PUT"])).may_meet(&of(json!(["POST", "PUT"]))));
        assert!(of(json!(["GET"])).may_meet(&Requests::default()));
    }
}
