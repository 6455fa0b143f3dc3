//! One step of the authority: what the model asks for, what the time brings, what nodes have come to.

use std::{sync::Arc, time::Duration};

use mesh_api::resources::TrustBundle;

use super::{
    super::{
        generate,
        rotation::{Due, Phase, Rotation, due},
        state::State,
        time::Timestamp,
        trust::Trust,
    },
    Authority, CaError, Demand, Inner, Streams, Turn, select,
    server::{self, Server},
};

/// A state that somebody may take away is written again after this.
const AGAIN: Duration = Duration::from_secs(300);

impl Authority {
    /// Takes one step: what the model asks for, what the time brings, what nodes have come to.
    /// What goes wrong is kept as the problem, and stops nothing that worked.
    pub(in super::super) fn step(&self, demand: &Demand, streams: &Streams, now: Timestamp) {
        let turn = self.turn();
        let result = self.try_step(&turn, demand, streams, now);
        let problem = result.err().map(|error| error.to_string());
        let mut inner = self.lock();
        if let Some(problem) = problem.as_ref().filter(|problem| inner.problem.as_ref() != Some(*problem)) {
            tracing::error!(%problem, "certificate authority");
        }
        inner.problem = problem;
    }

    fn try_step(
        &self,
        turn: &Turn<'_>,
        demand: &Demand,
        streams: &Streams,
        now: Timestamp,
    ) -> Result<(), CaError> {
        let mut inner = self.lock();
        inner.ledger.forget_expired(now);
        let mut state = inner.state.clone();
        if state.trust_domain != demand.trust_domain {
            let previous = std::mem::replace(&mut state.trust_domain, demand.trust_domain.clone());
            state.previous_trust_domain = Some(previous).filter(|domain| !domain.is_empty());
        }
        inner.presence.look(&streams.connected, now);
        inner.progress = self.progress(&inner, streams, now);
        // An authority that cannot be taken leaves the one that signs, and everything else goes on.
        let selected = select::select(&mut state, self.files(), demand, now);
        let maintained = maintain(&mut state, &inner, demand, now);
        // What nodes acknowledged counts only for the roots that a phase is about.
        let told = self.trust.borrow().as_ref().map(|trust| trust.bundle.roots.clone());
        let is_told = told == Some(server::roots(&inner.state)?.iter().map(|root| root.to_vec()).collect());
        if is_told
            && state.rotation == inner.state.rotation
            && let Some(phase) = state.rotation.advance(inner.progress, now)
        {
            enter(&mut state, phase, now);
        }
        state.lives.set(demand.settings.workload_ttl, now);
        let ends = state.lives.end(now).max(inner.unlisted_until.unwrap_or_default());
        let moved = state.nodes.look(&demand.nodes, now, |node| inner.ledger.last_expiry(node).max(ends));
        moved.went.iter().for_each(|node| state.tokens.remove(node));
        drop(inner);
        let committed = self.commit(turn, state);
        let mut inner = self.lock();
        let signs = inner.signer.is_some();
        let mut invited = Ok(());
        if committed.is_ok() {
            for node in &moved.went {
                tracing::warn!(node, "node removed: its certificates are refused from now on");
                inner.rates.remove(node);
            }
            inner.demand = Some(demand.clone());
            if signs {
                drop(inner);
                invited = self.invite(turn, &moved.came, now);
                inner = self.lock();
            }
        }
        // What could not be written down is not in force; what is in force is kept up.
        if signs {
            self.publish(&mut inner, now)?;
        }
        drop(inner);
        committed?;
        invited?;
        self.keep_again(turn, now)?;
        selected.and(maintained)
    }

    /// Writes the state where it should be already: it may have been removed there, and would be lost
    /// with this process.
    fn keep_again(&self, _turn: &Turn<'_>, now: Timestamp) -> Result<(), CaError> {
        let state = {
            let inner = self.lock();
            if !self.is_shared || inner.signer.is_none() || now.since(inner.kept) < AGAIN {
                return Ok(());
            }
            inner.state.clone()
        };
        state.save_again(&*self.keep)?;
        self.lock().kept = now;
        Ok(())
    }

    /// Tells everybody, if anything changed.
    fn publish(&self, inner: &mut Inner, now: Timestamp) -> Result<(), CaError> {
        let Inner { state, signer, server, demand, .. } = inner;
        let (Some(signer), Some(demand)) = (signer.as_ref(), demand.as_ref()) else { return Ok(()) };
        let roots = server::roots(state)?;
        let bundle = TrustBundle {
            trust_domain: state.trust_domain.clone(),
            roots: roots.iter().map(|root| root.to_vec()).collect(),
            issuer_key_id: signer.key_id.clone(),
            revoked: state.nodes.revoked().iter().map(|tag| tag.bytes().to_vec()).collect(),
        };
        let is_fresh = |server: &Server| server.is_good(&bundle, now);
        if !server.as_ref().is_some_and(is_fresh) {
            *server = Some(Server::new(signer, &bundle, &roots, demand.settings.workload_ttl, now)?);
        }
        let Some(server) = server.as_ref() else { return Ok(()) };
        let domains = [Some(state.trust_domain.clone()), state.previous_trust_domain.clone()];
        let trust = Trust {
            domains: domains.into_iter().flatten().collect(),
            tags: state.nodes.tags(),
            revoked: state.nodes.revoked(),
            bundle,
            server: server.config.clone(),
        };
        let is_stale = |last: &Arc<Trust>| {
            (&last.bundle.roots, &last.bundle.trust_domain)
                != (&trust.bundle.roots, &trust.bundle.trust_domain)
        };
        let stale = self.trust.borrow().as_ref().is_none_or(is_stale);
        self.trust.send_if_modified(|last| {
            let same = last.as_ref().is_some_and(|last| last.is_same(&trust));
            if !same {
                *last = Some(Arc::new(trust));
            }
            !same
        });
        inner.presence.published(now);
        if stale {
            self.refresh_joins(inner)?;
        }
        Ok(())
    }
}

/// What a generated authority needs in time.
fn maintain(state: &mut State, inner: &Inner, demand: &Demand, now: Timestamp) -> Result<(), CaError> {
    let Some(signer) = &inner.signer else { return Ok(()) };
    let current = state.current.as_ref().filter(|current| current.root_key.is_some());
    // One that is about to be replaced, or was just now, is looked at in the next step.
    let Some(current) = current.filter(|_| state.current == inner.state.current) else { return Ok(()) };
    let settings = &demand.settings;
    let lives = (signer.not_before, signer.not_after);
    match due(state.rotation.phase, lives, signer.root_not_after, settings.issuer_ttl, now) {
        Due::Nothing => {}
        Due::Issuer => {
            tracing::info!(expires = %signer.not_after, "the issuer is renewed");
            let renewed = generate::issuer(current, settings.issuer_ttl, signer.root_not_after, now)?;
            state.current = Some(renewed);
        }
        Due::Root => {
            tracing::info!(expires = %signer.root_not_after, "the root is replaced before it expires");
            state.replace_root(generate::root(settings.root_ttl, settings.issuer_ttl, now)?, now);
        }
    }
    Ok(())
}

/// Enters the phase that follows.
fn enter(state: &mut State, phase: Phase, now: Timestamp) {
    match phase {
        Phase::Reissuing => {
            if let Some(next) = state.next.take() {
                state.retired = state.current.replace(next).map(|retired| retired.roots);
                state.generation += 1;
            }
        }
        Phase::Stable => state.retired = None,
        Phase::Distributing => {}
    }
    state.rotation = Rotation::at(phase, now);
}
