//! One connection to wire, from the greeting to its end.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};

use super::frames;
use crate::handover::{Answer, FrameError, FromWire, Reset, ToWire, VERSION};
use crate::relay::node::{Asked, Node};

/// Messages told between two looks at the connection.
const BATCH: usize = 256;
/// After the first change, how long to gather the ones that belong with it.
const SETTLE: Duration = Duration::from_millis(20);
/// How much longer to wait for the policy of a pod that came without it.
const POLICY_WITHIN: Duration = Duration::from_millis(300);
/// Answers wire may owe; more are forgotten when their askers have given up.
const OWED: usize = 64;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// The socket failed or was closed.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// wire speaks another version.
    #[error("wire speaks version {0} of the handover, relay {VERSION}; run both from one build")]
    Version(u16),
    /// wire did not greet.
    #[error("wire's first message was not its greeting")]
    NoGreeting,
    /// relay is ending.
    #[error("relay is ending")]
    Ending,
}

type Owed = RefCell<HashMap<u64, oneshot::Sender<Answer>>>;

/// Runs one connection; gives back why it ended.
pub(super) async fn run(
    node: &Rc<Node>,
    stream: UnixStream,
    questions: &mut mpsc::Receiver<Asked>,
) -> SessionError {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    match greet(&mut read, &mut write).await {
        Ok(succeeds) => node.link.succeeds.set(succeeds),
        Err(error) => return error,
    }
    node.link.leaving.set(false);
    node.link.since.set(Some(Instant::now()));
    node.link.connected.set(true);
    node.link.trouble.borrow_mut().clear();
    node.pods.borrow_mut().clear();
    node.link.pods_changed.notify_one();
    tracing::info!("connected to wire");
    let owed = Owed::default();
    let committed = watch::Sender::new(0);
    let ended = tokio::select! {
        ended = listen(node, read, &owed, &committed) => ended,
        ended = tell(node, write, questions, &owed, committed.subscribe()) => ended,
    };
    ended.err().unwrap_or(SessionError::Ending)
}

/// Says whether wire has taken another one's place.
async fn greet(
    read: &mut BufReader<OwnedReadHalf>,
    write: &mut OwnedWriteHalf,
) -> Result<bool, SessionError> {
    frames::write(write, &ToWire::Hello { version: VERSION }).await?;
    match frames::read(read).await? {
        FromWire::Hello { version: VERSION, adopted, succeeds } => {
            tracing::debug!(adopted, succeeds, "wire greets");
            Ok(succeeds)
        }
        FromWire::Hello { version, .. } => Err(SessionError::Version(version)),
        _ => Err(SessionError::NoGreeting),
    }
}

/// Takes wire's reports. `committed` is the last commit that is in the kernel.
async fn listen(
    node: &Node,
    mut read: BufReader<OwnedReadHalf>,
    owed: &Owed,
    committed: &watch::Sender<u64>,
) -> Result<(), SessionError> {
    loop {
        match frames::read(&mut read).await? {
            FromWire::Hello { .. } => return Err(SessionError::NoGreeting),
            FromWire::Applied { sequence } => {
                committed.send_replace(sequence);
            }
            FromWire::Refused { what, why } => {
                tracing::warn!(what, why, "wire refused an entry");
                node.desired.borrow_mut().refuse(&what, why);
            }
            FromWire::Pod(report) => {
                let uid = report.uid.clone();
                {
                    let mut pods = node.pods.borrow_mut();
                    pods.insert(uid.clone(), report);
                    node.telemetry.borrow().pods(pods.values());
                }
                node.link.pods_changed.notify_one();
                node.link.reported.send_modify(|changes| *changes += 1);
                if node.place(&uid) {
                    node.link.changed.notify_one();
                }
            }
            FromWire::PodGone { uid } => {
                let mut pods = node.pods.borrow_mut();
                pods.remove(&uid);
                node.link.pods_gone.borrow_mut().insert(uid);
                node.link.pods_changed.notify_one();
                node.link.reported.send_modify(|changes| *changes += 1);
                node.telemetry.borrow().pods(pods.values());
            }
            FromWire::Events(events) => {
                node.report(|telemetry, context| telemetry.events(&events, context));
            }
            FromWire::Ended(ended) => node.telemetry.borrow_mut().ended(ended),
            FromWire::Samples(samples) => {
                node.report(|telemetry, context| telemetry.samples(&samples, context));
            }
            FromWire::Counts(counts) => {
                let now = Instant::now();
                node.world.set_local_proof(counts.local_proof);
                node.report(|telemetry, context| telemetry.counts(counts, now, context));
            }
            FromWire::Leaving => {
                tracing::info!(
                    "another wire has taken the place of this relay's; connections are taken until this relay is told to end"
                );
                node.link.leaving.set(true);
                node.pods.borrow_mut().clear();
                node.link.pods_changed.notify_one();
            }
            FromWire::Answer { id, answer } => {
                // Also when nobody waits for it any more.
                if let Answer::Reset(Reset { ended, .. }) = &answer {
                    node.telemetry.borrow().reset(*ended);
                }
                if let Some(asker) = owed.borrow_mut().remove(&id) {
                    // An asker that gave up is none of wire's business.
                    let _ = asker.send(answer);
                }
            }
        }
    }
}

