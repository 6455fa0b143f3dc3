//! The engine between clients and servers that are played octet by octet, or by `h2`.

mod bounds;
mod changes;
mod chaos;
mod detecting;
mod ending;
mod forwarding;
mod frames;
mod http1;
mod http2;
mod smuggling;
mod streaming;
mod websocket;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{FutureExt, LocalBoxFuture};
use http::{Request, Response};
use mesh_l7::pick::Weighted;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;

use super::decide::{Asked, Backend, Decide, Decision, Dial, DialFailure, Forward, Protocol};
use super::detect::Speaks;
use super::limits::Limits;
use super::record::Labels;
use super::record::{Ending, Record, Tell};
use super::{Connection, Engine, Io, Served, Sharing};

/// What a server at an endpoint does with a connection.
type Server = Rc<dyn Fn(DuplexStream) -> LocalBoxFuture<'static, ()>>;
/// What is decided on a request.
type Deciding = Box<dyn Fn(&mut Asked<'_>) -> Decision>;

/// Octets that wait on a stream between two ends.
const PIPE: usize = 64 << 10;

/// What the engine is told and asked in a test.
#[derive(Default)]
struct World {
    deciding: RefCell<Option<Deciding>>,
    servers: RefCell<HashMap<SocketAddr, Server>>,
    records: RefCell<Vec<Record>>,
    dials: Cell<usize>,
}

impl Decide for World {
    fn decide(&self, request: &mut Asked<'_>, _: &dyn Fn() -> u64) -> Decision {
        self.deciding.borrow().as_ref().expect("the test decides")(request)
    }
}

impl Dial for World {
    fn dial(&self, _: &Backend, endpoint: SocketAddr) -> LocalBoxFuture<'static, Result<Io, DialFailure>> {
        self.dials.set(self.dials.get() + 1);
        let server = self.servers.borrow().get(&endpoint).cloned();
        async move {
            let refused = DialFailure { detail: "connection refused".to_owned(), exhausted: false };
            let server = server.ok_or(refused)?;
            let (near, far) = duplex(PIPE);
            spawn_local(server(far));
            Ok(Box::new(near) as Io)
        }
        .boxed_local()
    }
}

impl Tell for World {
    fn tell(&self, record: &Record) {
        self.records.borrow_mut().push(record.clone());
    }
}

/// An engine with its world.
struct Scene {
    engine: Rc<Engine>,
    world: Rc<World>,
}

