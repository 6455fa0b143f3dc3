//! Asks the API server about tokens. What the answer means, and how many are asked at a time, is
//! decided by the authority.

use std::fmt;

use k8s_openapi::api::authentication::v1::TokenReview;
use kube::{Api, Client, api::PostParams};

use crate::{ca::TokenReviewer, source::told};

/// The API server, as far as it knows tokens.
pub(super) struct Reviewer(Api<TokenReview>);

impl Reviewer {
    pub(super) fn new(client: Client) -> Self {
        Self(Api::all(client))
    }
}

impl fmt::Debug for Reviewer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reviewer").finish_non_exhaustive()
    }
}

#[tonic::async_trait]
impl TokenReviewer for Reviewer {
    async fn review(&self, question: TokenReview) -> Result<TokenReview, String> {
        self.0.create(&PostParams::default(), &question).await.map_err(|error| match error {
            kube::Error::Api(status) if status.code == 403 => {
                format!("{}; check the ClusterRole of the controller (create tokenreviews)", status.message)
            }
            error => told(&error),
        })
    }
}
