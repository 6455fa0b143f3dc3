//! Which tokens of a ServiceAccount are a node's (SEMANTICS 9.3).
//!
//! kubelet gives the agent's pod a token that is bound to this pod. The API server says that it is
//! good and whose; the controller knows where that pod runs. So nobody's word is taken for the
//! node: not the request's, and not the token's where the two differ.

use std::time::Duration;

use k8s_openapi::{
    ByteString,
    api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus},
};
use serde::Deserialize;

use super::{placement::Placement, time::Timestamp};
use crate::objects::ObjectName;

/// What a token must be made for: one for the API server, or for anybody else, is no good here.
pub const AUDIENCE: &str = "mesh-control";

/// A token may be this old; kubelet replaces one that lives 10 minutes before that.
const OLDEST: Duration = Duration::from_secs(600);
/// The clocks of the API server and of this process may differ by this much.
const SKEW: Duration = Duration::from_secs(60);
/// The longest token that is looked at, bytes.
const LONGEST: usize = 8 << 10;

const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// The ServiceAccount that agents run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Account {
    /// What the API server calls it.
    fn username(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }
}

/// Why a token is not taken for a node's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// It is no token of a ServiceAccount.
    #[error(
        "the token is none of a ServiceAccount ({0}); project one of audience {AUDIENCE} into the agent's pod"
    )]
    NotOne(&'static str),
    /// It is of another account.
    #[error("the token is of `{found}`; agents run as `{expected}`")]
    OtherAccount {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// It is for somebody else.
    #[error("the token's audiences are {0:?}; project one of audience {AUDIENCE}")]
    OtherAudience(Vec<String>),
    /// It is too old.
    #[error(
        "the token is {} s old, more than {} s; project one with expirationSeconds: 600, which is replaced in time",
        .0.as_secs(),
        OLDEST.as_secs()
    )]
    Old(Duration),
    /// The API server does not take it.
    #[error("the API server does not take the token: {0}")]
    Refused(String),
    /// It is not bound to a pod.
    #[error("the token is not bound to a pod; use one that kubelet projects, not one made by hand")]
    NoPod,
    /// The pod is not in the model.
    #[error(
        "pod {0}, which the token is bound to, is not known to the controller yet; the source may be behind, ask again"
    )]
    UnknownPod(String),
    /// The pod is another's.
    #[error("pod {pod}, which the token is bound to, runs as `{found}`, not as `{expected}`")]
    OtherPod {
        /// The pod.
        pod: String,
        /// Its account.
        found: String,
        /// That of agents.
        expected: String,
    },
    /// The pod has ended.
    #[error("pod {0}, which the token is bound to, has ended")]
    Ended(String),
    /// The claim and the truth differ.
    #[error("pod {pod}, which the token is bound to, is on node {node}, not on `{claimed}`")]
    Elsewhere {
        /// The pod.
        pod: String,
        /// Where it is.
        node: String,
        /// Where it is said to be.
        claimed: String,
    },
}

/// What the API server vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proof {
    /// The pod that the token is bound to.
    pub(super) pod_uid: String,
    /// Its node, where the API server says so.
    pub(super) node: Option<String>,
}