/// Tells wire the whole state, then every change, one commit at a time.
async fn tell(
    node: &Node,
    mut write: OwnedWriteHalf,
    questions: &mut mpsc::Receiver<Asked>,
    owed: &Owed,
    mut committed: watch::Receiver<u64>,
) -> Result<(), SessionError> {
    let mut complete = node.discovery.complete.subscribe();
    // wire keeps what it holds until the whole state can be told: nothing opens meanwhile.
    let mut told = Told::Nothing;
    let mut sequence = 0;
    let mut next_id = 0;
    // The revision that the commit under way brings.
    let mut under_way: Option<u64> = None;
    let mut awaiting: Option<Instant> = None;
    let mut told_serving = BTreeMap::new();
    loop {
        let ready = *complete.borrow();
        let may_tell = ready && under_way.is_none();
        if may_tell && matches!(told, Told::Nothing) {
            node.desired.borrow_mut().forget_told();
            told = Told::InPart;
        }
        if may_tell && settled(node, &mut awaiting) {
            let whole = matches!(told, Told::InPart);
            let anything = send_changes(node, &mut write).await?;
            if whole {
                frames::write(&mut write, &ToWire::Synced).await?;
                told = Told::Whole;
            }
            let revision = node.desired.borrow().revision();
            if anything || whole {
                sequence += 1;
                frames::write(&mut write, &ToWire::Commit { sequence }).await?;
                under_way = Some(revision);
            } else {
                node.link
                    .applied
                    .send_if_modified(|applied| std::mem::replace(applied, revision) != revision);
            }
        }
        if matches!(told, Told::Whole) {
            let serving = node.link.serving.borrow().clone();
            for (uid, &listeners) in
                serving.iter().filter(|(uid, made)| told_serving.get(*uid) != Some(*made))
            {
                frames::write(&mut write, &ToWire::Serves { uid: uid.clone(), listeners }).await?;
            }
            told_serving = serving;
        }
        tokio::select! {
            () = node.link.changed.notified() => tokio::time::sleep(SETTLE).await,
            () = tokio::time::sleep(SETTLE), if may_tell && is_waiting(awaiting) => {}
            changed = complete.changed(), if !ready => changed.map_err(|_| SessionError::Ending)?,
            changed = committed.changed() => {
                changed.map_err(|_| SessionError::Ending)?;
                if *committed.borrow_and_update() == sequence
                    && let Some(revision) = under_way.take()
                {
                    node.link.synced.set(true);
                    node.link.applied.send_replace(revision);
                }
            }
            Some(Asked { question, answer }) = questions.recv() => {
                next_id += 1;
                {
                    let mut owed = owed.borrow_mut();
                    if owed.len() >= OWED {
                        owed.retain(|_, asker| !asker.is_closed());
                    }
                    owed.insert(next_id, answer);
                }
                frames::write(&mut write, &ToWire::Ask { id: next_id, question }).await?;
            }
        }
    }
}

/// How much of the state wire has been told.
enum Told {
    Nothing,
    InPart,
    Whole,
}

/// Whether no pod waits for a policy that may be just behind it on the stream. One that does not
/// come in time is told of all the same: it denies everything.
fn settled(node: &Node, awaiting: &mut Option<Instant>) -> bool {
    if !node.desired.borrow().awaits_policy() {
        *awaiting = None;
        return true;
    }
    awaiting.get_or_insert_with(Instant::now);
    !is_waiting(*awaiting)
}

fn is_waiting(awaiting: Option<Instant>) -> bool {
    awaiting.is_some_and(|since| since.elapsed() <= POLICY_WITHIN)
}

/// Sends what wire has not been told; says whether there was anything.
async fn send_changes(node: &Node, write: &mut OwnedWriteHalf) -> Result<bool, SessionError> {
    let mut anything = false;
    loop {
        let messages = node.desired.borrow_mut().take_changes(BATCH);
        if messages.is_empty() {
            return Ok(anything);
        }
        anything = true;
        for message in &messages {
            match message {
                ToWire::Set(set) => node.names.borrow_mut().learn_set(set),
                ToWire::SetGone { id } => node.names.borrow_mut().forget_set(*id),
                _ => {}
            }
            frames::write(write, message).await?;
        }
    }
}
