//! The claims, in the order they are shown: first what holds of one connection, then what holds when something
//! changes, then the same between nodes, then of requests, last what holds when parts of the mesh are gone, and when all of it is.

mod addresses;
mod audit;
mod can;
mod canary;
mod change;
mod controller;
mod denied;
mod direct;
mod encrypted;
mod enrolment;
mod names;
mod probes;
mod relay;
mod requests_denied;
mod reuse;
mod rotation;
mod routed;
mod scraped;
mod storefront;
mod survival;
mod unrouted;

use super::{Error, evidence::Evidence, stage::Stage};

/// One claim.
pub(super) struct Claim {
    /// What is claimed.
    pub(super) title: &'static str,
    /// Shows it.
    pub(super) show: fn(&Stage, &mut Evidence) -> Result<(), Error>,
}

/// All claims.
pub(super) const ALL: &[Claim] = &[
    Claim {
        title: "An enrolled client reaches a Service by its address, and the two sockets are joined directly",
        show: direct::show,
    },
    Claim {
        title: "The client sees the address it dialled; the server sees the client's true address",
        show: addresses::show,
    },
    Claim {
        title: "A denied call fails within milliseconds, and the log names policy and rule",
        show: denied::show,
    },
    Claim {
        title: "An un-enrolled client is refused where mTLS is Required, and admitted where it is Preferred",
        show: enrolment::show,
    },
    Claim {
        title: "The kubelet's probes pass under default deny, with no rule for them",
        show: probes::show,
    },
    Claim { title: "A policy in Audit mode refuses nobody and counts whom it would", show: audit::show },
    Claim {
        title: "A policy change closes a newly denied open connection within a second, and no other",
        show: change::show,
    },
    Claim { title: "Between nodes the bytes are TLS 1.3", show: encrypted::show },
    Claim {
        title: "Between nodes both ends prove a name, policy goes by it, and the server sees the client's true address",
        show: names::show,
    },
    Claim {
        title: "A pod that takes over a dead pod's address gets none of its connections: it has another name",
        show: reuse::show,
    },
    Claim {
        title: "Requests are split 90 to 10, and shifted to 0 to 100 while they go on: none fails",
        show: canary::show,
    },
    Claim {
        title: "Routes go by headers, rewrite, redirect, copy, and hide a failing backend by trying again",
        show: routed::show,
    },
    Claim {
        title: "A policy about requests answers 403 and names the rule, on both nodes",
        show: requests_denied::show,
    },
    Claim {
        title: "With the last route deleted the next connection is the kernel's alone again",
        show: unrouted::show,
    },
    Claim { title: "`meshctl can` says what the data path does", show: can::show },
    Claim { title: "One scrape shows all of it", show: scraped::show },
    Claim {
        title: "Certificates and the root are replaced under traffic between nodes, and nothing fails",
        show: rotation::show,
    },
    Claim {
        title: "The controller is killed and comes back under traffic between nodes, and nothing fails",
        show: controller::show,
    },
    Claim {
        title: "With relay killed, connections within the node go on; what failed between nodes is counted",
        show: relay::show,
    },
    Claim {
        title: "With both agent processes killed, 1,000 new connections all succeed and policy still denies",
        show: survival::killed,
    },
    Claim { title: "They come back and adopt what is pinned in the kernel", show: survival::adopted },
];
