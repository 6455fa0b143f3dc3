//! SEMANTICS 7.2: the mesh takes no port away from applications.

use mesh_tests::{socket::plaza::service, trial::eventually};

use super::{FAR, NEAR, SOON, cluster, pod};

/// An application listens on the tunnel's own port and on those that other meshes use, and is reached there on its
/// own node and from another.
#[test]
fn an_application_may_use_15008_15006_and_15001_itself() {
    let cluster = cluster();
    let serve = "exec mesh-socket serve --tcp 7000 --tcp 15008 --tcp 15006 --tcp 15001";
    let ports = [(7000, "TCP"), (15_008, "TCP"), (15_006, "TCP"), (15_001, "TCP")];
    cluster.put(
        "own-ports",
        pod("own-server", FAR, serve)
            + &pod("own-near", FAR, "exec sleep infinity")
            + &pod("own-far", NEAR, "exec sleep infinity")
            + &service("own-server", "own-server", &ports),
    );
    for client in ["own-near", "own-far"] {
        for (port, _) in ports {
            for address in cluster.pod("sock/own-server").addresses {
                let to = std::net::SocketAddr::new(address, port);
                eventually(&format!("{client} reaches {to}"), SOON, || {
                    let said = cluster.socket(&format!("sock/{client}"), &format!("connect {to}"));
                    let served =
                        said.get("answer") == Some("ok") && said.get("server.local") == Some(&to.to_string());
                    served.then_some(())
                });
            }
        }
    }
}

/// A loopback listener at an address that relay uses for its own steering is the application's.
#[test]
fn an_application_may_listen_on_any_loopback_address() {
    let cluster = cluster();
    cluster.put("loopback", pod("loopback", NEAR, "exec sleep infinity"));
    let script = "mesh-echo server --tcp 15001 --bind 127.64.0.1 & \
                  mesh-echo client tcp 127.64.0.1:15001 --send hello --first --count 600 --interval 50; kill $!";
    let said = cluster.run_in("sock/loopback", &["sh", "-euc", script]);
    assert!(said.contains("answer: hello"), "{said}");
}
