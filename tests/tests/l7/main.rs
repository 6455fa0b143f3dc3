//! Routes and rules about requests on the real kernel (SEMANTICS 5.4, 5.8 and 8; docs/routes.md): what becomes of a
//! request, as its client and its server see it, in HTTP/1.1, HTTP/2 and gRPC, over IPv4 and IPv6, within a node and
//! between two.
//!
//! One testbed of two nodes for the whole file; each test adds Services, routes and policies of its own.

mod access;
mod application;
mod backends;
mod changes;
mod filters;
mod kinds;
mod matching;
mod paths;
mod plain;
mod protocols;
mod redirects;
mod retries;
mod scene;
mod status;
mod streams;
mod told;
mod weight;
