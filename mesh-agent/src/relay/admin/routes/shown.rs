//! Matches and filters in words.

use mesh_l7::filter::Filter;
use mesh_l7::filter::rewrite::PathModifier;
use mesh_l7::matching::{HttpMatch, PathMatch, ValueMatch};
use mesh_l7::table::route::Destination;

/// What a request has to be.
pub(super) fn request(matches: &HttpMatch) -> String {
    let path = match &matches.path {
        PathMatch::Exact(path) => format!("path {}", path.as_str()),
        PathMatch::Prefix(path) if path.as_str().is_empty() => "any path".to_owned(),
        PathMatch::Prefix(path) => format!("path {} or below", path.as_str()),
        PathMatch::Regex(pattern) => format!("path ~ {}", pattern.as_str()),
    };
    let method = matches.method.as_ref().map(|method| format!("method {method}"));
    [path].into_iter().chain(method).chain(beside(matches)).collect::<Vec<_>>().join(", ")
}

/// What a gRPC call has to be: its path is `/service/method`, its method POST.
pub(super) fn call(matches: &HttpMatch) -> String {
    let call = match &matches.path {
        PathMatch::Exact(path) => format!("call {}", path.as_str()),
        PathMatch::Prefix(path) if path.as_str().is_empty() => "any call".to_owned(),
        PathMatch::Prefix(path) => format!("calls of {}", path.as_str().trim_start_matches('/')),
        PathMatch::Regex(pattern) => format!("calls ~ {}", pattern.as_str()),
    };
    [call].into_iter().chain(beside(matches)).collect::<Vec<_>>().join(", ")
}

fn beside(matches: &HttpMatch) -> impl Iterator<Item = String> {
    let headers = matches.headers().iter();
    let headers = headers.map(|header| format!("header {}", value(header.name.as_str(), &header.value)));
    let queries = matches.queries().iter();
    headers.chain(queries.map(|query| format!("query {}", value(&query.name, &query.value))))
}

fn value(name: &str, matches: &ValueMatch) -> String {
    match matches {
        ValueMatch::Exact(value) => format!("{name} = {value}"),
        ValueMatch::Prefix(value) => format!("{name} = {value}..."),
        ValueMatch::Regex(pattern) => format!("{name} ~ {}", pattern.as_str()),
        ValueMatch::Present => name.to_owned(),
    }
}

/// What a filter does.
pub(super) fn filter(filter: &Filter) -> String {
    match filter {
        Filter::RequestHeaders(modifier) => format!("request headers: {modifier}"),
        Filter::ResponseHeaders(modifier) => format!("response headers: {modifier}"),
        Filter::Redirect(redirect) => {
            let parts = [
                redirect.scheme.map(|scheme| format!("scheme {}", scheme.as_str())),
                redirect.hostname.as_ref().map(|host| format!("host {}", host.as_str())),
                redirect.port.map(|port| format!("port {port}")),
                redirect.path.as_ref().map(path),
            ];
            with(format!("redirect {}", redirect.status), parts)
        }
        Filter::Rewrite(rewrite) => {
            let host = rewrite.hostname.as_ref().map(|host| format!("host {}", host.as_str()));
            with("rewrite".to_owned(), [host, rewrite.path.as_ref().map(path)])
        }
        Filter::Mirror(mirror) => {
            let to = match &mirror.destination {
                Destination::Service { service, port, .. } => format!("{service}:{port}"),
                Destination::Invalid(why) => format!("nowhere ({why})"),
            };
            format!("mirror {} to {to}", mirror.fraction)
        }
        Filter::Cors(_) => "CORS".to_owned(),
    }
}

fn with<const N: usize>(what: String, parts: [Option<String>; N]) -> String {
    [Some(what)].into_iter().chain(parts).flatten().collect::<Vec<_>>().join(", ")
}

fn path(modifier: &PathModifier) -> String {
    match modifier {
        PathModifier::Full(path) => format!("path {}", path.as_str()),
        PathModifier::Prefix(path) => {
            format!("prefix {}", if path.as_str().is_empty() { "/" } else { path.as_str() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{call, filter, request};
    use http::{HeaderName, HeaderValue, Method};
    use mesh_l7::filter::Filter;
    use mesh_l7::filter::headers::HeaderModifier;
    use mesh_l7::filter::mirror::{Fraction, Mirror};
    use mesh_l7::filter::redirect::{Redirect, RedirectStatus};
    use mesh_l7::filter::rewrite::{Hostname, PathModifier, Rewrite};
    use mesh_l7::matching::{HeaderMatch, HttpMatch, PathMatch, Pattern, QueryMatch, ValueMatch};
    use mesh_l7::table::route::{AppProtocol, Destination};

    #[test]
    fn matches_are_told_whole() {
        let header = |value| HeaderMatch { name: HeaderName::from_static("x-a"), value };
        let query = QueryMatch { name: "q".into(), value: ValueMatch::Exact("1".into()) };
        let matched = HttpMatch::new(
            PathMatch::prefix("/a").unwrap(),
            Some(Method::GET),
            vec![header(ValueMatch::Regex(Pattern::new("b.*").unwrap()))],
            vec![query],
        );
        assert_eq!(request(&matched), "path /a or below, method GET, header x-a ~ b.*, query q = 1");
        let any = |path| HttpMatch::new(path, None, Vec::new(), Vec::new());
        assert_eq!(request(&any(PathMatch::prefix("/").unwrap())), "any path");
        assert_eq!(request(&any(PathMatch::exact("/a").unwrap())), "path /a");
        assert_eq!(call(&any(PathMatch::prefix("/pkg.Vault").unwrap())), "calls of pkg.Vault");
        assert_eq!(call(&any(PathMatch::exact("/pkg.Vault/Open").unwrap())), "call /pkg.Vault/Open");
    }

    #[test]
    fn filters_are_told_whole() {
        let set = (HeaderName::from_static("x-a"), HeaderValue::from_static("1"));
        let modifier = HeaderModifier::new(vec![set], Vec::new(), vec![HeaderName::from_static("x-b")]);
        let redirect = Redirect {
            scheme: None,
            hostname: Some(Hostname::parse("shop.example").unwrap()),
            path: Some(PathModifier::full("/new").unwrap()),
            port: Some(8443),
            status: RedirectStatus::new(301).unwrap(),
        };
        let rewrite = Rewrite { hostname: None, path: Some(PathModifier::prefix("/").unwrap()) };
        let destination =
            Destination::Service { service: "shop/v2".into(), port: 80, protocol: AppProtocol::Unknown };
        let mirror = Mirror { destination, fraction: Fraction::new(5, 100).unwrap() };
        for (one, told) in [
            (Filter::RequestHeaders(modifier.unwrap()), "request headers: set x-a: 1, remove x-b"),
            (Filter::Redirect(redirect), "redirect 301, host shop.example, port 8443, path /new"),
            (Filter::Rewrite(rewrite), "rewrite, prefix /"),
            (Filter::Mirror(mirror), "mirror 5/100 to shop/v2:80"),
        ] {
            assert_eq!(filter(&one), told);
        }
    }
}
