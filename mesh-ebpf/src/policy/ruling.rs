//! What compiled policy says: the first rule that matches, in each stage.

/// What the first matching rule says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Action {
    /// No rule matched.
    None = 0,
    /// Allow.
    Allow = 1,
    /// Deny.
    Deny = 2,
    /// Skip the rest of the Admin tier.
    Pass = 3,
    /// Decided for each request, by the agent: the rule has fields of layer 7 (SEMANTICS 5.1).
    Defer = 4,
}

/// What an egress rule asks of the transport.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Mtls {
    /// Tunnel whenever the destination is enrolled, never plaintext then.
    Preferred = 0,
    /// Refuse a destination that is not enrolled.
    Required = 1,
    /// Plaintext.
    Off = 2,
}

/// Rule numbers that are no rule of a policy.
pub mod rule {
    /// MeshConfig's default decided.
    pub const DEFAULT: u16 = 0xffff;
    /// MeshConfig requires mTLS and the source is unproven.
    pub const MTLS: u16 = 0xfffe;
    /// A policy selects the pod and no rule allowed.
    pub const ISOLATED: u16 = 0xfffd;
    /// The set is not in the kernel.
    pub const MISSING: u16 = 0xfffc;
    /// Rules of a set are numbered below this.
    pub const LIMIT: u16 = 0xfff0;
}

/// The first rule that matches, in one stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Hit {
    /// Position in the order of evaluation; lower decides first. Meaningless without an action.
    pub rank: u32,
    /// Number of the rule in the set, or one of [`rule`].
    pub rule: u16,
    /// An [`Action`].
    pub action: u8,
    /// A [`Mtls`].
    pub mtls: u8,
}

impl Hit {
    /// No rule matched.
    pub const NONE: Self = Self { rank: u32::MAX, rule: rule::MISSING, action: 0, mtls: 0 };

    #[inline(always)]
    pub(super) fn first(self, other: Self) -> Self {
        if other.rank < self.rank { other } else { self }
    }
}

/// The first hits of the Admin tier and of everything after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Stages {
    /// The Admin tier; Pass or none goes on with `rest`.
    pub admin: Hit,
    /// AccessPolicy, Baseline and the default, in one order.
    pub rest: Hit,
}

impl Stages {
    /// Nothing matched in either.
    pub const NONE: Self = Self { admin: Hit::NONE, rest: Hit::NONE };

    #[inline(always)]
    pub(super) fn first(self, other: Self) -> Self {
        Self { admin: self.admin.first(other.admin), rest: self.rest.first(other.rest) }
    }

    #[inline(always)]
    pub(super) const fn decides(&self) -> Hit {
        if self.admin.action != Action::None as u8 && self.admin.action != Action::Pass as u8 {
            self.admin
        } else {
            self.rest
        }
    }
}

/// Value of `mesh_rulings`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Ruling {
    /// With the policies in force.
    pub enforced: Stages,
    /// With the policies in Audit mode as if they were.
    pub audited: Stages,
}
