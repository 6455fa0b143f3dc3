//! Connections whose requests are routed or judged: where the engine meets the mesh.
//!
//! At the source ([`source`]) the kernel has redirected what a pod dials at a Service with routes, or
//! at what its egress policy asks about by request; the engine reads it, the routes pick a backend and
//! [`reach`] connects to its endpoint as the kernel would have ([`way`]): within the node by a socket
//! that proves the pod, else through the tunnel, or in plaintext where that is what the policy says. At
//! the destination ([`destination`]) the policy of the pod is asked for each request, whoever the
//! client is and however it came: through the tunnel, by the gate with the kernel's proof, or unproven.
//!
//! | module | what it does |
//! |---|---|
//! | [`source`] | a pod's connection to what is routed or judged by request |
//! | [`way`] | how a pod may go to an endpoint, purely |
//! | [`leaving`] | its egress policy on each request |
//! | [`reach`] | connects to endpoints in its name |
//! | [`server_name`] | TLSRoute: the name that a ClientHello asks for |
//! | [`destination`] | the pod's ingress policy on each request, and the delivery |
//! | [`held`], [`splice`] | streams that can be ended; octets that are no requests |

pub(super) mod destination;
pub(super) mod held;
pub(super) mod leaving;
pub(super) mod reach;
pub(super) mod server_name;
pub(super) mod source;
pub(super) mod splice;
pub(super) mod way;
