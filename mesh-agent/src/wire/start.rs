//! Bringing it up: check the kernel, load or adopt, attach, drop what is not needed, start the
//! threads, run the loop.

use std::io;
use std::sync::Arc;

use super::Options;
use super::apply::Kernel;
use super::cgroups::Finder;
use super::cgroups::watch::Watcher;
use super::content::Content;
use super::endpoint::EndpointError;
use super::enforce::Enforcer;
use super::events::{self, Endings};
use super::hierarchy::{Hierarchy, HierarchyError};
use super::interfaces;
use super::links::{ALWAYS, LinkError, Links};
use super::listeners::Listeners;
use super::maps::{MapFailure, Maps};
use super::node::{Node, Parts, signals};
use super::observe::Observer;
use super::older::Older;
use super::outbox::Outbox;
use super::pins::{PinError, Pins};
use super::platform::{self, PlatformError};
use super::privileges::{self, PrivilegesError};
use super::programs::{Programs, ProgramsError};
use super::report::{Health, Reporter};
use super::roster::Roster;
use super::run_dir::{self, RunDirError};
use super::session::Server;
use super::supply::{Channel, Supply};
use crate::handover::sockets;
use crate::sys::memory::give_back;
use crate::sys::netns::Netns;

/// Why wire does not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    /// The machine.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// Its cgroups.
    #[error(transparent)]
    Hierarchy(#[from] HierarchyError),
    /// The run directory.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// The pins.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// The programs.
    #[error(transparent)]
    Programs(#[from] ProgramsError),
    /// Attaching them.
    #[error(transparent)]
    Links(#[from] LinkError),
    /// The maps.
    #[error(transparent)]
    Maps(#[from] MapFailure),
    /// A socket for relay.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// Capabilities.
    #[error(transparent)]
    Privileges(#[from] PrivilegesError),
    /// A thread, a socket or `/proc`.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

fn during(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Io { what, source }
}

/// Runs the privileged process.
///
/// # Errors
/// When it cannot start; once it runs, it runs.
pub(super) fn run(options: &Options) -> Result<(), StartError> {
    platform::check_kernel()?;
    let (hierarchy, cgroup_root) = Hierarchy::find(&options.cgroup_root)?;
    let (shown_root, depth) = (cgroup_root.display().to_string(), hierarchy.level(&cgroup_root));
    let pins = Pins::open(&options.pin_root)?;
    let (programs, adopted) = Programs::load(&pins)?;
    let mut links = Links::adopt(pins.links(), &cgroup_root, Arc::new(programs))?;
    for hook in ALWAYS {
        links.attach_cgroup(hook)?;
    }
    let relay_uid = options.relay_uid.unwrap_or_else(|| nix::unistd::Uid::effective().as_raw());
    let relay_gid = options.relay_gid.unwrap_or(relay_uid);
    run_dir::share(&options.run_dir, relay_uid, relay_gid)?;
    let server = Server::bind(&options.run_dir.join("wire.sock"), relay_uid)?;
    let channel = Channel::bind(&options.run_dir.join(sockets::NAME), relay_uid)?;
    privileges::drop_unneeded()?;

    let node_netns = Netns::current()
        .and_then(|netns| netns.cookie())
        .map_err(during("naming the node's network namespace"))?;
    let directory = pins.maps();
    let listeners = Listeners::default();
    let mut kernel = Kernel { maps: Maps::open(&directory)?, links, listeners: listeners.clone() };
    let content = Content::adopt(&mut kernel.maps)?;
    let (signals, bell, inbox) = signals();
    let (outbox, roster, older, health, endings) =
        (Outbox::default(), Roster::default(), Older::default(), Health::default(), Endings::default());
    let thread = "starting a thread";
    let interface_bell = bell.clone();
    interfaces::watch::start(move || interface_bell.ring()).map_err(during(thread))?;
    let watcher = Watcher::start(move || bell.ring()).map_err(during(thread))?;
    let work = Enforcer {
        maps: Maps::open(&directory)?,
        roster: roster.clone(),
        older: older.clone(),
        endings: endings.clone(),
        outbox: outbox.clone(),
    }
    .start()
    .map_err(during(thread))?;
    let mut node = Node::new(Parts {
        name: options.node.clone(),
        kernel,
        finder: Finder {
            hierarchy: hierarchy.clone(),
            root: cgroup_root,
            named_roots: options.pods_root.clone(),
        },
        watcher,
        observer: Observer { node: node_netns, uplinks: options.uplink.clone() },
        agents: vec![hierarchy.own()?],
        content,
        roster: roster.clone(),
        older: older.clone(),
        health: health.clone(),
        outbox: outbox.clone(),
        work,
        adopted,
        pins,
    })?;
    node.begin();
    events::start(Maps::open_events(&directory)?, endings, outbox.clone()).map_err(during(thread))?;
    let supply = Supply { roster: roster.clone(), listeners };
    Reporter { maps: Maps::open(&directory)?, roster, older, health, outbox: outbox.clone() }
        .start()
        .map_err(during(thread))?;
    channel.start(supply).map_err(during(thread))?;
    server.start(signals, outbox).map_err(during(thread))?;
    // Loading took several megabytes for a moment.
    give_back();
    tracing::info!(
        node = options.node,
        adopted,
        netns = node_netns,
        cgroup_root = %shown_root,
        depth,
        "the data path is in force"
    );
    node.run(&inbox);
    Ok(())
}
