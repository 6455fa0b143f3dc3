//! Streams that stay open while messages go to and fro, for everything that ends streams or must not.

use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Frame;
use hyper_util::rt::TokioIo;

use super::{
    super::{
        grpc::Messages,
        order::{Answer, Content, Event, Fields, Head, Order},
        piped::piped,
        websocket,
    },
    Progress, Step,
    ask::begin,
    connection::Connections,
    tell, whole,
};

/// Until the server ends it.
pub(super) async fn converse(
    order: &Order,
    every: Duration,
    connections: &Connections,
    progress: &mut Progress,
) -> Result<Answer, Step> {
    if matches!(order.content, Content::WebSocket { .. }) {
        web_socket(order, every, connections, progress).await
    } else {
        grpc(order, every, connections, progress).await
    }
}

async fn web_socket(
    order: &Order,
    every: Duration,
    connections: &Connections,
    progress: &mut Progress,
) -> Result<Answer, Step> {
    let failed = |error: std::io::Error| ("converse", error.to_string());
    let start = Instant::now();
    let (head, response) = begin(order, Either::Left(Full::default()), connections, progress).await?;
    if head.status != 101 && !(head.status == 200 && response.version() == hyper::Version::HTTP_2) {
        return Ok(ended(head, Fields::new(), 0, start));
    }
    let accepted = response.headers().get("sec-websocket-accept").map(|value| value.as_bytes().to_owned());
    if accepted.is_some_and(|accepted| accepted != b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") {
        return Err(("ask", "the key was answered wrongly".to_owned()));
    }
    let switched = hyper::upgrade::on(response).await.map_err(|error| ("ask", whole(&error)))?;
    tell(order.id, Event::Opened(head.clone()));
    let mut stream = TokioIo::new(switched);
    loop {
        let sent = format!("round {}", progress.received);
        websocket::write(&mut stream, &sent, true).await.map_err(failed)?;
        match websocket::read(&mut stream).await.map_err(failed)? {
            None => return Ok(ended(head, Fields::new(), progress.received, start)),
            Some(back) if back == sent => progress.received += 1,
            Some(other) => return Err(("converse", format!("{other:?} came back of {sent:?}"))),
        }
        tell(order.id, Event::Round(progress.received));
        tokio::time::sleep(every).await;
    }
}

async fn grpc(
    order: &Order,
    every: Duration,
    connections: &Connections,
    progress: &mut Progress,
) -> Result<Answer, Step> {
    let start = Instant::now();
    let (pipe, body) = piped(None);
    let (head, response) = begin(order, Either::Right(body), connections, progress).await?;
    tell(order.id, Event::Opened(head.clone()));
    let (mut body, mut messages) = (response.into_body(), Messages::default());
    let mut trailers = Fields::new();
    loop {
        let sent = format!("round {}", progress.received);
        // An error: the other side has ended, and says why.
        let _ = pipe.send(Frame::data(Messages::framed(&sent))).await;
        let back = loop {
            let Some(frame) = body.frame().await else { break None };
            match frame.map_err(|error| ("converse", whole(&error)))?.into_data() {
                Ok(data) => {
                    if let Some(message) = messages.take(&data).pop() {
                        break Some(message);
                    }
                }
                Err(frame) => {
                    let pairs = frame.trailers_ref().into_iter().flatten();
                    trailers = pairs
                        .map(|(name, value)| {
                            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
                        })
                        .collect();
                }
            }
        };
        match back {
            None => return Ok(ended(head, trailers, progress.received, start)),
            Some(back) if back.ends_with(&sent) => progress.received += 1,
            Some(other) => return Err(("converse", format!("{other:?} came back of {sent:?}"))),
        }
        tell(order.id, Event::Round(progress.received));
        tokio::time::sleep(every).await;
    }
}

/// The end that the server made, in order.
fn ended(head: Head, trailers: Fields, rounds: u64, start: Instant) -> Answer {
    Answer {
        head,
        trailers,
        text: String::new(),
        length: rounds,
        intact: false,
        messages: Vec::new(),
        milliseconds: start.elapsed().as_millis() as u64,
    }
}
