//! One request, from the decision on it to what is told of it.

use std::rc::Rc;
use std::sync::Arc;

use http::StatusCode;
use mesh_l7::request::has_grpc_type;

use super::body::Source;
use super::decide::{Asked, Decision, Refusal};
use super::message::Arrived;
use super::record::{Ending, Recording};
use super::refuse::{answer, refuse};
use super::request::Request;
use super::respond::Responder;
use super::tally::Entered;
use super::{Session, forward};

/// Serves a request; how it ended.
pub(crate) async fn serve(
    session: &Rc<Session>,
    arrived: Arrived,
    body: &mut Source<'_>,
    responder: Responder<'_>,
) -> Ending {
    let Arrived { mut head, path, host, websocket } = arrived;
    let mut recording = Recording::start(session.tell(), head.version());
    recording.method = Some(head.method().clone());
    recording.authority = host.as_ref().map(ToString::to_string).unwrap_or_default();
    recording.path = path.as_str().to_owned();
    let grpc = has_grpc_type(head.headers());
    let Some(_place) = admit(session) else {
        let message = "too many requests of this workload are under way";
        let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, Ending::Overflow, message);
        refuse(session, refusal, grpc, responder, &mut recording).await;
        return recording.ending;
    };
    let mut asked = Asked { head: &mut head, path: &path, host: host.as_ref() };
    let decision = session.connection.decide.decide(&mut asked, &|| session.engine.random());
    recording.identified(head.headers());
    match decision {
        Decision::Respond(labels, response) => {
            recording.labels = labels;
            recording.end(Ending::Answered, "");
            answer(session, *response, responder, &mut recording).await;
        }
        Decision::Refuse(labels, refusal) => {
            recording.labels = labels;
            refuse(session, refusal, grpc, responder, &mut recording).await;
        }
        Decision::Forward(forward) => {
            recording.labels = forward.labels.clone();
            let request = Request { head: &head, websocket, grpc };
            forward::run(session, request, *forward, body, responder, &mut recording).await;
        }
    }
    recording.ending
}

/// A place among the requests of the pod, if there is one.
fn admit(session: &Session) -> Option<Entered<Arc<str>>> {
    let (engine, pod) = (&session.engine, &session.connection.pod);
    (engine.of_pods.of(pod) < engine.limits.requests_of_pod).then(|| engine.of_pods.enter(Arc::clone(pod)))
}
