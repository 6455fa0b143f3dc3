//! Join files: who is given one, and when.

use std::path::PathBuf;

use mesh_api::NodeId;

use super::{
    super::{join::JoinFile, time::Timestamp},
    Authority, CaError, Inner, Turn,
};

impl Authority {
    /// Writes join files for new nodes, and for those whose file got lost before it was used.
    pub(super) fn invite(&self, turn: &Turn<'_>, came: &[String], now: Timestamp) -> Result<(), CaError> {
        if self.agents.is_some() {
            return Ok(());
        }
        let state = self.lock().state.clone();
        for node in state.nodes.names() {
            let lost = state.tokens.is_open(node, now) && !self.joins.path(node).exists();
            if came.iter().any(|came| came == node) || lost {
                // A name that cannot be in an identity cannot join, and nobody else has to wait for it.
                if let Err(error) = NodeId::new(&state.trust_domain, node) {
                    tracing::warn!(%error, "the node cannot join");
                } else {
                    self.make_join(turn, node, now)?;
                }
            }
        }
        let Inner { state, .. } = &*self.lock();
        Ok(self.joins.keep_only(|node| state.tokens.is_open(node, now))?)
    }

    /// Gives a node a new token, in a new join file.
    pub(in super::super) fn make_join(
        &self,
        turn: &Turn<'_>,
        node: &str,
        now: Timestamp,
    ) -> Result<(PathBuf, Timestamp), CaError> {
        let mut state = self.lock().state.clone();
        let (token, expires) = state.tokens.make(node, self.directories.join_ttl, now)?;
        let join = JoinFile {
            version: 1,
            node: node.to_owned(),
            token,
            trust_domain: state.trust_domain.clone(),
            roots: state.roots(),
        };
        self.commit(turn, state)?;
        let path = self.joins.write(&join)?;
        tracing::info!(node, file = %path.display(), %expires, "join file written");
        Ok((path, expires))
    }

    /// A file that waits for its node must name the roots that the controller has then.
    pub(super) fn refresh_joins(&self, inner: &Inner) -> Result<(), CaError> {
        if self.agents.is_some() {
            return Ok(());
        }
        let roots = inner.state.roots();
        for node in inner.state.nodes.names() {
            let Some(join) = self.joins.read(node) else { continue };
            let ours = inner.state.tokens.is_of(node, &join.token);
            if ours && (join.roots != roots || join.trust_domain != inner.state.trust_domain) {
                let trust_domain = inner.state.trust_domain.clone();
                self.joins.write(&JoinFile { roots: roots.clone(), trust_domain, ..join })?;
            }
        }
        Ok(())
    }
}