impl Scene {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        Self { engine: Engine::new(limits), world: Rc::default() }
    }

    /// Requests go to these endpoints, as `shape` has it.
    fn forward(&self, protocol: Protocol, endpoints: &[SocketAddr], shape: impl Fn(&mut Forward) + 'static) {
        let backend = backend(protocol, endpoints);
        self.decide(move |_| {
            let mut forward = forward_to(&backend);
            shape(&mut forward);
            Decision::Forward(Box::new(forward))
        });
    }

    fn decide(&self, deciding: impl Fn(&mut Asked<'_>) -> Decision + 'static) {
        *self.world.deciding.borrow_mut() = Some(Box::new(deciding));
    }

    /// At the endpoint there is a server.
    fn serve<F: Future<Output = ()> + 'static>(
        &self,
        endpoint: SocketAddr,
        server: impl Fn(DuplexStream) -> F + 'static,
    ) {
        let server: Server = Rc::new(move |stream| server(stream).boxed_local());
        self.world.servers.borrow_mut().insert(endpoint, server);
    }

    /// At the one endpoint there is a server of HTTP/1 that gives these answers to whatever comes.
    fn answers(&self, protocol: Protocol, answer: &'static str) {
        self.forward(protocol, &[at(1)], |_| {});
        self.serve(at(1), move |mut stream| async move {
            while read_head(&mut stream).await.is_some() {
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }

    fn connection(&self, speaks: Speaks) -> Connection {
        let sharing = Sharing::Among("pod".into());
        Connection {
            decide: self.world.clone(),
            dial: self.world.clone(),
            tell: self.world.clone(),
            speaks,
            pod: "pod".into(),
            sharing,
        }
    }

    /// A client's end of a connection that is served.
    fn client(&self) -> DuplexStream {
        let (near, far) = duplex(PIPE);
        let (engine, connection) = (Rc::clone(&self.engine), self.connection(Speaks::Http));
        spawn_local(async move {
            assert!(matches!(engine.serve(Box::new(far), connection).await, Served::Http));
        });
        near
    }

    /// Sends `request` on a connection of its own and reads to the connection's end.
    async fn exchange(&self, request: impl AsRef<[u8]>) -> String {
        let mut client = self.client();
        client.write_all(request.as_ref()).await.unwrap();
        read_all(&mut client).await
    }

    /// A client of HTTP/2.
    async fn http2(&self) -> h2::client::SendRequest<Bytes> {
        let (requests, connection) = h2::client::Builder::new()
            .enable_push(false)
            .initial_connection_window_size(4 << 20)
            .handshake(self.client())
            .await
            .unwrap();
        spawn_local(async move {
            let _ = connection.await;
        });
        requests.ready().await.unwrap()
    }

    /// The next record, when it has come.
    async fn record(&self) -> Record {
        soon(async {
            loop {
                if let Some(record) = self.world.records.borrow_mut().pop() {
                    return record;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
    }

    async fn ending(&self) -> Ending {
        self.record().await.ending
    }
}

fn at(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 80))
}

fn backend(protocol: Protocol, endpoints: &[SocketAddr]) -> Arc<Backend> {
    Arc::new(Backend {
        name: "shop/cart:80".to_owned(),
        protocol,
        endpoints: endpoints.to_vec(),
        weights: Weighted::new(endpoints.iter().map(|_| 1)),
        ..Backend::default()
    })
}

fn forward_to(backend: &Arc<Backend>) -> Forward {
    Forward {
        labels: Labels { route: Some("HTTPRoute/shop/cart".into()), ..Labels::default() },
        backend: Arc::clone(backend),
        timeouts: mesh_l7::timeouts::Timeouts::default(),
        retry: None,
        mirrors: Vec::new(),
        answer: None,
        endpoint: Rc::default(),
        revoked: None,
    }
}

/// Runs a test's tasks beside it, and not for ever.
async fn play(test: impl Future<Output = ()>) {
    let within = Duration::from_secs(60);
    timeout(within, LocalSet::new().run_until(test)).await.expect("the test is stuck");
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), what).await.expect("it did not happen")
}

/// Reads to the end of a head; `None` at the stream's.
async fn read_head(stream: &mut DuplexStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

async fn read_exactly(stream: &mut DuplexStream, octets: usize) -> String {
    let mut read = vec![0; octets];
    soon(stream.read_exact(&mut read)).await.unwrap();
    String::from_utf8(read).unwrap()
}

async fn read_all(stream: &mut DuplexStream) -> String {
    let mut read = Vec::new();
    let _ = soon(stream.read_to_end(&mut read)).await;
    String::from_utf8_lossy(&read).into_owned()
}

/// A server of HTTP/2: one task a request.
async fn http2_server<F: Future<Output = ()> + 'static>(
    stream: DuplexStream,
    serve: impl Fn(Request<h2::RecvStream>, h2::server::SendResponse<Bytes>) -> F,
) {
    let mut builder = h2::server::Builder::new();
    let handshake = builder
        .enable_connect_protocol()
        .max_concurrent_streams(2000)
        .initial_connection_window_size(4 << 20)
        .handshake(stream);
    let Ok(mut connection) = handshake.await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        spawn_local(serve(request, respond));
    }
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("http://cart{path}")).body(()).unwrap()
}

/// All of a body, and its trailers.
async fn collect(mut stream: h2::RecvStream) -> Result<(Vec<u8>, Option<http::HeaderMap>), h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        all.extend_from_slice(&data);
    }
    Ok((all, stream.trailers().await?))
}

fn ok() -> Response<()> {
    Response::new(())
}
