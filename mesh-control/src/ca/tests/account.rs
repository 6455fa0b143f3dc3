//! Nodes by the token of their agent's ServiceAccount.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewStatus, UserInfo};
use proptest::prelude::*;

use super::{Stage, csr, peer};
use crate::{
    ca::{
        Timestamp,
        account::{Account, AccountError, Proof, glance, judge},
        placement::Placement,
        review::{Agents, ReviewError, TokenReviewer},
    },
    objects::ObjectName,
};

const USER: &str = "system:serviceaccount:mesh-system:mesh-agent";

fn account() -> Account {
    Account { namespace: "mesh-system".to_owned(), name: "mesh-agent".to_owned() }
}

/// The alphabet for URLs, without padding.
fn encoded(bytes: &[u8]) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            text.push(char::from(alphabet[(bits >> (18 - 6 * digit) & 63) as usize]));
        }
    }
    text
}

fn token(claims: &serde_json::Value) -> String {
    format!("{}.{}.c2ln", encoded(b"{\"alg\":\"RS256\"}"), encoded(claims.to_string().as_bytes()))
}

/// A text that is no worse than a token as long as nobody asks the API server.
pub(crate) fn good_token(now: Timestamp) -> String {
    token(&serde_json::json!({ "sub": USER, "aud": ["mesh-control"], "iat": now.unix() }))
}

fn status(uid: &str, node: Option<&str>) -> TokenReviewStatus {
    let mut extra = BTreeMap::new();
    extra.insert("authentication.kubernetes.io/pod-uid".to_owned(), vec![uid.to_owned()]);
    if let Some(node) = node {
        extra.insert("authentication.kubernetes.io/node-name".to_owned(), vec![node.to_owned()]);
    }
    TokenReviewStatus {
        authenticated: Some(true),
        audiences: Some(vec!["mesh-control".to_owned()]),
        error: None,
        user: Some(UserInfo { username: Some(USER.to_owned()), extra: Some(extra), ..UserInfo::default() }),
    }
}

