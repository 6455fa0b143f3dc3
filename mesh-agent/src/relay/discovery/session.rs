//! One stream, from its first request to its end.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures::stream::poll_fn;
use mesh_api::discovery as ads;
use tokio::sync::mpsc;

use super::dial::Dialled;
use crate::relay::node::Node;
use crate::relay::resource::{Kind, parse};
use crate::relay::snapshot::Held;

/// Responses that may wait for wire; then nothing more is read until it has caught up.
const PENDING: usize = 256;
/// The longest response.
const RESPONSE_BYTES: usize = 64 << 20;
/// A controller that has said nothing for this long after its settings has told its whole state,
/// also where it had nothing to say of some type.
const QUIET: Duration = Duration::from_secs(2);
/// A first state of this many bytes comes in several responses, each sent when the one before it is
/// acknowledged: until it is whole, acknowledging cannot wait for the kernel.
const LARGE: usize = 256 << 10;
/// When nothing more comes for this long, a large first state is whole.
const WHOLE_AFTER: Duration = Duration::from_millis(500);
/// INVALID_ARGUMENT of google.rpc.Code.
const INVALID_ARGUMENT: i32 = 3;
/// The longest error text of a refusal, characters.
const ERROR_LENGTH: usize = 2000;

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// The stream failed.
    #[error("the stream failed: {} ({})", .0.message(), .0.code())]
    Stream(#[from] tonic::Status),
    /// The requests have no reader any more.
    #[error("the stream takes no more requests")]
    Closed,
}

/// A response that waits until it is in the kernel and in the snapshot.
struct Pending {
    kind: Kind,
    nonce: String,
    names: Vec<String>,
    /// Revision of the state with it.
    revision: u64,
    /// The last change of what is held with it.
    change: u64,
    /// What did not parse.
    fault: Option<String>,
}

/// Runs one stream to its end.
pub(super) async fn run(node: &Rc<Node>, dialled: &Dialled, held: &Held) -> Result<(), SessionError> {
    let (requests, mut queue) = mpsc::channel(PENDING);
    for kind in Kind::ALL {
        send(&requests, subscription(node, kind, held)).await?;
    }
    let mut responses = ads::AggregatedDiscoveryServiceClient::new(dialled.channel.clone())
        .max_decoding_message_size(RESPONSE_BYTES)
        .delta_aggregated_resources(poll_fn(move |context| queue.poll_recv(context)))
        .await?
        .into_inner();
    node.discovery.connected.set(true);
    node.discovery.trouble.borrow_mut().clear();
    tracing::info!("discovery connected");

    let mut applied = node.link.applied.subscribe();
    let mut kept = held.kept();
    let mut pending: Vec<Pending> = Vec::new();
    let mut answered: BTreeSet<Kind> = BTreeSet::new();
    let mut bytes = 0;
    loop {
        let complete = *node.discovery.complete.borrow();
        let restored = node.discovery.restored.get();
        let all_answered = answered.len() == Kind::ALL.len();
        let whole_after = if bytes >= LARGE && all_answered { WHOLE_AFTER } else { QUIET };
        tokio::select! {
            response = responses.message(), if pending.len() < PENDING => {
                let Some(response) = response? else { return Ok(()) };
                node.discovery.heard.set(Some(Instant::now()));
                match Kind::of_type_url(&response.type_url) {
                    Some(kind) => {
                        answered.insert(kind);
                        bytes += bytes_of(&response);
                        pending.push(take(node, kind, response, held));
                        node.link.changed.notify_one();
                    }
                    None => send(&requests, unknown_type(node, &response)).await?,
                }
                if answered.len() == Kind::ALL.len() && bytes < LARGE && node.holds_whole() {
                    node.told();
                }
            }
            () = tokio::time::sleep(whole_after), if (!complete || restored) && node.holds_whole() => node.told(),
            changed = applied.changed() => {
                if changed.is_err() {
                    return Err(SessionError::Closed);
                }
            }
            changed = kept.changed() => {
                if changed.is_err() {
                    return Err(SessionError::Closed);
                }
            }
        }
        let (reached, written) = (*node.link.applied.borrow(), *kept.borrow_and_update());
        let complete = *node.discovery.complete.borrow();
        let done = |response: &Pending| match response.kind {
            _ if bytes >= LARGE && !complete => true,
            // It is in force already, wire has no part in it.
            Kind::TrustBundle => response.change <= written,
            _ => response.revision <= reached && response.change <= written,
        };
        // One response of a type is under way, so the order between them says nothing.
        for response in pending.extract_if(.., |response| done(response)) {
            send(&requests, answer(node, response)).await?;
        }
    }
}

