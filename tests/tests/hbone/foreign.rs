//! Peers that are not ours, and well-behaved.

use std::net::{IpAddr, SocketAddr};

use mesh_tests::trial::{Trial, eventually};
use serde_json::Value;

use super::{SOON, ask, call, client, cluster, dialled, issue, played, seen, words};

/// A foreign client: its bytes arrive, the server sees its address, and the port that it says it stands for; in both
/// families.
#[test]
fn a_foreign_client_is_served() {
    let cluster = cluster();
    for server in cluster.pod("hb/server").addresses {
        let told = client(cluster, server, "");
        assert_eq!(told["status"], 200, "{told}");
        let (answer, local) = (answer(&told), told["local"].as_str().expect("it has an address"));
        assert!(
            answer.contains(&format!("peer={local} ")),
            "without `forwarded` the client is the peer: {told}"
        );

        let own = cluster.pod("hb/foreign").addresses;
        let own = own.iter().find(|own| own.is_ipv4() == server.is_ipv4()).expect("a pod has both families");
        let said = SocketAddr::new(*own, 4444);
        let told = client(cluster, server, &format!("--header forwarded=for=\"{said}\""));
        assert!(self::answer(&told).contains(&format!("peer={said} ")), "its own port may be said: {told}");

        // SEMANTICS 2.5: another's address may not.
        let others = cluster.pod("hb/far").addresses;
        for other in others.into_iter().chain(["192.0.2.9", "2001:db8::9"].map(|ip| ip.parse().unwrap())) {
            let other = SocketAddr::new(other, 4444);
            let told = client(cluster, server, &format!("--header forwarded=for=\"{other}\""));
            let local = told["local"].as_str().expect("it has an address");
            assert!(self::answer(&told).contains(&format!("peer={local} ")), "{other}: {told}");
        }
    }
}

/// What came through the tunnel.
fn answer(told: &Value) -> &str {
    told["answer"].as_str().unwrap_or_else(|| panic!("not answered: {told}"))
}

/// Unknown headers are nobody's business.
#[test]
fn a_foreign_client_is_served_with_headers_that_nobody_knows() {
    let cluster = cluster();
    for server in cluster.pod("hb/server").addresses {
        let told = client(
            cluster,
            server,
            "--header x-unknown=1 --header baggage=k8s.namespace.name=hb \
             --header traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        );
        assert_eq!(told["status"], 200, "{server}: {told}");
        assert!(answer(&told).starts_with("peer="), "{server}: {told}");
    }
}

/// Statuses: 503 where nobody listens, with the reason as RFC 9209 writes it; 400 for what is no request to this
/// pod. When it is 401, `proof` shows.
#[test]
fn a_foreign_client_gets_the_documented_statuses() {
    let cluster = cluster();
    for server in cluster.pod("hb/server").addresses {
        assert_statuses(cluster, server);
    }
}

fn assert_statuses(cluster: &Trial, server: IpAddr) {
    let papers = words(cluster, "foreign");
    let ask = |authority: &str| ask(cluster, "hb/foreign", server, authority, &papers);
    let refused = ask(&SocketAddr::new(server, 7999).to_string());
    assert_eq!(refused["status"], 503, "{refused}");
    let why = refused["headers"]["proxy-status"].as_str().unwrap_or_default();
    assert!(why.contains("error=connection_refused"), "{refused}");

    let mut wrong: Vec<String> = [
        "127.0.0.1:8080",
        "[::1]:8080",
        "192.0.2.1:80",
        "[2001:db8::1]:80",
        "169.254.169.254:80",
        "[fe80::1]:80",
        "[::ffff:127.0.0.1]:8080",
        "server.hb:8080",
    ]
    .map(str::to_owned)
    .to_vec();
    for other in cluster.pod("hb/client").addresses {
        wrong.push(SocketAddr::new(other, 8080).to_string());
    }
    for authority in wrong {
        let told = ask(&authority);
        assert_eq!(told["status"], 400, "{authority} at {server}: {told}");
    }
}

/// One address is written in one way: a rule, a log and the socket all mean the same.
#[test]
fn an_ipv4_address_written_as_ipv6_is_a_bad_request() {
    let cluster = cluster();
    for server in cluster.pod("hb/server").addresses {
        let IpAddr::V4(v4) = server else { continue };
        let authority = format!("[::ffff:{v4}]:8080");
        let told = ask(cluster, "hb/foreign", server, &authority, &words(cluster, "foreign"));
        assert_eq!(told["status"], 400, "{told}");
    }
}

/// A tunnel leads to the family that it came by: the server could not be shown its client otherwise (SEMANTICS 7.4).
#[test]
fn a_tunnel_of_one_family_for_an_address_of_the_other_is_a_bad_request() {
    let cluster = cluster();
    let addresses = cluster.pod("hb/server").addresses;
    for by in &addresses {
        let other = addresses.iter().find(|other| other.is_ipv4() != by.is_ipv4()).expect("a pod has both");
        let authority = SocketAddr::new(*other, 8080).to_string();
        let told = ask(cluster, "hb/foreign", *by, &authority, &words(cluster, "foreign"));
        assert_eq!(told["status"], 400, "{authority} by {by}: {told}");
    }
}

/// Ours as the client of a foreign server, which says what it was asked.
#[test]
fn a_foreign_server_is_talked_to_and_is_told_who_calls() {
    let cluster = cluster();
    let credentials = issue(cluster, "good", "spiffe://cluster.local/ns/played/sa/good");
    cluster.put("good", played("good", &format!("exec mesh-hbone server {credentials}")));
    for to in dialled(cluster, "good") {
        let local = call(cluster, to, "hello");
        let is_request = |line: &Value| {
            let request = &line["request"];
            let said = request["headers"]["forwarded"].as_str().unwrap_or_default();
            (said == format!("for=\"{local}\"")).then(|| request.clone())
        };
        let request = eventually("the server saw the request", SOON, || {
            seen(cluster, "good").iter().find_map(is_request)
        });
        assert_eq!(request["method"], "CONNECT", "{request}");
        assert_eq!(request["authority"], to.to_string(), "{request}");
        assert!(request["path"] == "" || request["path"] == "/", "{request}");
        let baggage = &request["headers"]["baggage"];
        assert_eq!(baggage, "k8s.namespace.name=hb,k8s.pod.name=client,service.name=client", "{request}");
    }
    let connected: Vec<_> =
        seen(cluster, "good").into_iter().filter(|line| line["connected"].is_object()).collect();
    for line in &connected {
        assert_eq!(line["connected"]["peer"]["names"][0], "spiffe://cluster.local/ns/hb/sa/client", "{line}");
        assert!(line["connected"]["server_name"].is_null(), "no SNI: {line}");
    }
    // One tunnel carries many.
    for to in dialled(cluster, "good").into_iter().cycle().take(20) {
        call(cluster, to, "again");
    }
    let connections = seen(cluster, "good").iter().filter(|line| line["connected"].is_object()).count();
    assert!(connections <= connected.len() + 4, "{connections} connections for 22 tunnels");
}
