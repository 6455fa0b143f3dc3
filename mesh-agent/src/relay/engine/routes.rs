//! The source's decision: which rule of the routes a request gets, and what that makes of it.
//!
//! The table is asked for anew with each request, so a route that changes holds for the next one on
//! every open connection; a request that is under way keeps the rule it has.

use std::rc::Rc;
use std::sync::Arc;

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderValue, StatusCode, Uri};
use mesh_l7::filter::redirect::Scheme;
use mesh_l7::filter::{Arrival, Changes, Filter, Outcome, on_request, on_response, origin_of};
use mesh_l7::host::Host;
use mesh_l7::ids::request_id;
use mesh_l7::request::Request;
use mesh_l7::table::RouteTable;
use mesh_l7::table::route::{AppProtocol, Destination};

use super::decide::{Asked, Backend, ChangeAnswer, Decide, Decision, Forward, Mirror, Protocol, Refusal};
use super::record::Ending;
use super::record::Labels;

/// What is known of the Services that a connection may lead to.
pub(crate) trait Services {
    /// The routes of the port that was dialled, as they are for this caller now; `None` where there are
    /// none.
    fn routes(&self) -> Option<Arc<RouteTable>>;

    /// The ready endpoints of a backend now; `None` where this node knows none of that name.
    fn backend(&self, destination: &Destination) -> Option<Arc<Backend>>;
}

/// The routes of one connection.
pub(crate) struct Routes<S> {
    services: S,
    /// The Service and port that were dialled.
    dialled: Destination,
    /// The same as a host, for requests that name none.
    host: Host,
    port: u16,
}

/// What a backend's `appProtocol` says of its connections.
pub(crate) fn protocol(said: AppProtocol) -> Protocol {
    match said {
        AppProtocol::Http1 | AppProtocol::WebSocket => Protocol::Http1,
        AppProtocol::Http2 | AppProtocol::Grpc => Protocol::Http2,
        AppProtocol::Unknown | AppProtocol::Tcp | AppProtocol::Tls => Protocol::AsReceived,
    }
}

impl<S: Services> Routes<S> {
    /// Of a connection to a port of a Service; `host` is what stands for it in a URL.
    pub(crate) fn new(services: S, dialled: Destination, host: Host, port: u16) -> Self {
        Self { services, dialled, host, port }
    }

    /// Decides by the table, having noted the rule.
    fn routed(
        &self,
        table: &Arc<RouteTable>,
        asked: &mut Asked<'_>,
        random: &dyn Fn() -> u64,
        labels: &mut Labels,
    ) -> Result<Step, Refusal> {
        let (method, uri) = (asked.head.method().clone(), asked.head.uri().clone());
        let request = Request::new(&method, asked.path, uri.query(), asked.head.headers(), asked.host);
        let found = table.find(&request).ok_or_else(|| {
            let message = "no rule of the routes of this Service matches the request";
            Refusal::new(StatusCode::NOT_FOUND, Ending::NoRoute, message)
        })?;
        let (rule, prefix) = (found.rule, found.prefix.map(str::to_owned));
        labels.route = Some(Arc::clone(&rule.route));
        labels.rule = Some(Arc::clone(&rule.name));
        if let Some(status) = rule.fail {
            return Err(bad_route(status, "the controller refuses this rule; see the route's status"));
        }
        let origin = origin_of(asked.head.headers()).cloned();
        let arrival = Arrival {
            method: &method,
            scheme: Scheme::Http,
            port: self.port,
            host: asked.host.unwrap_or(&self.host),
            path: asked.path.as_str(),
            query: uri.query(),
            prefix: prefix.as_deref(),
        };
        let mut changes = match self.filter(&rule.filters, &arrival, asked)? {
            Outcome::Forward(changes) => changes,
            Outcome::Answer(answer) => return Ok(Step::Answer(answer)),
        };
        let nowhere =
            || bad_route(StatusCode::INTERNAL_SERVER_ERROR, "the rule has no backend for this request");
        let picked = rule.backends.pick(random()).ok_or_else(nowhere)?;
        if let Destination::Invalid(why) = &picked.destination {
            return Err(nowhere().detail(format!("{} {}: {why}", rule.route, rule.name)));
        }
        match self.filter(&picked.filters, &arrival, asked)? {
            Outcome::Forward(Changes { path, host, mirrors }) => {
                changes.path = path.or(changes.path);
                changes.host = host.or(changes.host);
                changes.mirrors.extend(mirrors);
            }
            Outcome::Answer(answer) => return Ok(Step::Answer(answer)),
        }
        let mirrors = changes.mirrors.iter().filter(|mirror| mirror.fraction.takes(random()));
        let mirrors = mirrors.filter_map(|mirror| self.services.backend(&mirror.destination));
        let mirrors: Vec<_> = mirrors.map(|backend| Mirror { backend }).collect();
        rewrite(asked, &changes)?;
        let unknown =
            || bad_route(StatusCode::INTERNAL_SERVER_ERROR, "the backend of the rule is not known here");
        let backend = self.services.backend(&picked.destination).ok_or_else(unknown)?;
        let of_rule = table.rules().iter().position(|known| std::ptr::eq(known, rule));
        let of_backend = rule.backends.list().iter().position(|known| std::ptr::eq(known, picked));
        let filtered = !rule.filters.is_empty() || !picked.filters.is_empty();
        let answer = of_rule.zip(of_backend).filter(|_| filtered);
        let answer = answer.map(|at| answers(Arc::clone(table), at, origin));
        let (timeouts, retry) = (rule.timeouts, rule.retry.clone().map(Arc::new));
        Ok(Step::Forward(Forward {
            labels: Labels::default(),
            backend,
            timeouts,
            retry,
            mirrors,
            answer,
            endpoint: Rc::default(),
            revoked: None,
        }))
    }

