//! The claims, in the order they are shown: first what holds of one connection, then what holds when something
//! changes, last what holds when the mesh itself is gone.

mod addresses;
mod audit;
mod can;
mod change;
mod denied;
mod direct;
mod enrolment;
mod probes;
mod scraped;
mod survival;

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
    Claim { title: "`meshctl can` says what the data path does", show: can::show },
    Claim { title: "One scrape shows all of it", show: scraped::show },
    Claim {
        title: "With both agent processes killed, 1,000 new connections all succeed and policy still denies",
        show: survival::killed,
    },
    Claim { title: "They come back and adopt what is pinned in the kernel", show: survival::adopted },
];
