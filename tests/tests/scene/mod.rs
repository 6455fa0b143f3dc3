//! What several test files need: commands in pods and what they say, counts of the node, pods as YAML.
#![expect(dead_code, reason = "every test file takes its part of it")]

pub(crate) mod controller;
pub(crate) mod counts;
pub(crate) mod held;
pub(crate) mod manifest;
pub(crate) mod watch;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    process::Output,
    time::Duration,
};

use mesh_tests::testbed::Testbed;

/// The only node of a scene, unless it says otherwise.
pub(crate) const NODE: &str = "node-1";

/// The namespace of a scene's pods, unless it says otherwise.
pub(crate) const NAMESPACE: &str = "arena";

/// Longest wait for what should happen at once, on a machine that is busy with something else.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Stops the test with the reason where it cannot be run at all.
pub(crate) fn need_root() {
    assert!(
        nix::unistd::Uid::effective().is_root(),
        "this test needs root: it makes namespaces and control groups"
    );
}

/// The `key=value` words that `mesh-forge` printed.
#[derive(Debug)]
pub(crate) struct Words {
    text: String,
    values: BTreeMap<String, String>,
}

impl Words {
    /// The last value of every key in the program's output.
    pub(crate) fn of(output: &Output) -> Self {
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let pairs = text.split_whitespace().filter_map(|word| word.split_once('='));
        let values = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Self { text, values }
    }

    /// A count; zero if the program did not mention it.
    pub(crate) fn count(&self, key: &str) -> u64 {
        self.values
            .get(key)
            .map_or(0, |value| value.parse().unwrap_or_else(|_| panic!("no number: {}", self.text)))
    }
}

/// Runs a command in a pod of the scene.
pub(crate) fn run(bed: &Testbed, pod: &str, argv: &[&str]) -> Output {
    bed.exec(NAMESPACE, pod, argv).unwrap_or_else(|error| panic!("{argv:?} in {pod}: {error}"))
}

/// Runs a shell script in a pod of the scene, which must succeed; gives its output.
pub(crate) fn shell(bed: &Testbed, pod: &str, script: &str) -> String {
    let output = run(bed, pod, &["sh", "-euc", script]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "in {pod}:\n{script}\n{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// Runs `mesh-forge` in a pod of the scene, which must be able to do what it is told to try.
pub(crate) fn forge(bed: &Testbed, pod: &str, arguments: &str) -> Words {
    let argv: Vec<&str> = ["mesh-forge"].into_iter().chain(arguments.split_whitespace()).collect();
    let output = run(bed, pod, &argv);
    let words = Words::of(&output);
    assert!(output.status.success(), "{argv:?} in {pod}: {}", words.text);
    words
}

/// Whether one connection with one round trip succeeds; the errno's name if not. Waits longer than a lost first packet
/// takes: a pod that speaks before the node knows its interface asks for its neighbour a second time after a second.
pub(crate) fn dial(bed: &Testbed, pod: &str, to: SocketAddr) -> Result<(), String> {
    dial_with(bed, pod, &format!("{to} --timeout 2500"))
}

/// The same with more arguments.
pub(crate) fn dial_with(bed: &Testbed, pod: &str, arguments: &str) -> Result<(), String> {
    let words = forge(bed, pod, &format!("dial {arguments}"));
    if words.count("ok") > 0 { Ok(()) } else { Err(words.text.trim().replace("ok=0 ", "")) }
}

/// A pod's address of the family.
pub(crate) fn address(bed: &Testbed, pod: &str, family: Family) -> IpAddr {
    let pod = bed.pod(NAMESPACE, pod).unwrap();
    match family {
        Family::V4 => pod.ip4.expect("a ready pod has an IPv4 address").into(),
        Family::V6 => pod.ip6.expect("a ready pod has an IPv6 address").into(),
    }
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// Both of them: everything holds for each.
pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Where a pod of the scene serves, in IPv4.
pub(crate) fn port_of(bed: &Testbed, pod: &str) -> SocketAddr {
    SocketAddr::new(address(bed, pod, Family::V4), 7000)
}

/// The same for a pod of any namespace.
pub(crate) fn port_in(bed: &Testbed, namespace: &str, pod: &str) -> SocketAddr {
    let ip4 = bed.pod(namespace, pod).unwrap().ip4.expect("a ready pod has an IPv4 address");
    SocketAddr::new(ip4.into(), 7000)
}

/// What a pod's container printed so far.
pub(crate) fn log(bed: &Testbed, namespace: &str, pod: &str, container: &str) -> String {
    std::fs::read_to_string(bed.layout().log(&format!("{namespace}.{pod}.{container}"))).unwrap_or_default()
}
