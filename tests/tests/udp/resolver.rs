//! Names, resolved as applications do: the C library's resolver, over UDP to the cluster DNS Service.

use mesh_tests::socket::plaza::place;

use crate::cluster;

#[test]
fn names_resolve_also_under_default_deny_in_both_directions() {
    let trial = cluster();
    let mut wanted: Vec<String> =
        trial.service(&place("server"), 8000).iter().map(|address| address.ip().to_string()).collect();
    wanted.sort();
    wanted.dedup();
    // `shy` is under policy in both directions; `allowDNS` is what lets it ask.
    for client in ["client", "shy"] {
        for name in ["server", "server.sock", "server.sock.svc.cluster.local"] {
            let said = trial.socket(&place(client), &format!("resolve {name}"));
            let mut addresses = said.all("address").to_vec();
            addresses.sort();
            addresses.dedup();
            assert_eq!(addresses, wanted, "{client} {name}: {}", said.text());
        }
    }
}