    fn filter<'f>(
        &self,
        filters: &'f [Filter],
        arrival: &Arrival<'_>,
        asked: &mut Asked<'_>,
    ) -> Result<Outcome<'f>, Refusal> {
        on_request(filters, arrival, asked.head.headers_mut()).map_err(|error| {
            bad_route(StatusCode::INTERNAL_SERVER_ERROR, "a filter of the rule cannot be applied")
                .detail(error.to_string())
        })
    }
}

/// What a rule makes of a request.
enum Step {
    Answer(http::Response<()>),
    Forward(Forward),
}

/// A rule that cannot be followed; to a caller of gRPC it is unavailable.
fn bad_route(status: StatusCode, message: &str) -> Refusal {
    Refusal { grpc: Some(14), ..Refusal::new(status, Ending::BadRoute, message) }
}

/// Changes target and host as the filters have it.
fn rewrite(asked: &mut Asked<'_>, changes: &Changes<'_>) -> Result<(), Refusal> {
    let unfit = || {
        bad_route(StatusCode::INTERNAL_SERVER_ERROR, "a rewrite of the rule makes no target of the request")
    };
    if let Some(path) = &changes.path {
        let target = match asked.head.uri().query() {
            Some(query) => format!("{path}?{query}"),
            None => path.clone(),
        };
        *asked.head.uri_mut() = Uri::from(PathAndQuery::try_from(target).map_err(|_| unfit())?);
    }
    if let Some(host) = changes.host {
        asked.head.headers_mut().insert(HOST, HeaderValue::from_str(host).map_err(|_| unfit())?);
    }
    Ok(())
}

/// What the filters of a rule and its backend make of the answer: the one nearer to the backend first.
fn answers(
    table: Arc<RouteTable>,
    (rule, backend): (usize, usize),
    origin: Option<HeaderValue>,
) -> ChangeAnswer {
    Rc::new(move |answer| {
        let Some(rule) = table.rules().get(rule) else { return };
        if let Some(backend) = rule.backends.list().get(backend) {
            on_response(&backend.filters, origin.as_ref(), answer.headers_mut());
        }
        on_response(&rule.filters, origin.as_ref(), answer.headers_mut());
    })
}

impl<S: Services> Decide for Routes<S> {
    fn decide(&self, asked: &mut Asked<'_>, random: &dyn Fn() -> u64) -> Decision {
        let mut labels = Labels::default();
        request_id(asked.head.headers_mut(), u128::from(random()) << 64 | u128::from(random()));
        let step = match self.services.routes() {
            Some(table) => self.routed(&table, asked, random, &mut labels),
            None => match self.services.backend(&self.dialled) {
                Some(backend) => Ok(Step::Forward(Forward {
                    labels: Labels::default(),
                    backend,
                    timeouts: mesh_l7::timeouts::Timeouts::default(),
                    retry: None,
                    mirrors: Vec::new(),
                    answer: None,
                    endpoint: Rc::default(),
                    revoked: None,
                })),
                None => Err(bad_route(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the Service that was dialled is not known here any more",
                )),
            },
        };
        match step {
            Ok(Step::Answer(answer)) => {
                Decision::Respond(labels, Box::new(answer.map(|()| bytes::Bytes::new())))
            }
            Ok(Step::Forward(forward)) => {
                labels.backend = Some(forward.backend.name.as_str().into());
                Decision::Forward(Box::new(Forward { labels, ..forward }))
            }
            Err(refusal) => Decision::Refuse(labels, refusal),
        }
    }
}

#[cfg(test)]
mod tests;