/// What a token says of itself (RFC 7519, 4.1), which counts for nothing until the API server has
/// seen it.
#[derive(Debug, Deserialize)]
struct Claims {
    sub: String,
    aud: Audiences,
    iat: i64,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audiences {
    Many(Vec<String>),
    One(String),
}

impl Audiences {
    fn all(self) -> Vec<String> {
        match self {
            Self::Many(all) => all,
            Self::One(one) => vec![one],
        }
    }
}

/// Turns away what cannot be good, before the API server is bothered with it; and what is too old,
/// which the API server does not say.
pub(super) fn glance(token: &str, account: &Account, now: Timestamp) -> Result<(), AccountError> {
    let Claims { sub, aud, iat } = claims(token)?;
    let expected = account.username();
    if sub != expected {
        return Err(AccountError::OtherAccount { found: sub, expected });
    }
    let audiences = aud.all();
    if !audiences.iter().any(|audience| audience == AUDIENCE) {
        return Err(AccountError::OtherAudience(audiences));
    }
    let age = now.since(Timestamp::from_unix(iat));
    if age > OLDEST + SKEW {
        return Err(AccountError::Old(age));
    }
    Ok(())
}

fn claims(token: &str) -> Result<Claims, AccountError> {
    if token.len() > LONGEST {
        return Err(AccountError::NotOne("it is too long"));
    }
    let parts: Vec<&str> = token.split('.').collect();
    let [_, payload, _] = parts.as_slice() else {
        return Err(AccountError::NotOne("it has not three parts"));
    };
    // The alphabet for URLs, without padding (RFC 7515, 2).
    let mut text = payload.replace('-', "+").replace('_', "/");
    while text.len() % 4 != 0 {
        text.push('=');
    }
    let bytes: Result<ByteString, _> = serde_json::from_value(text.into());
    let bytes = bytes.map_err(|_| AccountError::NotOne("its payload is not base64"))?;
    serde_json::from_slice(&bytes.0).map_err(|_| AccountError::NotOne("it has no claims sub, aud and iat"))
}

/// What the API server is asked.
pub(super) fn question(token: &str) -> TokenReview {
    let spec = TokenReviewSpec { audiences: Some(vec![AUDIENCE.to_owned()]), token: Some(token.to_owned()) };
    TokenReview { spec, ..TokenReview::default() }
}

/// What its answer is worth.
pub(super) fn judge(status: TokenReviewStatus, account: &Account) -> Result<Proof, AccountError> {
    if status.authenticated != Some(true) {
        let why = status.error.filter(|why| !why.is_empty());
        return Err(AccountError::Refused(why.unwrap_or_else(|| "it is not authenticated".to_owned())));
    }
    // One that knows of no audiences has not checked them.
    let audiences = status.audiences.unwrap_or_default();
    if !audiences.iter().any(|audience| audience == AUDIENCE) {
        return Err(AccountError::OtherAudience(audiences));
    }
    let user = status.user.unwrap_or_default();
    let (found, expected) = (user.username.unwrap_or_default(), account.username());
    if found != expected {
        return Err(AccountError::OtherAccount { found, expected });
    }
    let mut extra = user.extra.unwrap_or_default();
    let mut one = |key: &str| match extra.remove(key).unwrap_or_default().as_slice() {
        [value] if !value.is_empty() => Some(value.clone()),
        _ => None,
    };
    let pod_uid = one(POD_UID).ok_or(AccountError::NoPod)?;
    Ok(Proof { pod_uid, node: one(NODE_NAME) })
}

/// The node that a proof is of: where its pod runs, if that pod is an agent. `claimed` is what the
/// request says.
pub(super) fn node(
    proof: &Proof,
    pods: Vec<(ObjectName, Placement)>,
    account: &Account,
    claimed: &str,
) -> Result<String, AccountError> {
    let shown = |text: &str| text.chars().take(64).collect::<String>();
    let mut pods = pods.into_iter();
    let (Some((name, pod)), None) = (pods.next(), pods.next()) else {
        return Err(AccountError::UnknownPod(shown(&proof.pod_uid)));
    };
    let shown_pod = || format!("{name} ({})", pod.uid);
    if name.namespace != account.namespace || pod.service_account != account.name {
        let of_pod = Account { namespace: name.namespace.clone(), name: pod.service_account.clone() };
        return Err(AccountError::OtherPod {
            pod: shown_pod(),
            found: of_pod.username(),
            expected: account.username(),
        });
    }
    if pod.ended {
        return Err(AccountError::Ended(shown_pod()));
    }
    for said in proof.node.iter().map(String::as_str).chain([claimed]) {
        if said != pod.node {
            return Err(AccountError::Elsewhere {
                pod: shown_pod(),
                node: pod.node.clone(),
                claimed: shown(said),
            });
        }
    }
    Ok(pod.node)
}
