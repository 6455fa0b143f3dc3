//! Join files: who is given one, and when.

use std::path::PathBuf;

use mesh_api::NodeId;

use super::{
    super::{join::JoinFile, time::Timestamp},
    Authority, CaError, Inner,
};

impl Authority {
    /// Writes join files for new nodes, and for those whose file got lost before it was used.
    pub(super) fn invite(&self, inner: &mut Inner, came: &[String], now: Timestamp) -> Result<(), CaError> {
        if self.agents.is_some() {
            return Ok(());
        }
        let nodes: Vec<String> = inner.state.nodes.names().map(ToOwned::to_owned).collect();
        for node in nodes {
            let lost = inner.state.tokens.is_open(&node, now) && !self.joins.path(&node).exists();
            if came.contains(&node) || lost {
                // A name that cannot be in an identity cannot join, and nobody else has to wait for it.
                if let Err(error) = NodeId::new(&inner.state.trust_domain, &node) {
                    tracing::warn!(%error, "the node cannot join");
                } else {
                    self.make_join(inner, &node, now)?;
                }
            }
        }
        let Inner { state, .. } = inner;
        Ok(self.joins.keep_only(|node| state.tokens.is_open(node, now))?)
    }

    /// Gives a node a new token, in a new join file.
    pub(in super::super) fn make_join(
        &self,
        inner: &mut Inner,
        node: &str,
        now: Timestamp,
    ) -> Result<(PathBuf, Timestamp), CaError> {
        let mut state = inner.state.clone();
        let (token, expires) = state.tokens.make(node, self.directories.join_ttl, now)?;
        self.commit(inner, state)?;
        let join = JoinFile {
            version: 1,
            node: node.to_owned(),
            token,
            trust_domain: inner.state.trust_domain.clone(),
            roots: inner.state.roots(),
        };
        let path = self.joins.write(&join)?;
        tracing::info!(node, file = %path.display(), %expires, "join file written");
        Ok((path, expires))
    }

    /// A file that waits for its node must name the roots that the controller has then.
    pub(super) fn refresh_joins(&self, inner: &Inner) -> Result<(), CaError> {
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
