//! Asking the API server of a token: bounded, because whoever reaches the controller can make it ask.

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::api::authentication::v1::TokenReview;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    account::{self, Account, AccountError, Proof},
    asking::{Asking, TooOften},
    time::Timestamp,
};

/// Questions to the API server at a time.
const AT_A_TIME: usize = 4;
/// How long one may wait for its turn; an agent itself waits 10 s for all of it.
const TURN_WITHIN: Duration = Duration::from_secs(4);
/// How long the API server may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// Asks the API server whether a token is good, and whose it is.
#[tonic::async_trait]
pub trait TokenReviewer: fmt::Debug + Send + Sync {
    /// Creates a `TokenReview` and gives it back with its status, or the reason why there is none.
    async fn review(&self, question: TokenReview) -> Result<TokenReview, String>;
}

/// Agents that prove their node by the token of their ServiceAccount.
#[derive(Debug, Clone)]
pub struct Agents {
    account: Account,
    reviewer: Arc<dyn TokenReviewer>,
    turns: Arc<Semaphore>,
    asking: Arc<Mutex<Asking>>,
    since: Instant,
}

/// Why a token proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReviewError {
    /// The token.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// Too many tokens came.
    #[error(transparent)]
    TooOften(#[from] TooOften),
    /// The API server.
    #[error("the API server cannot be asked about the token now: {0}; ask again")]
    NotAsked(String),
}

impl Agents {
    /// Agents that run as this ServiceAccount.
    pub fn new(account: Account, reviewer: Arc<dyn TokenReviewer>) -> Self {
        Self {
            account,
            reviewer,
            turns: Arc::new(Semaphore::new(AT_A_TIME)),
            asking: Arc::default(),
            since: Instant::now(),
        }
    }

    /// The ServiceAccount.
    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    /// How many tokens the API server was not asked about, since too many came.
    pub(super) fn not_asked(&self) -> u64 {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner).refused()
    }

    /// What a token proves that came from an address.
    pub(super) async fn prove(
        &self,
        token: &str,
        from: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Proof, ReviewError> {
        account::glance(token, &self.account, now)?;
        self.asking.lock().unwrap_or_else(PoisonError::into_inner).take(from, self.since.elapsed())?;
        let not_asked = |why: &str| ReviewError::NotAsked(why.to_owned());
        let turn = timeout(TURN_WITHIN, self.turns.acquire()).await;
        let _turn = turn
            .map_err(|_| not_asked("too many tokens wait for it"))?
            .map_err(|_| not_asked("the controller is stopping"))?;
        let answer = timeout(ANSWER_WITHIN, self.reviewer.review(account::question(token))).await;
        let answer = answer.map_err(|_| not_asked("it does not answer"))?.map_err(ReviewError::NotAsked)?;
        let status = answer.status.ok_or_else(|| not_asked("its answer has no status"))?;
        Ok(account::judge(status, &self.account)?)
    }
}
