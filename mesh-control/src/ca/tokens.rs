//! Join tokens: one for each node that has not joined yet, good once and for a while.
//!
//! Only a hash is kept. A token has 256 random bits, so a plain hash of it cannot be turned back
//! and wrong ones cannot be guessed.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    random::{self, NoRandom, hex},
    time::Timestamp,
};

/// The tokens that have been given out, by node. A node has one at a time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Tokens(BTreeMap<String, Token>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    /// Of the token's text, in hexadecimal.
    hash: String,
    expires: Timestamp,
    used: bool,
}

/// Why a token is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The node has none.
    #[error("node {0} has no join token; {ASK}")]
    None(String),
    /// It is not this one.
    #[error(
        "the token is not the one of node {0}: it may be another node's, or a newer one was made since; take the node's own join file, or {ASK}"
    )]
    Wrong(String),
    /// It has been used.
    #[error("the join token of node {0} has been used; if the node has lost its certificate, {ASK}")]
    Used(String),
    /// It is too old.
    #[error("the join token of node {node} expired at {expires}; {ASK}")]
    Expired {
        /// Whose.
        node: String,
        /// When.
        expires: Timestamp,
    },
}

const ASK: &str = "make a new one with `meshctl ca join NODE`";

impl Tokens {
    /// A new token for a node, as text; an older one is no longer good.
    pub(super) fn make(
        &mut self,
        node: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<(String, Timestamp), NoRandom> {
        let text = hex(&random::bytes::<32>()?);
        let expires = now.after(ttl);
        self.0.insert(node.to_owned(), Token { hash: digest(&text), expires, used: false });
        Ok((text, expires))
    }

    /// Whether a token is good for this node, now.
    pub(super) fn check(&self, node: &str, text: &str, now: Timestamp) -> Result<(), TokenError> {
        let token = self.0.get(node).ok_or_else(|| TokenError::None(node.to_owned()))?;
        if token.hash != digest(text) {
            return Err(TokenError::Wrong(node.to_owned()));
        }
        if token.used {
            return Err(TokenError::Used(node.to_owned()));
        }
        if now >= token.expires {
            return Err(TokenError::Expired { node: node.to_owned(), expires: token.expires });
        }
        Ok(())
    }

    /// Takes a token that is good: it is so never again.
    pub(super) fn take(&mut self, node: &str, text: &str, now: Timestamp) -> Result<(), TokenError> {
        self.check(node, text, now)?;
        if let Some(token) = self.0.get_mut(node) {
            token.used = true;
        }
        Ok(())
    }

    /// Whether a node has a token that is still good.
    pub(super) fn is_open(&self, node: &str, now: Timestamp) -> bool {
        self.0.get(node).is_some_and(|token| !token.used && now < token.expires)
    }

    /// Whether a text is the token of a node, good or not.
    pub(super) fn is_of(&self, node: &str, text: &str) -> bool {
        self.0.get(node).is_some_and(|token| token.hash == digest(text))
    }

    /// Forgets a node's token.
    pub(super) fn remove(&mut self, node: &str) {
        self.0.remove(node);
    }
}

fn digest(text: &str) -> String {
    hex(&Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{TokenError, Tokens};
    use crate::ca::Timestamp;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_token_is_good_once_for_its_node_and_a_while() {
        let now = Timestamp::from_unix(1_000_000);
        let mut tokens = Tokens::default();
        let (a, _) = tokens.make("a", HOUR, now).unwrap();
        let (b, expires) = tokens.make("b", HOUR, now).unwrap();
        assert_eq!(tokens.take("a", &b, now), Err(TokenError::Wrong("a".to_owned())), "of another node");
        assert_eq!(tokens.take("c", &a, now), Err(TokenError::None("c".to_owned())));
        assert_eq!(tokens.take("a", &a, now), Ok(()));
        assert_eq!(tokens.take("a", &a, now), Err(TokenError::Used("a".to_owned())));
        let late = TokenError::Expired { node: "b".to_owned(), expires };
        assert_eq!(tokens.take("b", &b, now.after(HOUR)), Err(late));
        assert!(!tokens.is_open("a", now) && tokens.is_open("b", now) && !tokens.is_open("b", expires));
    }

    #[test]
    fn a_new_token_replaces_the_old_and_the_text_is_not_kept() {
        let now = Timestamp::from_unix(1_000_000);
        let mut tokens = Tokens::default();
        let (old, _) = tokens.make("a", HOUR, now).unwrap();
        let (new, _) = tokens.make("a", HOUR, now).unwrap();
        assert_eq!(tokens.take("a", &old, now), Err(TokenError::Wrong("a".to_owned())));
        assert!(!serde_json::to_string(&tokens).unwrap().contains(&new));
        assert_eq!(tokens.take("a", &new, now), Ok(()));
    }
}
