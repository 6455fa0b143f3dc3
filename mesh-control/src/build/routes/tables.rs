//! The routes of one Service: which route is for which port and for whose callers, one kind for each, and what it comes
//! to, in the order in which the first match decides.

use std::{cmp::Reverse, collections::BTreeMap};

use mesh_api::{
    crd::Protocol,
    resources::{self, ConsumerTable, PortRoutes, RouteEntry, RouteRule, RouteTable, ServiceRoutes},
};

use super::{
    super::{narrow::protocol, service::ServiceView},
    parents::NotAttached,
    read::{Draft, Rule},
    reference::Services,
};
use crate::objects::{ObjectName, RouteKind, RouteName};

/// What a rule that cannot be taken over is answered with (RFC 9110 section 15.6.1).
const FAILED: u32 = 500;

/// What became of a Service's routes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Built {
    /// What nodes are sent; nothing where no route is for any port.
    pub(super) routes: Option<ServiceRoutes>,
    /// Of every parent that is this Service, by the route and the parent's place: whether it is attached.
    pub(super) outcomes: BTreeMap<(RouteName, usize), Result<(), NotAttached>>,
    /// The routes that shaped it.
    pub(super) origins: Vec<RouteName>,
}

/// Entries of a table, at most: more than that nodes do not take.
const ENTRIES: usize = mesh_l7::table::ENTRY_LIMIT;

/// Whose callers a route is for: everybody's (nothing), or those of its own namespace.
type Audience<'a> = Option<&'a str>;

/// The routes that want a port, for one audience. A route is there once, however many of its parents say so.
#[derive(Debug, Default)]
struct Claims<'a>(Vec<(&'a Draft, Vec<usize>)>);

/// Puts together what routes say of a Service.
pub(super) fn build(
    name: &ObjectName,
    view: Option<&ServiceView>,
    drafts: &[&Draft],
    services: &Services<'_>,
) -> Built {
    let mut built = Built::default();
    let mut claims: BTreeMap<(Protocol, u16), BTreeMap<Audience<'_>, Claims<'_>>> = BTreeMap::new();
    let mut drafts = drafts.to_vec();
    drafts.sort_by_key(|draft| age(draft));
    for draft in drafts {
        let own = draft.name.name.namespace == name.namespace;
        let audience = (!own).then_some(draft.name.name.namespace.as_str());
        for (place, parent) in draft.parents.iter().enumerate() {
            let Ok(target) = parent.target.as_ref() else { continue };
            if target.service != *name {
                continue;
            }
            match target.ports(draft.name.kind, view) {
                Err(why) => {
                    built.outcomes.insert((draft.name.clone(), place), Err(why));
                }
                Ok(ports) => {
                    for port in ports {
                        claims.entry(port).or_default().entry(audience).or_default().add(draft, place);
                    }
                }
            }
        }
    }
    let mut ports = Vec::new();
    for ((of, port), audiences) in claims {
        let mut routes =
            PortRoutes { protocol: protocol(of).into(), port: port.into(), ..PortRoutes::default() };
        for (audience, claims) in audiences {
            let (kind, winners) = claims.settle(name, port, &mut built.outcomes);
            built.origins.extend(winners.iter().map(|draft| draft.name.clone()));
            let table = table(kind, &winners, services);
            match audience {
                None => routes.producer = Some(table),
                Some(namespace) => {
                    routes
                        .consumers
                        .push(ConsumerTable { namespace: namespace.to_owned(), table: Some(table) });
                }
            }
        }
        ports.push(routes);
    }
    built.origins.sort();
    built.origins.dedup();
    built.routes = (!ports.is_empty()).then(|| ServiceRoutes {
        namespace: name.namespace.clone(),
        name: name.name.clone(),
        ports,
    });
    built
}

/// The older goes first, then the one that is first in the alphabet. One of which nobody knows how old it is goes last.
fn age(draft: &Draft) -> (bool, String, ObjectName) {
    (draft.created.is_empty(), draft.created.clone(), draft.name.name.clone())
}

impl<'a> Claims<'a> {
    fn add(&mut self, draft: &'a Draft, place: usize) {
        match self.0.iter_mut().find(|(known, _)| known.name == draft.name) {
            Some((_, places)) => places.push(place),
            None => self.0.push((draft, vec![place])),
        }
    }

