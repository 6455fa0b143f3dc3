//! Both sides of the tunnel in one process: two workers, real TLS and HTTP/2 over loopback, plain
//! sockets in the place of pods' namespaces.

mod carrying;
mod ending;
mod peers;
mod pooling;
mod refusing;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use mesh_ebpf::abi::{Flow, FlowRecord, Origin, Reason, TUNNEL_PORT};
use mesh_ebpf::address::Address;
use mesh_ebpf::policy::SetId;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};

use super::copy::abort_on_close;
use super::counts::Counts;
use super::limits::{Files, Handshakes};
use super::report::{Report, Reporter, Stage};
use super::sockets::{DialError, Purpose, Sockets};
use super::{Pod, Worker, inbound, outbound};
use crate::handover::{PolicySet, uid_hash};
use crate::relay::resource::{Local, Workload};
use crate::relay::tls::testing::Authority;
use crate::relay::world::{Settled, World};

const NETNS: u64 = 42;
const PORT: u16 = 8080;

fn source() -> IpAddr {
    [10, 0, 0, 1].into()
}

fn destination() -> IpAddr {
    [10, 0, 0, 2].into()
}

/// Sockets of "namespaces": addresses of pods lead to loopback listeners.
#[derive(Debug, Default)]
struct Loopback {
    record: Cell<Option<FlowRecord>>,
    routes: RefCell<HashMap<SocketAddr, SocketAddr>>,
    clients: RefCell<Vec<SocketAddr>>,
    /// The least descriptor of a delivery.
    deliveries_from: Cell<Option<i32>>,
}

impl Sockets for Rc<Loopback> {
    fn record(&self, _accepted: &TcpStream) -> io::Result<Option<FlowRecord>> {
        Ok(self.record.get())
    }

    fn peer(&self, accepted: &TcpStream) -> io::Result<SocketAddr> {
        Ok(SocketAddr::new(source(), accepted.peer_addr()?.port()))
    }

    fn local(&self, _accepted: &TcpStream) -> io::Result<SocketAddr> {
        Ok(SocketAddr::new(destination(), TUNNEL_PORT))
    }

    async fn connect(
        &self,
        _pod: &Arc<str>,
        to: SocketAddr,
        purpose: Purpose,
    ) -> Result<TcpStream, DialError> {
        let client = match purpose {
            Purpose::Delivery(client) => Some(client),
            Purpose::Tunnel | Purpose::Behalf { .. } => None,
        };
        self.clients.borrow_mut().extend(client);
        let Some(to) = self.routes.borrow().get(&to).copied() else {
            return Err(DialError::Connect(io::ErrorKind::ConnectionRefused.into()));
        };
        let socket = TcpSocket::new_v4().map_err(DialError::Prepare)?;
        socket.set_nodelay(true).map_err(DialError::Prepare)?;
        if client.is_some() {
            abort_on_close(&socket).map_err(DialError::Prepare)?;
        }
        let socket = socket.connect(to).await.map_err(DialError::Connect)?;
        match self.deliveries_from.get().filter(|_| client.is_some()) {
            Some(least) => moved(socket, least).map_err(DialError::Prepare),
            None => Ok(socket),
        }
    }
}

/// The same socket under a descriptor that is no less than `least`.
fn moved(socket: TcpStream, least: i32) -> io::Result<TcpStream> {
    let socket = socket.into_std()?;
    let moved = rustix::io::fcntl_dupfd_cloexec(&socket, least)?;
    TcpStream::from_std(moved.into())
}

/// More open files than any test has.
fn plenty() -> Files {
    Files::at_most(1 << 20, 1)
}

/// One side.
struct Half {
    worker: Rc<Worker<Rc<Loopback>>>,
    reports: mpsc::Receiver<Report>,
}

impl Half {
    fn new(authority: &Authority, service_account: &str, files: Files) -> Self {
        let (reporter, reports) = Reporter::new(4096, Arc::new(Counts::default()));
        let world = World::new();
        world.set_trust_domain(&authority.trust_domain);
        world.set_local_proof(false);
        world.set_whole();
        let worker = Worker {
            sockets: Rc::default(),
            world,
            identities: Arc::default(),
            trust: authority.trust(),
            reporter,
            files,
            handshakes: Handshakes::new(Arc::default()),
            tunnels: super::limits::Tunnels::default(),
            scratch: super::copy::Scratch::default(),
            open: Rc::default(),
            pool: super::pool::Pool::default(),
            engine: crate::relay::engine::Engine::new(crate::relay::engine::limits::Limits::default()),
            routing: crate::relay::routing::Routing::new(),
            draining: super::closer::Closer::default(),
        };
        worker.identities.give(authority.certificate(service_account));
        Self { worker: Rc::new(worker), reports: reports.connections }
    }

    /// The reason of the next connection that ends.
    async fn ended(&mut self) -> Report {
        loop {
            let report = self.reports.recv().await.unwrap();
            if report.stage != Stage::Opened {
                return report;
            }
        }
    }

