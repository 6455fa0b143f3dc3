//! What routes make of a request: which rule takes it, and what each backend of that gets.

use std::sync::Arc;

use mesh_l7::request::Request;
use mesh_l7::table::route::{Backend as Reference, Backends, Destination, RouteRule};
use mesh_l7::table::{RouteEntry, RouteTable};

use super::asked::{Asked, Bad};
use crate::relay::engine::decide::{self, Backend, Decide, Decision};
use crate::relay::engine::record::Ending;
use crate::relay::engine::routes::{Routes, Services};
use crate::relay::routing::{Dialled, Routing};

/// What becomes of a request at the source.
#[derive(Debug, Default)]
pub(super) struct Routed {
    /// `<kind>/<namespace>/<name>` of the route; empty where none takes the request.
    pub route: String,
    /// Its rule.
    pub rule: String,
    /// What each backend that has a share gets.
    pub shares: Vec<Share>,
}

/// A backend's share of the requests of a rule.
#[derive(Debug)]
pub(super) struct Share {
    /// Such as `shop/cart:80`.
    pub backend: String,
    /// Relative to the others'.
    pub weight: u32,
    /// What happens to its share.
    pub outcome: Outcome,
}

/// What happens to a request.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It goes to one of these endpoints, in this form.
    Sent(Box<Asked>, Arc<Backend>),
    /// A route answers by itself.
    Answered(http::Response<bytes::Bytes>),
    /// It is refused.
    Refused(Ending, Bad),
}

/// Follows a request through the routes of the port that was dialled.
pub(super) fn follow(
    table: &Arc<RouteTable>,
    asked: &Asked,
    dialled: &Dialled,
    routing: &Arc<Routing>,
    v4: bool,
) -> Routed {
    let found = {
        let head = &asked.head;
        let (query, host) = (head.uri().query(), asked.host.as_ref());
        let request = Request::new(head.method(), &asked.path, query, head.headers(), host);
        table.find(&request).map(|found| (found.rule.clone(), found.entry))
    };
    let Some((rule, entry)) = found else {
        let outcome = outcome(Arc::clone(table), asked, dialled, routing, v4);
        return Routed {
            shares: vec![Share { backend: String::new(), weight: 1, outcome }],
            ..Routed::default()
        };
    };
    let with_share = rule.backends.list().iter().filter(|backend| backend.weight > 0);
    let mut alone: Vec<Option<&Reference>> = with_share.map(Some).collect();
    if alone.is_empty() {
        // A redirect needs no backend, and without one anything else is refused.
        alone.push(None);
    }
    let shares = alone.into_iter().filter_map(|backend| {
        let table = only(table, entry, &rule, backend)?;
        Some(Share {
            backend: backend.map(|backend| name(&backend.destination)).unwrap_or_default(),
            weight: backend.map_or(1, |backend| backend.weight),
            outcome: outcome(Arc::new(table), asked, dialled, routing, v4),
        })
    });
    let shares = shares.collect();
    Routed { route: rule.route.to_string(), rule: rule.name.to_string(), shares }
}

/// The table with just the entry that matched, and of its rule just one backend: the engine's own
/// decision then has nothing to pick.
fn only(
    table: &RouteTable,
    entry: usize,
    rule: &RouteRule,
    backend: Option<&Reference>,
) -> Option<RouteTable> {
    let matches = table.entries().get(entry)?.matches.clone();
    let rule = RouteRule { backends: Backends::new(backend.cloned().into_iter().collect()), ..rule.clone() };
    RouteTable::new(table.kind(), vec![RouteEntry { matches, rule: 0 }], vec![rule]).ok()
}

fn outcome(
    table: Arc<RouteTable>,
    asked: &Asked,
    dialled: &Dialled,
    routing: &Arc<Routing>,
    v4: bool,
) -> Outcome {
    let services = Only { table, routing: Arc::clone(routing), v4 };
    let routes = Routes::new(services, dialled.destination.clone(), dialled.host.clone(), dialled.port);
    let mut head = http::Request::new(());
    *head.method_mut() = asked.head.method().clone();
    *head.uri_mut() = asked.head.uri().clone();
    *head.version_mut() = asked.head.version();
    *head.headers_mut() = asked.head.headers().clone();
    let decided = routes
        .decide(&mut decide::Asked { head: &mut head, path: &asked.path, host: asked.host.as_ref() }, &|| 0);
    match decided {
        Decision::Respond(_, response) => Outcome::Answered(*response),
        Decision::Refuse(_, refusal) => {
            let why = match refusal.detail.as_str() {
                "" => refusal.message.clone(),
                detail => format!("{}: {detail}", refusal.message),
            };
            Outcome::Refused(refusal.ending, Bad { status: refusal.status, why })
        }
        Decision::Forward(forward) => match Asked::sent(head) {
            Ok(sent) => Outcome::Sent(Box::new(sent), forward.backend),
            Err(bad) => Outcome::Refused(Ending::BadRoute, bad),
        },
    }
}

