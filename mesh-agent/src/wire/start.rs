//! Bringing it up: check the kernel, load or adopt, attach, drop what is not needed, start the
//! threads, run the loop.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread;

use nix::sys::signal::{SigSet, Signal as Posix};

use super::Options;
use super::apply::Kernel;
use super::cgroups::Finder;
use super::cgroups::watch::Watcher;
use super::content::Content;
use super::earlier::Earlier;
use super::endpoint::EndpointError;
use super::enforce::Enforcer;
use super::events::{Endings, Reader};
use super::given::Given;
use super::hierarchy::{Hierarchy, HierarchyError};
use super::interfaces;
use super::linger::{self, Left};
use super::links::{ALWAYS, LinkError, Links};
use super::listeners::Listeners;
use super::maps::{MapFailure, Maps};
use super::node::{AGENTS, Ended, Node, Parts};
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
use super::signal::{Signal, signals};
use super::supply::{Channel, Supply};
use super::takeover::{self, Takeover, TakeoverError};
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
    /// Another wire holds them.
    #[error(transparent)]
    Takeover(#[from] TakeoverError),
    /// This wire gave way, and the other ended.
    #[error(
        "this wire gave way to another one, which has ended, and nobody holds pin root {}: it is to be started anew and goes on with what is in force",
        path.display()
    )]
    Needed {
        /// The pin root.
        path: PathBuf,
    },
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

/// Runs the privileged process until it is told to end, and relay has.
///
/// # Errors
/// When it cannot start, or it gave way to another wire and is needed again.
pub(super) fn run(options: &Options) -> Result<(), StartError> {
    let end = block_signals()?;
    platform::check_kernel()?;
    let (hierarchy, cgroup_root) = Hierarchy::find(&options.cgroup_root)?;
    let (shown_root, depth) = (cgroup_root.display().to_string(), hierarchy.level(&cgroup_root));
    let relay_uid = options.relay_uid.unwrap_or_else(|| nix::unistd::Uid::effective().as_raw());
    let relay_gid = options.relay_gid.unwrap_or(relay_uid);
    let pod_dir = options.pod_dir.as_ref().unwrap_or(&options.run_dir);
    // Before a wire that runs is asked to give way: for one that cannot start it would do so for nothing.
    run_dir::share(&options.run_dir, relay_uid, relay_gid)?;
    run_dir::share(pod_dir, relay_uid, relay_gid)?;
    let (pins, left) = take_pins(options)?;
    let (programs, adopted) = Programs::load(&pins)?;
    let mut links = Links::adopt(pins.links(), &cgroup_root, Arc::new(programs))?;
    for hook in ALWAYS {
        links.attach_cgroup(hook)?;
    }
    let server = Server::bind(&pod_dir.join("wire.sock"), relay_uid)?;
    let channel = Channel::bind(&pod_dir.join(sockets::NAME), relay_uid)?;
    let takeover = Takeover::bind(&options.run_dir.join(takeover::NAME))?;
    privileges::drop_unneeded()?;

    let node_netns = Netns::current()
        .and_then(|netns| netns.cookie())
        .map_err(during("naming the node's network namespace"))?;
    let directory = pins.maps();
    let listeners = Listeners::default();
    let maps = Maps::open(&directory)?;
    let succeeds = left.as_ref().is_some_and(Given::is_adopted);
    let earlier = if succeeds { Earlier::of(&maps) } else { Earlier::default() };
    let mut kernel = Kernel { maps, links, listeners: listeners.clone(), earlier };
    let content = Content::adopt(&mut kernel.maps)?;
    let (signals, bell, inbox) = signals();
    let (outbox, roster, older, health, endings) =
        (Outbox::default(), Roster::default(), Older::default(), Health::default(), Endings::default());
    let starting = "starting a thread";
    let interface_bell = bell.clone();
    interfaces::watch::start(move || interface_bell.ring()).map_err(during(starting))?;
    let watcher = Watcher::start(move || bell.ring()).map_err(during(starting))?;
    let work = Enforcer {
        maps: Maps::open(&directory)?,
        roster: roster.clone(),
        older: older.clone(),
        endings: endings.clone(),
        outbox: outbox.clone(),
    }
    .start()
    .map_err(during(starting))?;
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
        agents: agents(&hierarchy, left.as_ref())?,
        content,
        roster: roster.clone(),
        older: older.clone(),
        health: health.clone(),
        outbox: outbox.clone(),
        work,
        adopted,
        pins,
        succeeds,
        linger: options.linger,
    })?;
    node.begin();
    let ring = Maps::open_events(&directory)?;
    let reader = Reader::start(ring, endings, outbox.clone()).map_err(during(starting))?;
    let supply = Supply { roster: roster.clone(), listeners };
    Reporter { maps: Maps::open(&directory)?, roster, older, health, outbox: outbox.clone() }
        .start()
        .map_err(during(starting))?;
    channel.start(supply).map_err(during(starting))?;
    takeover.start(signals.clone()).map_err(during(starting))?;
    follow_signals(end, signals.clone()).map_err(during(starting))?;
    server.start(signals, outbox.clone()).map_err(during(starting))?;
    // Loading took several megabytes for a moment.
    give_back();
    tracing::info!(
        node = options.node,
        adopted,
        succeeds,
        netns = node_netns,
        cgroup_root = %shown_root,
        depth,
        "the data path is in force"
    );
    let successor = match node.run(&inbox) {
        Ended::Told => return Ok(()),
        Ended::GaveWay(successor) => successor,
    };
    reader.stop();
    let (agents, ending) = node.give_way();
    tracing::info!(
        node = options.node,
        "another wire goes on in this one's place; this one stays for its relay"
    );
    // Who does not wait any longer does not come: then this one is needed again.
    let _ = successor.send(Given::new(agents));
    match linger::stay(&inbox, &outbox, &options.pin_root, ending, options.linger) {
        Left::Told => Ok(()),
        Left::Needed => Err(StartError::Needed { path: options.pin_root.clone() }),
    }
}