fn bytes_of(response: &ads::DeltaDiscoveryResponse) -> usize {
    let bodies = response.resources.iter().filter_map(|resource| resource.resource.as_ref());
    bodies.map(|body| body.value.len()).sum()
}

async fn send(
    requests: &mpsc::Sender<ads::DeltaDiscoveryRequest>,
    request: ads::DeltaDiscoveryRequest,
) -> Result<(), SessionError> {
    requests.send(request).await.map_err(|_| SessionError::Closed)
}

/// Asks for everything of a type, and says what of it is held already.
fn subscription(node: &Node, kind: Kind, held: &Held) -> ads::DeltaDiscoveryRequest {
    ads::DeltaDiscoveryRequest {
        node: Some(ads::Node { id: node.name.clone(), cluster: String::new() }),
        type_url: kind.type_url(),
        resource_names_subscribe: vec!["*".to_owned()],
        initial_resource_versions: held.versions(kind),
        ..Default::default()
    }
}

/// Takes what parses of a response.
fn take(node: &Node, kind: Kind, response: ads::DeltaDiscoveryResponse, held: &Held) -> Pending {
    let mut faults = Vec::new();
    let mut names = Vec::with_capacity(response.resources.len());
    for resource in response.resources {
        let body = resource.resource.unwrap_or_default();
        match parse(kind, &resource.name, &body.value) {
            Ok(parsed) => {
                node.set(&resource.name, parsed);
                held.insert(kind, &resource.name, resource.version, body.value);
                names.push(resource.name);
            }
            Err(invalid) => faults.push(invalid.to_string()),
        }
    }
    for name in response.removed_resources {
        node.remove(kind, &name);
        held.remove(kind, &name);
    }
    Pending {
        kind,
        nonce: response.nonce,
        names,
        revision: node.desired.borrow().revision(),
        change: held.changes(),
        fault: (!faults.is_empty()).then(|| faults.join("; ")),
    }
}

/// The ACK of a response that is in force and kept, or the NACK of one that is not as it stands.
fn answer(node: &Node, response: Pending) -> ads::DeltaDiscoveryRequest {
    let Pending { kind, nonce, names, fault, .. } = response;
    let fault = fault.or_else(|| node.desired.borrow().fault_of(kind, &names));
    let error_detail = fault.map(|fault| {
        tracing::warn!(kind = kind.name(), fault, "a resource is not in force as it stands");
        node.discovery.nacks.set(node.discovery.nacks.get() + 1);
        node.telemetry.borrow().metrics().nacked(kind);
        node.discovery.last_nack.borrow_mut().clone_from(&fault);
        ads::Status { code: INVALID_ARGUMENT, message: fault.chars().take(ERROR_LENGTH).collect() }
    });
    ads::DeltaDiscoveryRequest {
        type_url: kind.type_url(),
        response_nonce: nonce,
        error_detail,
        ..Default::default()
    }
}

fn unknown_type(node: &Node, response: &ads::DeltaDiscoveryResponse) -> ads::DeltaDiscoveryRequest {
    node.discovery.nacks.set(node.discovery.nacks.get() + 1);
    ads::DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        error_detail: Some(ads::Status {
            code: INVALID_ARGUMENT,
            message: format!("type_url {}: this agent does not know the type", response.type_url),
        }),
        ..Default::default()
    }
}
