//! Servers at an enrolled pod's address that are not that pod, and what a client's application and the logs see of it.

use std::time::Duration;

use mesh_tests::{
    hbone::{Authority, Leaf, Validity},
    trial::{Outcome, eventually},
};

use super::{Cluster, PLAYED, SOON, cluster};

/// A pod that is in the mesh for everybody, in which this runs at the tunnel's port.
pub(super) fn played(name: &str, shell: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: played, labels: {{app: {name}}}}}\n\
         spec: {{nodeName: {PLAYED}, serviceAccountName: {name}, terminationGracePeriodSeconds: 0, \
         containers: [{{name: main, command: [sh, -c, {shell:?}]}}]}}\n"
    )
}

/// Calls the pod until the client's node knows it as enrolled and the call is not plaintext any more.
fn call(cluster: &Cluster, name: &str) -> Outcome {
    let to = format!("{}:8080", cluster.pod(&format!("played/{name}")).addresses[0]);
    // Before discovery has it, the dial is plaintext to a port where nobody listens.
    eventually(&format!("{name} is dialled through the tunnel"), SOON, || {
        let outcome = cluster.call("id/client", "tcp", &to, &["--timeout", "9000", "--send", "hello"]);
        let plaintext = matches!(&outcome, Outcome::Failed(failed) if failed.errno == "ECONNREFUSED");
        (!plaintext).then_some(outcome)
    })
}

/// The name that discovery has for a played pod.
fn right(name: &str) -> String {
    format!("spiffe://cluster.local/ns/played/sa/{name}")
}

/// Issue: whoever answers must prove the name that discovery has for that address; each other case has its own reason.
#[test]
fn a_server_that_does_not_prove_its_name_is_not_talked_to() {
    let cluster = cluster();
    let papers = cluster.papers();
    let serve = |file: &str| format!("exec mesh-hbone server {}", cluster.words(file));
    let authority = cluster.authority();
    let issue = |name: &str, id: &str, validity| {
        let leaf = Leaf { names: &[id], validity, ..Leaf::default() };
        authority.issue(&papers, name, &leaf).unwrap();
        serve(name)
    };
    let mut pods = vec![
        ("good", issue("good", &right("good"), Validity::Now), ""),
        ("other", issue("other", &right("good"), Validity::Now), "NameMismatch"),
        (
            "abroad",
            issue("abroad", "spiffe://elsewhere.example/ns/played/sa/abroad", Validity::Now),
            "TrustDomainMismatch",
        ),
        ("old", issue("old", &right("old"), Validity::Expired), "CertificateExpired"),
        ("young", issue("young", &right("young"), Validity::NotYet), "CertificateNotYetValid"),
        ("nobody", "sleep infinity".to_owned(), "TunnelRefused"),
        (
            "mute",
            "nft add table inet m; nft 'add chain inet m in {type filter hook input priority 0;}'; \
                  nft add rule inet m in tcp dport 15008 drop; sleep infinity"
                .to_owned(),
            "TunnelTimedOut",
        ),
        ("plain", "exec mesh-hbone server --plain HTTP/1.1".to_owned(), "PeerNotHbone"),
    ];
    let id = right("alone");
    authority.self_signed(&papers, "alone", &Leaf { names: &[&id], ..Leaf::default() }).unwrap();
    pods.push(("alone", serve("alone"), "CertificateUntrusted"));
    let id = right("strange");
    Authority::stranger()
        .unwrap()
        .issue(&papers, "strange", &Leaf { names: &[&id], ..Leaf::default() })
        .unwrap();
    pods.push(("strange", serve("strange"), "CertificateUntrusted"));
    let http1 = issue("http1", &right("http1"), Validity::Now) + " --alpn http/1.1";
    pods.push(("http1", http1, "PeerNotHbone"));

    let yaml: Vec<String> = pods.iter().map(|(name, shell, _)| played(name, shell)).collect();
    cluster.put("played", yaml.join("---\n"));
    for (name, _, reason) in &pods {
        let outcome = call(&cluster, name);
        if reason.is_empty() {
            assert_eq!(outcome.answer().text, "hello", "{name}");
            continue;
        }
        let failed = outcome.failure();
        assert!(["ECONNRESET", "EPIPE", "ENOTCONN"].contains(&failed.errno.as_str()), "{name}: {failed:?}");
        assert!(failed.after < Duration::from_secs(8), "{name}: {failed:?}");
        let address = cluster.pod(&format!("played/{name}")).addresses[0].to_string();
        cluster.is_logged(&format!("\"{reason}\""), &[&address]);
    }
    cluster.remove("played");
}

/// Issue: a status of the other side is the application's reset, and has its own reason.
#[test]
fn every_status_has_its_reason() {
    let cluster = cluster();
    let id = right("status");
    let words = cluster.issue("status", &Leaf { names: &[&id], ..Leaf::default() });
    let serve = |more: &str| format!("exec mesh-hbone server {words} {more}");
    let pods = [
        ("s400", serve("--status 400"), "BadRequest"),
        ("s401", serve("--status 401"), "PeerDenied"),
        (
            "s503",
            serve("--status 503 --header 'proxy-status=mesh; error=connection_refused'"),
            "UpstreamRefused",
        ),
        (
            "timeout",
            serve("--status 503 --header 'proxy-status=x; error=connection_timeout'"),
            "UpstreamTimedOut",
        ),
        ("reset", serve("--reset 8"), "PeerFailed"),
    ];
    let yaml: Vec<String> = pods
        .iter()
        .map(|(name, shell, _)| {
            played(name, shell).replacen(
                &format!("serviceAccountName: {name}"),
                "serviceAccountName: status",
                1,
            )
        })
        .collect();
    cluster.put("statuses", yaml.join("---\n"));
    for (name, _, reason) in &pods {
        let outcome = call(&cluster, name);
        let failed = outcome.failure();
        assert!(["ECONNRESET", "EPIPE", "ENOTCONN"].contains(&failed.errno.as_str()), "{name}: {failed:?}");
        let address = cluster.pod(&format!("played/{name}")).addresses[0].to_string();
        cluster.is_logged(&format!("\"{reason}\""), &[&address]);
    }
    cluster.remove("statuses");
}
