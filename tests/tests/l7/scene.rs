//! The pods that all tests of this file share, and every way by which one asks another.

use std::{
    fmt,
    net::SocketAddr,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use mesh_tests::{
    http::{
        caller::{Ask, Caller},
        order::{Answer, Seen, VERSIONS, Version, field},
    },
    trial::{Echo, Trial, web},
};

/// Where one client is, and nobody else.
pub(crate) const NEAR: &str = "node-1";
/// Where the servers are, and the other client.
pub(crate) const FAR: &str = "node-2";

/// The namespace of what is shared.
pub(crate) const SHOP: &str = "shop";

/// Longest wait for a change to be in force everywhere, on a machine that is busy with something else.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Two nodes, and a log of everything.
pub(crate) const CLUSTER: &str = "
apiVersion: mesh.internal/v1alpha1
kind: MeshConfig
metadata: {name: default}
spec: {telemetry: {accessLog: {format: JSON, level: All}}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-1}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-2}}
";

/// The testbed of this file, with the shared pods in it: servers `one` and `two`, clients `near` and `far`.
pub(crate) fn cluster() -> &'static Trial {
    static SHARED: OnceLock<Trial> = OnceLock::new();
    SHARED.get_or_init(|| {
        let trial = Trial::start("l7", CLUSTER);
        trial.put_all(
            "shared",
            &[
                &client("near").on(NEAR),
                &client("far").on(FAR),
                &client("outside").plain(),
                &web(SHOP, "one").on(FAR).account("one"),
                &web(SHOP, "two").on(FAR).account("two"),
                &service(SHOP, "one", "one"),
                &service(SHOP, "two", "two"),
            ],
        );
        trial
    })
}

fn client(name: &str) -> Echo {
    web(SHOP, name).account(name)
}

/// The long-lived client in one of the shared pods.
pub(crate) fn caller(pod: &'static str) -> &'static Caller {
    static CALLERS: [OnceLock<Caller>; 3] = [const { OnceLock::new() }; 3];
    let index = ["near", "far", "outside"].iter().position(|name| *name == pod);
    let index = index.unwrap_or_else(|| panic!("there is no client {pod}"));
    CALLERS[index].get_or_init(|| cluster().http(&format!("{SHOP}/{pod}")))
}

/// A Service of both families whose port 80 is the HTTP port of the pods with this label `app`.
pub(crate) fn service(namespace: &str, name: &str, app: &str) -> String {
    service_of(namespace, name, app, "{name: http, port: 80, targetPort: 8080}")
}

/// The same with these ports.
pub(crate) fn service_of(namespace: &str, name: &str, app: &str, ports: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{selector: {{app: {app}}}, ipFamilyPolicy: PreferDualStack, ports: [{ports}]}}\n"
    )
}

/// An HTTPRoute of the shared namespace, of its name's Service's port 80; `rules` is YAML.
pub(crate) fn route(name: &str, rules: &str) -> String {
    route_of("HTTPRoute", SHOP, name, &format!("name: {name}, port: 80"), rules)
}

/// A route of this kind and with this parent.
pub(crate) fn route_of(kind: &str, namespace: &str, name: &str, parent: &str, rules: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\n\
         metadata: {{name: {name}, namespace: {namespace}}}\n\
         spec:\n  parentRefs: [{{group: '', kind: Service, {parent}}}]\n  rules:\n{rules}\n"
    )
}

/// An AccessPolicy of the shared namespace about the pods with this label `app`.
pub(crate) fn policy(name: &str, app: &str, spec: &str) -> String {
    format!(
        "apiVersion: mesh.internal/v1alpha1\nkind: AccessPolicy\nmetadata: {{name: {name}, namespace: {SHOP}}}\n\
         spec: {{selector: {{matchLabels: {{app: {app}}}}}, {spec}}}\n"
    )
}

/// One way to ask: by whom, to which address, in which version.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    /// The client.
    pub(crate) caller: &'static Caller,
    /// The client's pod.
    pub(crate) from: &'static str,
    /// Address and port.
    pub(crate) to: SocketAddr,
    /// The version.
    pub(crate) version: Version,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} in {:?}", self.from, self.to, self.version)
    }
}