    /// One kind counts, and of kinds without matches one route. A parent that was given another port is attached.
    fn settle(
        self,
        service: &ObjectName,
        port: u16,
        outcomes: &mut BTreeMap<(RouteName, usize), Result<(), NotAttached>>,
    ) -> (RouteKind, Vec<&'a Draft>) {
        let kind = self.0.iter().map(|(draft, _)| draft.name.kind).min().unwrap_or(RouteKind::Http);
        let counts_alone = matches!(kind, RouteKind::Tcp | RouteKind::Udp);
        let mut winners: Vec<&Draft> = Vec::new();
        let mut entries = 0;
        for (draft, places) in self.0 {
            let is_room =
                if counts_alone { winners.is_empty() } else { entries + draft.entries() <= ENTRIES };
            let wins = draft.name.kind == kind && is_room;
            for place in places {
                let outcome = outcomes.entry((draft.name.clone(), place));
                if wins {
                    *outcome.or_insert(Ok(())) = Ok(());
                    continue;
                }
                outcome.or_insert_with(|| {
                    let what = if draft.name.kind != kind {
                        format!("it has a {}, which goes before a {}", kind.name(), draft.name.kind.name())
                    } else if counts_alone {
                        "an older route of the same kind is there, and one alone can count".to_owned()
                    } else {
                        format!("older routes have matches for it, and {ENTRIES} are taken together at most")
                    };
                    Err(("Conflicted", format!("port {port} of Service {service}: {what}")))
                });
            }
            if wins {
                entries += draft.entries();
                winners.push(draft);
            }
        }
        (kind, winners)
    }
}

/// What routes of one kind come to, the oldest first.
fn table(kind: RouteKind, drafts: &[&Draft], services: &Services<'_>) -> RouteTable {
    let mut table = RouteTable { kind: resource_kind(kind).into(), ..RouteTable::default() };
    let mut entries = Vec::new();
    for draft in drafts {
        for rule in &draft.rules {
            let index = u32::try_from(table.rules.len()).unwrap_or(u32::MAX);
            table.rules.push(route_rule(draft, rule, services));
            match kind {
                RouteKind::Http | RouteKind::Grpc => {
                    for matched in &rule.matches {
                        let http = Some(matched.http.clone());
                        let entry = RouteEntry { rule: index, http, server_name: String::new() };
                        entries.push((Place::Request(matched.rank), entry));
                    }
                }
                RouteKind::Tls => {
                    for name in &draft.server_names {
                        let entry = RouteEntry { rule: index, http: None, server_name: name.clone() };
                        entries.push((Place::of_server(name), entry));
                    }
                }
                RouteKind::Tcp | RouteKind::Udp => {
                    let entry = RouteEntry { rule: index, http: None, server_name: String::new() };
                    entries.push((Place::of_server(""), entry));
                }
            }
        }
    }
    // Stable: what is equal stays in the order of routes, rules and matches.
    entries.sort_by_key(|(place, _)| *place);
    table.entries = entries.into_iter().map(|(_, entry)| entry).collect();
    table
}

/// Where an entry stands among those of one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Request(super::matches::Rank),
    /// Names before patterns before any, and the longer before the shorter.
    Server(ServerName, Reverse<usize>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ServerName {
    Exact,
    Pattern,
    Any,
}

impl Place {
    fn of_server(name: &str) -> Self {
        let kind = match name {
            "" => ServerName::Any,
            name if name.starts_with("*.") => ServerName::Pattern,
            _ => ServerName::Exact,
        };
        Self::Server(kind, Reverse(name.len()))
    }
}

fn route_rule(draft: &Draft, rule: &Rule, services: &Services<'_>) -> RouteRule {
    let named = RouteRule { route: draft.name.to_string(), rule: rule.name.clone(), ..RouteRule::default() };
    if rule.fails {
        return RouteRule { fail_status: FAILED, ..named };
    }
    let kind = draft.name.kind;
    // What is wrong with references is told once, in the route's status.
    let mut told = Vec::new();
    RouteRule {
        filters: rule.filters.iter().map(|filter| filter.resolve(kind, services, &mut told)).collect(),
        backends: rule.backends.iter().map(|backend| backend.resolve(kind, services, &mut told)).collect(),
        timeouts: rule.timeouts,
        retry: rule.retry.clone(),
        ..named
    }
}

fn resource_kind(kind: RouteKind) -> resources::RouteKind {
    match kind {
        RouteKind::Grpc => resources::RouteKind::Grpc,
        RouteKind::Http => resources::RouteKind::Http,
        RouteKind::Tls => resources::RouteKind::Tls,
        RouteKind::Tcp => resources::RouteKind::Tcp,
        RouteKind::Udp => resources::RouteKind::Udp,
    }
}
