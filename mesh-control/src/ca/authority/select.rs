//! From what is asked for to what signs: the same, another issuer, or another root.

use std::path::Path;

use super::{
    super::{
        generate, given,
        material::{Material, certificates},
        origin::Origin,
        rotation::{Phase, Rotation},
        state::State,
        time::Timestamp,
        wanted::{self, Wanted},
    },
    CaError, Demand,
};

/// Puts what is asked for into the state; `directory` is where one may be given as files.
pub(super) fn select(
    state: &mut State,
    directory: Option<&Path>,
    demand: &Demand,
    now: Timestamp,
) -> Result<(), CaError> {
    let wanted = match (&demand.settings.secret, directory) {
        (Some(name), _) => wanted::of_secret(name, demand.secret.as_deref())?,
        (None, None) => Wanted::Own,
        (None, Some(directory)) => {
            let origin = state.current.as_ref().map(|current| &current.origin);
            wanted::of_directory(directory, &state.exported, origin)?
        }
    };
    let settings = &demand.settings;
    let make = || generate::root(settings.root_ttl, settings.issuer_ttl, now);
    let given = match wanted {
        Wanted::Given(given) => given,
        Wanted::Own => {
            let has_own = |material: &Option<Material>| {
                material.as_ref().is_some_and(|material| material.origin == Origin::Generated)
            };
            let coming = if state.next.is_some() { &state.next } else { &state.current };
            if has_own(coming) {
                return Ok(());
            }
            return take(state, make()?, now);
        }
    };
    let is_given = |material: &Material| material.fingerprint() == given.fingerprint();
    let coming = state.next.as_ref().or(state.current.as_ref());
    if coming.is_some_and(is_given) {
        return Ok(());
    }
    given::check(&given, now)?;
    take(state, given, now)
}

fn take(state: &mut State, material: Material, now: Timestamp) -> Result<(), CaError> {
    let Some(current) = &state.current else {
        tracing::info!(origin = %material.origin, "certificate authority");
        state.current = Some(material);
        state.generation = 1;
        state.rotation = Rotation::at(Phase::Stable, now);
        return Ok(());
    };
    if certificates(&current.roots).ok() == certificates(&material.roots).ok() {
        tracing::info!(origin = %material.origin, "another issuer of the same root signs from now on");
        state.current = Some(material);
        // What was under way led away from what is asked for now.
        if state.rotation.phase == Phase::Distributing {
            state.next = None;
            state.rotation = Rotation::at(Phase::Stable, now);
        }
        return Ok(());
    }
    // One replacement at a time: the old root must be gone before the next one comes.
    if state.rotation.phase != Phase::Reissuing {
        tracing::info!(origin = %material.origin, "another root: it is sent to every node first");
        state.replace_root(material, now);
    }
    Ok(())
}