    fn count(&self, of: fn(&Counts) -> &AtomicU64) -> u64 {
        of(self.worker.reporter.counts()).load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// A teller that calls a vault through the tunnel.
struct Scene {
    authority: Authority,
    source: Half,
    destination: Half,
    /// The vault's application.
    application: TcpListener,
    outbound: SocketAddr,
    tunnel: SocketAddr,
}

fn workload(name: &str, address: IpAddr, group: u64) -> Workload {
    Workload {
        uid: format!("uid-{name}"),
        namespace: "bank".into(),
        name: name.into(),
        service_account: name.into(),
        addresses: vec![address],
        node: "n".into(),
        workload: name.into(),
        enrolled: true,
        host_network: false,
        group,
        encrypt_always: false,
        local: Some(Local::default()),
    }
}

impl Scene {
    async fn new() -> Self {
        Self::with_files(plenty(), plenty()).await
    }

    /// One whose two relays have so many files.
    async fn with_files(of_source: Files, of_destination: Files) -> Self {
        let authority = Authority::new("cluster.local");
        let (teller, vault) = (workload("teller", source(), 7), workload("vault", destination(), 8));
        let near = Half::new(&authority, "teller", of_source);
        let far = Half::new(&authority, "vault", of_destination);
        for half in [&near, &far] {
            half.worker.world.learn("teller", &teller);
            half.worker.world.learn("vault", &vault);
        }
        near.worker.world.settle(
            "uid-teller",
            Some(Settled { workload: &teller, ingress: None, egress: None, rules: None }),
        );
        far.worker.world.settle(
            "uid-vault",
            Some(Settled { workload: &vault, ingress: None, egress: None, rules: None }),
        );
        let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (application, out, tunnel) = (listen().await, listen().await, listen().await);
        let scene = Self {
            outbound: out.local_addr().unwrap(),
            tunnel: tunnel.local_addr().unwrap(),
            application,
            authority,
            source: near,
            destination: far,
        };
        scene.dials(PORT);
        scene.route_tunnel(scene.tunnel);
        let application = scene.application.local_addr().unwrap();
        let vault = SocketAddr::new(destination(), PORT);
        scene.destination.worker.sockets.routes.borrow_mut().insert(vault, application);
        let pod = |name: &str| Pod { uid: format!("uid-{name}").into(), netns: NETNS };
        spawn_local(outbound::accept(Rc::clone(&scene.source.worker), pod("teller"), out));
        spawn_local(inbound::accept(Rc::clone(&scene.destination.worker), pod("vault"), tunnel));
        scene
    }

    fn route_tunnel(&self, to: SocketAddr) {
        let tunnel = SocketAddr::new(destination(), TUNNEL_PORT);
        self.source.worker.sockets.routes.borrow_mut().insert(tunnel, to);
    }

    /// What the application connects to from now on, as the kernel recorded it.
    fn dials(&self, port: u16) {
        let endpoint = Address::from(destination());
        self.source.worker.sockets.record.set(Some(FlowRecord {
            dialled: endpoint,
            endpoint,
            cookie: 1,
            netns: NETNS,
            group: 7,
            peer_group: 8,
            uid: uid_hash("uid-teller"),
            opened_at: 0,
            set: SetId::EMPTY,
            dialled_port: port,
            endpoint_port: port,
            rule: 0,
            origin: Origin::Pod as u8,
            flags: Flow::TUNNELLED,
        }));
    }

    /// An application's connect.
    async fn dial(&self) -> TcpStream {
        TcpStream::connect(self.outbound).await.unwrap()
    }

    /// A connection through the tunnel: the client's end and the server's.
    async fn pair(&self) -> (TcpStream, TcpStream) {
        let before = self.source.count(|counts| &counts.established);
        let client = self.dial().await;
        let (server, _) = self.application.accept().await.unwrap();
        until("the answer", || self.source.count(|counts| &counts.established) > before).await;
        (client, server)
    }

    /// The ingress policy of the vault.
    fn police(&self, policy: Option<&PolicySet>) {
        let vault = workload("vault", destination(), 8);
        self.destination.worker.world.settle(
            "uid-vault",
            Some(Settled { workload: &vault, ingress: policy, egress: None, rules: None }),
        );
    }

    /// Why both sides say that the next connection ended.
    async fn reasons(&mut self) -> (Reason, Reason) {
        (self.source.ended().await.reason, self.destination.ended().await.reason)
    }
}

/// Runs a test on one thread, in time.
fn scene<F: Future<Output = ()>>(test: impl FnOnce(Scene) -> F) {
    run(async || test(Scene::new().await).await);
}

fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let limit = Duration::from_secs(30);
        tokio::time::timeout(limit, test()).await.expect("the test took too long");
    });
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never came: {what}");
}

/// Whether a socket was reset, rather than finished.
fn is_reset<T: std::fmt::Debug>(result: &io::Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == io::ErrorKind::ConnectionReset)
}