/// A backend, in words.
pub(super) fn name(destination: &Destination) -> String {
    match destination {
        Destination::Service { service, port, .. } => format!("{service}:{port}"),
        Destination::Invalid(why) => format!("(invalid: {why})"),
    }
}

struct Only {
    table: Arc<RouteTable>,
    routing: Arc<Routing>,
    v4: bool,
}

impl Services for Only {
    fn routes(&self) -> Option<Arc<RouteTable>> {
        Some(Arc::clone(&self.table))
    }

    fn backend(&self, destination: &Destination) -> Option<Arc<Backend>> {
        self.routing.backend(destination, self.v4)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use mesh_l7::filter::Filter;
    use mesh_l7::filter::redirect::{Redirect, RedirectStatus};
    use mesh_l7::filter::rewrite::{PathModifier, Rewrite};
    use mesh_l7::matching::{HttpMatch, PathMatch};
    use mesh_l7::table::route::{Backend as Reference, RouteRule};
    use mesh_l7::table::{RouteEntry, RouteKind, RouteTable};

    use super::super::asked::Asked;
    use super::{Outcome, Routed, follow};
    use crate::relay::admin::query::Query;
    use crate::relay::engine::record::Ending;
    use crate::relay::routing::Routing;
    use crate::relay::routing::testing::{address, backend, endpoint, name, rule, service};

    fn followed(target: &str, rules: Vec<(&str, Vec<Filter>, Vec<Reference>)>) -> Routed {
        let routing = Routing::new();
        for number in 0..2 {
            let known = Arc::new(service(number, vec![endpoint(number, true, 1)]));
            routing.set_service(&name(number), Some(&known));
        }
        let entries = rules.iter().enumerate().map(|(rule, (path, ..))| {
            let path = PathMatch::prefix(path).unwrap();
            RouteEntry { matches: HttpMatch::new(path, None, Vec::new(), Vec::new()), rule }
        });
        let entries = entries.collect();
        let rules = rules.into_iter().map(|(_, filters, backends)| RouteRule { filters, ..rule(backends) });
        let table = Arc::new(RouteTable::new(RouteKind::Http, entries, rules.collect()).unwrap());
        let dialled = routing.dialled(SocketAddr::new(address(0, true), 80)).unwrap();
        let query = Query::parse(&format!("method=GET&target={target}"));
        let asked = Asked::read(&query, &dialled.host.to_string()).unwrap().unwrap().unwrap();
        follow(&table, &asked, &dialled, &routing, true)
    }

    #[test]
    fn every_backend_with_a_share_gets_what_the_engine_would_send_it() {
        let path = Some(PathModifier::prefix("/new").unwrap());
        let rewrite = Filter::Rewrite(Rewrite { hostname: None, path });
        let backends =
            vec![backend(Some(0), 90), backend(Some(1), 10), backend(Some(1), 0), backend(None, 5)];
        let routed =
            followed("/old/a?b=c", vec![("/other", vec![], vec![]), ("/old", vec![rewrite], backends)]);
        assert_eq!((routed.route.as_str(), routed.rule.as_str()), ("TCPRoute/shop/r", "rules[0]"));
        let shares: Vec<_> =
            routed.shares.iter().map(|share| (share.backend.as_str(), share.weight)).collect();
        assert_eq!(shares, [("shop/s0:80", 90), ("shop/s1:80", 10), ("(invalid: nobody)", 5)]);
        for (share, number) in routed.shares.iter().zip(0..2) {
            let Outcome::Sent(sent, backend) = &share.outcome else { panic!("{share:?}") };
            assert_eq!(sent.head.uri(), "/new/a?b=c");
            assert_eq!(sent.path.as_str(), "/new/a");
            let there = endpoint(number, true, 1);
            assert_eq!(backend.endpoints, [SocketAddr::new(there.address, there.port)]);
        }
        let Outcome::Refused(Ending::BadRoute, bad) = &routed.shares[2].outcome else { panic!("{routed:?}") };
        assert!(bad.status == 500 && bad.why.contains("nobody"), "{bad:?}");
    }

    #[test]
    fn what_no_endpoint_gets_is_said() {
        let routed = followed("/none", vec![("/old", vec![], vec![backend(Some(0), 1)])]);
        assert!(routed.route.is_empty());
        let [share] = &routed.shares[..] else { panic!("{routed:?}") };
        assert!(matches!(&share.outcome, Outcome::Refused(Ending::NoRoute, bad) if bad.status == 404));
        let status = RedirectStatus::new(301).unwrap();
        let redirect = Redirect { scheme: None, hostname: None, path: None, port: Some(8443), status };
        let routed = followed("/old", vec![("/old", vec![Filter::Redirect(redirect)], vec![])]);
        let [share] = &routed.shares[..] else { panic!("{routed:?}") };
        let Outcome::Answered(response) = &share.outcome else { panic!("{share:?}") };
        assert_eq!(response.status(), 301);
        assert_eq!(response.headers()["location"], "http://s0.shop:8443/old");
    }
}