#[test]
fn a_token_is_glanced_at_before_anybody_is_asked() {
    let now = Timestamp::from_unix(1_800_000_000);
    let glanced = |claims: serde_json::Value| glance(&token(&claims), &account(), now);
    let claims =
        |iat: u64| serde_json::json!({ "sub": USER, "aud": ["x", "mesh-control"], "iat": iat, "é": "ü?" });
    assert_eq!(glanced(claims(now.unix())), Ok(()));
    assert_eq!(glanced(claims(now.unix() - 600)), Ok(()));
    assert_eq!(glanced(claims(now.unix() + 30)), Ok(()), "clocks differ");
    let old = Duration::from_secs(3600);
    assert_eq!(glanced(claims(now.unix() - 3600)), Err(AccountError::Old(old)));
    assert_eq!(glanced(serde_json::json!({ "sub": USER, "aud": "mesh-control", "iat": now.unix() })), Ok(()));
    let api =
        serde_json::json!({ "sub": USER, "aud": ["https://kubernetes.default.svc"], "iat": now.unix() });
    assert!(matches!(glanced(api), Err(AccountError::OtherAudience(_))));
    let other =
        serde_json::json!({ "sub": "system:serviceaccount:shop:web", "aud": "mesh-control", "iat": 0 });
    assert!(matches!(glanced(other), Err(AccountError::OtherAccount { .. })));
    for text in ["", "a.b", "a.b.c.d", "a.%%.c", "a.e30.c", &"x".repeat(20_000)] {
        assert!(matches!(glance(text, &account(), now), Err(AccountError::NotOne(_))), "{text:.20}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_glance_panic(text in "[ -~é]{0,20}\\.[A-Za-z0-9_=-]{0,40}\\.[ -~]{0,5}") {
        prop_assert!(glance(&text, &account(), Timestamp::from_unix(0)).is_err());
    }
}

#[test]
fn only_a_pods_token_of_our_audience_and_account_proves_anything() {
    let judged = |status| judge(status, &account());
    let proof = Proof { pod_uid: "u-agent".to_owned(), node: Some("n1".to_owned()) };
    assert_eq!(judged(status("u-agent", Some("n1"))), Ok(proof));
    assert_eq!(judged(status("u-agent", None)).unwrap().node, None, "an API server of before 1.30");
    let expired = TokenReviewStatus {
        authenticated: None,
        error: Some("token has expired".to_owned()),
        ..status("u-agent", None)
    };
    assert_eq!(judged(expired), Err(AccountError::Refused("token has expired".to_owned())));
    let unaware = TokenReviewStatus { audiences: None, ..status("u-agent", None) };
    assert_eq!(judged(unaware), Err(AccountError::OtherAudience(Vec::new())));
    let user =
        UserInfo { username: Some("system:serviceaccount:shop:web".to_owned()), ..UserInfo::default() };
    let other = TokenReviewStatus { user: Some(user), ..status("u-agent", None) };
    assert!(matches!(judged(other), Err(AccountError::OtherAccount { .. })));
    let user = UserInfo { username: Some(USER.to_owned()), ..UserInfo::default() };
    let by_hand = TokenReviewStatus { user: Some(user), ..status("u-agent", None) };
    assert_eq!(judged(by_hand), Err(AccountError::NoPod));
}

#[test]
fn the_node_is_where_the_agents_pod_runs_whatever_the_request_says() {
    let stage = Stage::new();
    let place = |namespace: &str, name: &str, node: &str, service_account: &str, ended: bool| {
        let placement = Placement {
            uid: format!("u-{name}"),
            node: node.to_owned(),
            service_account: service_account.to_owned(),
            enrolled: false,
            ended,
        };
        stage.placements.update([(ObjectName::new(namespace, name), Some(placement))]);
    };
    place("mesh-system", "agent-1", "n1", "mesh-agent", false);
    place("mesh-system", "agent-2", "n2", "mesh-agent", true);
    place("mesh-system", "control", "n1", "mesh-control", false);
    place("shop", "mine", "n1", "mesh-agent", false);
    let join = |uid: &str, said: Option<&str>, claimed: &str| {
        let proof = Proof { pod_uid: uid.to_owned(), node: said.map(ToOwned::to_owned) };
        stage.authority.join_as(claimed, &account(), &proof, &csr(), stage.now)
    };
    let signed = join("u-agent-1", Some("n1"), "n1").unwrap();
    assert_eq!(peer(&signed).id.to_string(), "spiffe://cluster.local/mesh/node/n1");
    // As often as it needs: an agent that restarts without a certificate is the same agent.
    assert!(join("u-agent-1", None, "n1").is_ok());
    for (uid, said, claimed, problem) in [
        ("u-agent-1", None, "n2", "is on node n1, not on `n2`"),
        ("u-agent-1", Some("n2"), "n1", "is on node n1, not on `n2`"),
        ("u-agent-2", None, "n2", "has ended"),
        ("u-control", None, "n1", "runs as `system:serviceaccount:mesh-system:mesh-control`"),
        ("u-mine", None, "n1", "runs as `system:serviceaccount:shop:mesh-agent`"),
        ("u-none", None, "n1", "is not known to the controller yet"),
    ] {
        let error = join(uid, said, claimed).unwrap_err().to_string();
        assert!(error.contains(problem), "{uid}: {error}");
    }
    assert!(join("u-agent-1", None, "n1").is_ok());
}

/// Answers what it is told to, and remembers what it was asked.
#[derive(Debug)]
struct Fixed {
    answer: Result<TokenReviewStatus, String>,
    asked: Mutex<Vec<TokenReview>>,
}

#[tonic::async_trait]
impl TokenReviewer for Fixed {
    async fn review(&self, question: TokenReview) -> Result<TokenReview, String> {
        self.asked.lock().unwrap().push(question.clone());
        self.answer.clone().map(|status| TokenReview { status: Some(status), ..question })
    }
}

#[tokio::test]
async fn the_api_server_is_asked_once_for_our_audience_and_not_for_rubbish() {
    let now = Timestamp::now();
    let fixed = |answer| Arc::new(Fixed { answer, asked: Mutex::default() });
    let good = fixed(Ok(status("u-agent", Some("n1"))));
    let agents = Agents::new(account(), good.clone());
    assert!(matches!(
        agents.prove("rubbish", None, now).await,
        Err(ReviewError::Account(AccountError::NotOne(_)))
    ));
    assert!(good.asked.lock().unwrap().is_empty());
    let token = good_token(now);
    assert_eq!(agents.prove(&token, None, now).await.unwrap().pod_uid, "u-agent");
    let asked = good.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].spec.audiences.as_deref(), Some(["mesh-control".to_owned()].as_slice()));
    assert_eq!(asked[0].spec.token.as_ref(), Some(&token));
    let away = Agents::new(account(), fixed(Err("connection refused".to_owned())));
    let error = away.prove(&token, None, now).await.unwrap_err();
    assert_eq!(error, ReviewError::NotAsked("connection refused".to_owned()));
}

#[test]
fn nobody_is_given_a_join_file_where_tokens_count() {
    let reviewer = Arc::new(Fixed { answer: Err(String::new()), asked: Mutex::default() });
    let mut stage = Stage::new().by_accounts(Agents::new(account(), reviewer));
    stage.demand.nodes.insert("n3".to_owned());
    stage.step(1);
    assert!(!stage.has_join_file("n3"));
    let error = stage.authority.invite_again("n3", stage.now).unwrap_err().to_string();
    assert!(error.contains("delete the agent's pod"), "{error}");
}