impl Way {
    /// A `GET`.
    pub(crate) fn get(&self, target: &str) -> Ask {
        Ask::get(self.to, target).version(self.version)
    }

    /// Asks for this path.
    pub(crate) fn answer(&self, target: &str) -> Box<Answer> {
        self.ask(&self.get(target))
    }

    /// Asks; there must be an answer.
    pub(crate) fn ask(&self, ask: &Ask) -> Box<Answer> {
        self.try_ask(ask).unwrap_or_else(|failed| panic!("{self}: {failed} of {ask:?}"))
    }

    /// Asks; what fails is said.
    pub(crate) fn try_ask(&self, ask: &Ask) -> Result<Box<Answer>, String> {
        self.caller.ask(ask).map_err(|failed| format!("{failed:?}"))
    }
}

/// Every way to a Service of the shared namespace: from both nodes, over both families, in both versions.
pub(crate) fn ways(service: &str) -> Vec<Way> {
    ways_to(&cluster().service(&format!("{SHOP}/{service}"), 80))
}

/// The same to these addresses.
pub(crate) fn ways_to(addresses: &[SocketAddr]) -> Vec<Way> {
    let mut ways = Vec::new();
    for &to in addresses {
        for from in ["near", "far"] {
            ways.extend(VERSIONS.map(|version| Way { caller: caller(from), from, to, version }));
        }
    }
    assert_eq!(ways.len(), 8, "two addresses, two clients, two versions");
    ways
}

/// The ways of HTTP/2, in which gRPC is.
pub(crate) fn ways_of_grpc(service: &str) -> Vec<Way> {
    ways(service).into_iter().filter(|way| way.version == Version::Http2).collect()
}

/// Waits until this holds for every way, and then once more for all of them.
pub(crate) fn settles(what: &str, ways: &[Way], check: impl Fn(&Way) -> Result<(), String>) {
    let start = Instant::now();
    loop {
        let wrong: Vec<String> = ways
            .iter()
            .filter_map(|way| check(way).err().map(|problem| format!("{way}: {problem}")))
            .collect();
        if wrong.is_empty() {
            return;
        }
        assert!(start.elapsed() < SOON, "{what}: not within {SOON:?}:\n  {}", wrong.join("\n  "));
        thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until requests of this path go through the engine, on every way.
pub(crate) fn routed(ways: &[Way], target: &str) {
    settles(&format!("{target} is routed"), ways, |way| {
        let answer = way.try_ask(&way.get(target))?;
        seen_by_engine(&answer).map(drop)
    });
}

/// What the server saw of a request that went through the engine, which gives every request an id.
pub(crate) fn seen_by_engine(answer: &Answer) -> Result<Seen, String> {
    let seen = answer.seen().ok_or_else(|| format!("no server's answer: {answer:?}"))?;
    if field(&seen.headers, "x-request-id").is_empty() {
        return Err(format!("it did not go through the engine: {seen:?}"));
    }
    Ok(seen)
}

/// The same of a request that must have gone there.
pub(crate) fn seen(way: &Way, answer: &Answer) -> Seen {
    seen_by_engine(answer).unwrap_or_else(|problem| panic!("{way}: {problem}"))
}

/// What the server saw of a request that must have gone there without the engine.
pub(crate) fn seen_directly(way: &Way, answer: &Answer) -> Seen {
    let seen = answer.seen().unwrap_or_else(|| panic!("{way}: no server's answer: {answer:?}"));
    assert_eq!(field(&seen.headers, "x-request-id"), "", "{way}: it went through the engine: {seen:?}");
    seen
}

/// Checks the status, and for an answer that is not a server's that it says why.
pub(crate) fn refused(way: &Way, answer: &Answer, status: u16, reason: &str) {
    assert_eq!((answer.status(), answer.header("x-mesh-reason")), (status, reason), "{way}: {answer:?}");
}
