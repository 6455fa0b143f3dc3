//! Two controllers on a real API server: one leads; the next one signs with the same root; and an API server that was away
//! changes nothing of that, and is asked no more than it must be when it is back.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::TcpStream,
    os::unix::net::UnixStream,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use mesh_tests::cluster::trial::{self, free_port};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::server::ApiServer;

const NAMESPACE: &str = "mesh-leaders";
/// A holder that is silent is given up after 15 s, by who looks every 2 to 3 s; the rest is for a busy machine.
const TAKEOVER: Duration = Duration::from_secs(30);
/// A lease that was given back is seen at the next look. Well below the 15 s after which a silent holder is given up.
const HANDOVER: Duration = Duration::from_secs(10);
/// A lease that somebody could take is taken within this time, in the ordinary case.
const LOOKS: Duration = Duration::from_secs(18);
/// How long the API server is away.
const AWAY: Duration = Duration::from_secs(20);
/// The kinds that a controller follows.
const KINDS: usize = 11;

struct Controller {
    name: &'static str,
    run_dir: PathBuf,
    agents: u16,
    health: u16,
}

impl Controller {
    fn new(server: &ApiServer, name: &'static str) -> Self {
        let run_dir = server.path(&format!("run-{name}"));
        Self { name, run_dir, agents: free_port(), health: free_port() }
    }

    fn start(&self, server: &mut ApiServer) {
        let arguments = [
            format!("--namespace={NAMESPACE}"),
            format!("--listen=127.0.0.1:{}", self.agents),
            format!("--health=127.0.0.1:{}", self.health),
        ];
        let kubeconfig = server.kubeconfig(self.name);
        server.control(self.name, &kubeconfig, &arguments);
        self.until(server, "it is ready", |own| own.is_ready());
    }

    fn until(&self, server: &ApiServer, what: &str, holds: impl Fn(&Self) -> bool) -> Duration {
        let began = Instant::now();
        trial::until(&format!("{}: {what}", self.name), || match holds(self) {
            true => Ok(()),
            false => Err(server.log(self.name)),
        });
        began.elapsed()
    }

    /// Whether agents are accepted; anything but that and a refusal is a failure.
    fn serves(&self) -> bool {
        match TcpStream::connect(("127.0.0.1", self.agents)) {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => false,
            Err(error) => panic!("{}: {error}", self.name),
        }
    }

    fn is_ready(&self) -> bool {
        let Ok(stream) = TcpStream::connect(("127.0.0.1", self.health)) else { return false };
        ask(stream, "/ready").0 == 200
    }

    fn get(&self, path: &str) -> Value {
        let socket = UnixStream::connect(self.run_dir.join("control.sock")).expect("it runs");
        let (code, body) = ask(socket, path);
        assert_eq!(code, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// What it signs with, once it does.
    fn issuer(&self, server: &ApiServer) -> String {
        let issuer = || self.get("/ca")["issuerKeyId"].as_str().unwrap_or_default().to_owned();
        self.until(server, "it signs", |_| !issuer().is_empty());
        issuer()
    }
}

fn ask(mut stream: impl std::io::Read + std::io::Write, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status code");
    (code, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

fn roots(server: &ApiServer) -> String {
    let arguments =
        ["get", "configmap", "mesh-roots", "--namespace", NAMESPACE, "--output=jsonpath={.data.ca\\.crt}"];
    trial::until("the roots to be told", || match server.kubectl.run(&arguments) {
        Ok(roots) if roots.contains("BEGIN CERTIFICATE") => Ok(roots),
        other => Err(format!("{other:?}")),
    })
}

/// How often a controller has listed or watched each kind, by the API server's own record from `since` on.
fn asked(server: &ApiServer, controller: &str, since: usize) -> BTreeMap<String, usize> {
    let mut asked = BTreeMap::new();
    for line in server.audit().lines().skip(since) {
        let event: Value = serde_json::from_str(line).unwrap_or_default();
        let verb = event["verb"].as_str().unwrap_or_default();
        if event["user"]["username"] == controller && ["list", "watch"].contains(&verb) {
            let resource = event["objectRef"]["resource"].as_str().unwrap_or_default();
            *asked.entry(resource.to_owned()).or_default() += 1;
        }
    }
    asked
}

#[test]
#[ignore = "needs Kubernetes built: cargo xtask cluster check"]
fn one_leads_and_the_next_signs_with_the_same_root() {
    let mut server = ApiServer::start();
    server.define(&[NAMESPACE]);

    let (one, two) = (Controller::new(&server, "controller-one"), Controller::new(&server, "controller-two"));
    one.start(&mut server);
    one.until(&server, "it leads", Controller::serves);
    let (issuer, root) = (one.issuer(&server), roots(&server));
    two.start(&mut server);
    // Longer than it takes to look at the lease.
    thread::sleep(HANDOVER / 2);
    assert!(one.serves() && !two.serves(), "one stands by, ready as it is");
    assert!(two.get("/ca")["problem"].as_str().is_some_and(|why| why.contains("stands by")));

    server.end("controller-one", Signal::SIGKILL);
    let took = two.until(&server, "it has taken over", Controller::serves);
    println!("taken over {took:?} after the leader was killed");
    assert!(took < TAKEOVER, "{took:?}");
    assert_eq!((two.issuer(&server), roots(&server)), (issuer.clone(), root.clone()));

    one.start(&mut server);
    server.end("controller-two", Signal::SIGTERM);
    let took = one.until(&server, "it has been handed over", Controller::serves);
    println!("handed over {took:?} after the leader was told to end");
    assert!(took < HANDOVER, "{took:?}");
    assert_eq!((one.issuer(&server), roots(&server)), (issuer.clone(), root.clone()));
    two.start(&mut server);

    let before = server.audit().lines().count();
    server.end("kube-apiserver", Signal::SIGKILL);
    let began = Instant::now();
    while began.elapsed() < AWAY {
        assert!(one.serves() && !two.serves() && one.is_ready() && two.is_ready());
        thread::sleep(Duration::from_millis(500));
    }
    server.start_api();
    let name = "kept";
    let policy = format!(
        "apiVersion: mesh.internal/v1alpha1\nkind: AccessPolicy\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec: {{selector: {{}}, ingress: []}}\n"
    );
    server.kubectl.apply(&policy).unwrap_or_else(|error| panic!("{error}"));
    for controller in [&one, &two] {
        controller.until(&server, "it follows everything, and has seen what is new", |own| {
            let status = own.get("/status");
            status["sourceError"].is_null() && status["objects"].to_string().contains(&format!("\"{name}\""))
        });
        let asked = asked(&server, controller.name, before);
        println!("{} asked, after the API server was back: {asked:?}", controller.name);
        assert!(asked.len() == KINDS && asked.values().all(|count| *count <= 2), "{asked:?}");
    }
    // Who led goes on to.
    thread::sleep(LOOKS);
    assert!(one.serves() && !two.serves());
    assert_eq!((one.issuer(&server), roots(&server)), (issuer, root));
}
