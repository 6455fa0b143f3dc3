//! What is kept of a request that policy is asked about again while it is open.

use std::time::Duration;

use http::{HeaderMap, Method, Request as Head};
use mesh_l7::host::Host;
use mesh_l7::path::Path;
use mesh_l7::request::Request;

/// Changes of policy that come together are asked about together.
pub(crate) const GATHER: Duration = Duration::from_millis(50);

/// A request without its content.
pub(crate) struct Rest {
    method: Method,
    path: Path,
    query: Option<String>,
    headers: HeaderMap,
    host: Option<Host>,
}

impl Rest {
    /// Of a head with its path and host; fields of the head are kept only where rules look at them.
    pub(crate) fn new(head: &Head<()>, path: Path, host: Option<Host>, fields: bool) -> Self {
        Self {
            method: head.method().clone(),
            path,
            query: head.uri().query().map(str::to_owned),
            headers: if fields { head.headers().clone() } else { HeaderMap::new() },
            host,
        }
    }

    /// As rules are matched with it.
    pub(crate) fn as_request(&self) -> Request<'_> {
        Request::new(&self.method, &self.path, self.query.as_deref(), &self.headers, self.host.as_ref())
    }
}