/// Takes the pins, from another wire if that holds them and this one has a directory of its own for its relay.
fn take_pins(options: &Options) -> Result<(Pins, Option<Given>), StartError> {
    match Pins::open(&options.pin_root) {
        Err(PinError::Held { .. }) if options.pod_dir.is_some() => {
            tracing::info!("another wire is in force; it is asked to give way");
            let given = takeover::ask(&options.run_dir.join(takeover::NAME))?;
            Ok((Pins::open(&options.pin_root)?, Some(given)))
        }
        opened => Ok((opened?, None)),
    }
}

/// The cgroups of this agent, this process's first, and those of the agent whose place it takes: connections of theirs
/// may be open, through sockets of the same kernel programs.
fn agents(hierarchy: &Hierarchy, left: Option<&Given>) -> Result<Vec<PathBuf>, HierarchyError> {
    let mut agents = vec![hierarchy.own()?];
    let others = left.filter(|given| given.is_adopted()).into_iter().flat_map(|given| &given.agents);
    for &process in others {
        match hierarchy.of_process(process) {
            Ok(path) if agents.contains(&path) || agents.len() >= AGENTS => {}
            Ok(path) => agents.push(path),
            Err(error) => tracing::debug!(%error, "a process of the earlier agent has ended"),
        }
    }
    Ok(agents)
}

/// Has SIGTERM and SIGINT wait for a thread of their own; called before the first thread is made.
fn block_signals() -> Result<SigSet, StartError> {
    let mut end = SigSet::empty();
    end.add(Posix::SIGTERM);
    end.add(Posix::SIGINT);
    end.thread_block().map_err(|errno| during("blocking signals")(errno.into()))?;
    Ok(end)
}

fn follow_signals(end: SigSet, signals: SyncSender<Signal>) -> io::Result<()> {
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || while end.wait().is_ok() && signals.send(Signal::End).is_ok() {})?;
    Ok(())
}
