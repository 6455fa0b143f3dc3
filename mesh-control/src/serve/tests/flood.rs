//! Tokens that nobody gave out, as fast as they go, from somebody without a certificate.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewStatus};
use tonic::Code;

use super::{
    Controller,
    client::{Agent, Connected},
};
use crate::ca::{Account, Agents, Timestamp, TokenReviewer, tests::account::good_token};

/// An API server that takes no token, and counts.
#[derive(Debug, Default)]
struct Refusing(AtomicU64);

#[tonic::async_trait]
impl TokenReviewer for Refusing {
    async fn review(&self, question: TokenReview) -> Result<TokenReview, String> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(TokenReview { status: Some(TokenReviewStatus::default()), ..question })
    }
}

async fn connected(controller: &Controller, from: &str) -> Connected {
    let roots = controller.authority.trust().borrow().as_ref().unwrap().bundle().roots.clone();
    let agent = Agent::believing(roots.into_iter().map(Into::into).collect());
    agent.connect_from(from.parse::<IpAddr>().unwrap(), controller.address).await.unwrap()
}

#[tokio::test]
async fn tokens_that_nobody_gave_out_cost_the_api_server_little_and_other_addresses_nothing() {
    let reviewer = Arc::new(Refusing::default());
    let account = Account { namespace: "mesh-system".to_owned(), name: "mesh-agent".to_owned() };
    let controller = Controller::start_with(&["n1"], Some(Agents::new(account, reviewer.clone()))).await;
    let token = good_token(Timestamp::now());
    let mut flood = connected(&controller, "127.0.0.1").await;
    let began = Instant::now();
    let (mut refused, mut busy) = (0, 0);
    for _ in 0..60 {
        let error = flood.join("n1", &token).await.unwrap_err();
        match error.code() {
            Code::PermissionDenied => refused += 1,
            Code::ResourceExhausted => {
                assert!(error.message().contains("127.0.0.1 sent more; ask again in a second"), "{error}");
                busy += 1;
            }
            _ => panic!("{error}"),
        }
    }
    // 16 at once and 2 a second.
    let bound = 17 + 2 * began.elapsed().as_secs();
    assert!((16..=bound).contains(&refused), "{refused} of {bound}");
    assert_eq!((refused + busy, reviewer.0.load(Ordering::Relaxed)), (60, refused));
    assert_eq!(controller.authority.report(Timestamp::now()).tokens_not_asked, busy);

    // Another address is asked about at once, and the first one after a while; whoever stays without a certificate is
    // sent away after some seconds, so that one comes anew.
    let mut other = connected(&controller, "127.0.0.2").await;
    assert_eq!(other.join("n1", &token).await.unwrap_err().code(), Code::PermissionDenied);
    drop(flood);
    let mut flood = connected(&controller, "127.0.0.1").await;
    let again = async {
        while flood.join("n1", &token).await.unwrap_err().code() != Code::PermissionDenied {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), again).await.unwrap();
}
