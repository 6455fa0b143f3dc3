//! Rules, and which requests they are about.

use std::sync::Arc;

use http::Method;

use crate::host::HostMatch;
use crate::matching::{HeaderMatch, PathMatch, Reading};
use crate::request::Request;

/// Where a rule stands in the order of SEMANTICS 5.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// First.
    Admin,
    /// AccessPolicy.
    Access,
    /// Last, before the default.
    Baseline,
}

/// What a rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Let it through.
    Allow,
    /// Refuse it.
    Deny,
    /// Skip the rest of the Admin tier.
    Pass,
}

/// One rule, without what it says of the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its place in the order.
    pub tier: Tier,
    /// What it decides.
    pub action: Action,
    /// In Audit mode: counted as if enforced, enforces nothing.
    pub audit: bool,
    /// The policy it stands in: `<kind>/<namespace>/<name>`.
    pub policy: Arc<str>,
    /// Its name in the policy.
    pub name: Arc<str>,
    /// Which requests it is about.
    pub requests: Requests,
}

/// Which requests a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requests {
    /// All, and bytes that are no requests: a rule without `http` and `grpc`, or an invalid one that
    /// denies (SEMANTICS 5.3).
    All,
    /// None: an invalid rule that allows (SEMANTICS 5.3).
    None,
    /// Those that match any of the entries.
    Some {
        /// The entries of `http`.
        http: Vec<HttpRule>,
        /// The entries of `grpc`.
        grpc: Vec<GrpcRule>,
    },
}

/// One entry of `http`: the AND of its fields, each the OR of its values but `headers`, which all have
/// to match. A field without values matches every request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpRule {
    /// Methods.
    pub methods: Vec<Method>,
    /// Paths.
    pub paths: Vec<PathMatch>,
    /// Header fields.
    pub headers: Vec<HeaderMatch>,
    /// Hosts.
    pub hosts: Vec<HostMatch>,
}

/// One entry of `grpc`: the AND of its fields.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GrpcRule {
    /// The service with its package; `None` = any.
    pub service: Option<String>,
    /// The method; `None` = any.
    pub method: Option<String>,
}

impl Rule {
    /// Whether it matches a request.
    ///
    /// What servers may read in several ways is read in favour of the policy's author: a rule that
    /// denies matches if any reading does, one that allows or passes if every reading does.
    #[must_use]
    pub fn matches(&self, request: &Request<'_>) -> bool {
        let reading = match self.action {
            Action::Allow | Action::Pass => Reading::Every,
            Action::Deny => Reading::Any,
        };
        match &self.requests {
            Requests::All => true,
            Requests::None => false,
            Requests::Some { http, grpc } => {
                http.iter().any(|rule| rule.matches(request, reading))
                    || grpc.iter().any(|rule| rule.matches(request, reading))
            }
        }
    }
}

impl HttpRule {
    fn matches(&self, request: &Request<'_>, reading: Reading) -> bool {
        let on_host = || match request.host {
            Some(host) => self.hosts.iter().any(|pattern| pattern.matches(host)),
            // HTTP/1.0: the server picks one.
            None => reading == Reading::Any,
        };
        let is_method = |method: &Method| match reading {
            // Methods are case-sensitive (RFC 9110, 9.1), and not every server knows.
            Reading::Any => method.as_str().eq_ignore_ascii_case(request.method.as_str()),
            Reading::Plain | Reading::Every => method == request.method,
        };
        (self.methods.is_empty() || self.methods.iter().any(is_method))
            && (self.paths.is_empty()
                || self.paths.iter().any(|path| path.matches_path(request.path, reading)))
            && self.headers.iter().all(|header| header.matches(request, reading))
            && (self.hosts.is_empty() || on_host())
    }
}

impl GrpcRule {
    /// Every call has the path `/service/method` (gRPC over HTTP/2, "Requests"). Its method and content
    /// type are not looked at: servers that also take others (gRPC-Web, Connect, transcoding) run the
    /// same method.
    fn matches(&self, request: &Request<'_>, reading: Reading) -> bool {
        let is =
            |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        let names = |path: &str| {
            let call = path.strip_prefix('/').and_then(|path| path.split_once('/'));
            call.is_some_and(|(service, method)| {
                !method.contains('/') && is(&self.service, service) && is(&self.method, method)
            })
        };
        reading.of_path(request.path, names)
    }
}
