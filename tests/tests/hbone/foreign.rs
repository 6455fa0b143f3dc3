//! Peers that are not ours, and well-behaved.

use mesh_tests::trial::{echo, eventually};

use super::{SOON, call, client, cluster, hbone, issue, played, seen, words};

/// A foreign client: its bytes arrive, the server sees its address, and the port that it says it stands for.
#[test]
fn a_foreign_client_is_served() {
    let cluster = cluster();
    let told = client(cluster, "");
    assert_eq!(told["status"], 200, "{told}");
    let local = told["local"].as_str().expect("it has an address");
    let answer = told["answer"].as_str().expect("it was answered");
    assert!(answer.contains(&format!("peer={local}")), "without `forwarded` the client is the peer: {told}");

    let own = cluster.pod("hb/foreign").addresses[0];
    let told = client(cluster, &format!("--header forwarded=for=\"{own}:4444\""));
    let answer = told["answer"].as_str().unwrap_or_default();
    assert!(answer.contains(&format!("peer={own}:4444")), "its own port may be said: {told}");

    // SEMANTICS 2.5: another's address may not.
    let told = client(cluster, "--header forwarded=for=\"192.0.2.9:4444\"");
    let (answer, local) =
        (told["answer"].as_str().unwrap_or_default(), told["local"].as_str().unwrap_or_default());
    assert!(answer.contains(&format!("peer={local}")), "{told}");
}

/// Both families, and unknown headers, which are nobody's business.
#[test]
fn a_foreign_client_is_served_over_ipv6_and_with_headers_that_nobody_knows() {
    let cluster = cluster();
    for server in cluster.pod("hb/server").addresses {
        let to = std::net::SocketAddr::new(server, 15_008);
        let authority = std::net::SocketAddr::new(server, 8080);
        let line = format!(
            "client {to} --authority {authority} {} --header x-unknown=1 --header traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 --header baggage=k8s.namespace.name=hb",
            words(cluster, "foreign")
        );
        let told = hbone(cluster, "hb/foreign", &line).pop().expect("there is a line");
        assert_eq!(told["status"], 200, "{to}: {told}");
        assert!(told["answer"].as_str().unwrap_or_default().starts_with("peer="), "{to}: {told}");
    }
}

/// Statuses: 503 where nobody listens, with the reason as RFC 9209 writes it; 401 where the policy says no; 400 for
/// what is no request to this pod.
#[test]
fn a_foreign_client_gets_the_documented_statuses() {
    let cluster = cluster();
    let server = cluster.pod("hb/server").addresses[0];
    let ask = |authority: &str| {
        let line = format!("client {server}:15008 --authority {authority} {}", words(cluster, "foreign"));
        hbone(cluster, "hb/foreign", &line).pop().expect("there is a line")
    };
    let refused = ask(&format!("{server}:7999"));
    assert_eq!(refused["status"], 503, "{refused}");
    let why = refused["headers"]["proxy-status"].as_str().unwrap_or_default();
    assert!(why.contains("error=connection_refused"), "{refused}");

    for authority in ["127.0.0.1:8080", "[::1]:8080", "192.0.2.1:80", "169.254.169.254:80", "server.hb:8080"]
    {
        let told = ask(authority);
        assert_eq!(told["status"], 400, "{authority}: {told}");
    }
    let other = cluster.pod("hb/client").addresses[0];
    assert_eq!(ask(&format!("{other}:8080"))["status"], 400, "another pod's address");

    let policy = "apiVersion: mesh.internal/v1alpha1\nkind: AccessPolicy\n\
        metadata: {name: closed, namespace: hb}\n\
        spec: {selector: {matchLabels: {app: closed}}, ingress: [{from: [{serviceAccounts: [far]}]}]}\n";
    cluster.put_all("closed", &[&echo("hb", "closed"), &policy]);
    let closed = cluster.pod("hb/closed").addresses[0];
    let told = |file: &str| {
        let line = format!("client {closed}:15008 --authority {closed}:8080 {}", words(cluster, file));
        hbone(cluster, "hb/foreign", &line).pop().expect("there is a line")
    };
    let denied = told("foreign");
    assert_eq!(denied["status"], 401, "{denied}");
    // The name alone is proof enough for a rule that asks for a name.
    issue(cluster, "as-far", "spiffe://cluster.local/ns/hb/sa/far");
    assert_eq!(told("as-far")["status"], 200);
}

/// Ours as the client of a foreign server, which says what it was asked.
#[test]
fn a_foreign_server_is_talked_to_and_is_told_who_calls() {
    let cluster = cluster();
    let credentials = issue(cluster, "good", "spiffe://cluster.local/ns/played/sa/good");
    cluster.put("good", played("good", &format!("exec mesh-hbone server {credentials}")));
    let local = call(cluster, "good", "hello");
    let address = cluster.pod("played/good").addresses[0];
    let is_request = |line: &serde_json::Value| {
        let request = &line["request"];
        let said = request["headers"]["forwarded"].as_str().unwrap_or_default();
        said.contains(&local.to_string()).then(|| request.clone())
    };
    let request =
        eventually("the server saw the request", SOON, || seen(cluster, "good").iter().find_map(is_request));
    assert_eq!(request["method"], "CONNECT", "{request}");
    assert_eq!(request["authority"], format!("{address}:8080"), "{request}");
    assert!(request["path"] == "" || request["path"] == "/", "{request}");
    let baggage = request["headers"]["baggage"].as_str().unwrap_or_default();
    assert!(
        baggage.contains("k8s.namespace.name=hb") && baggage.contains("k8s.pod.name=client"),
        "{request}"
    );
    let connected: Vec<_> =
        seen(cluster, "good").into_iter().filter(|line| line["connected"].is_object()).collect();
    for line in &connected {
        assert_eq!(line["connected"]["peer"]["names"][0], "spiffe://cluster.local/ns/hb/sa/client", "{line}");
        assert!(line["connected"]["server_name"].is_null(), "no SNI: {line}");
    }
    // One tunnel carries many.
    for _ in 0..20 {
        call(cluster, "good", "again");
    }
    let connections = seen(cluster, "good").iter().filter(|line| line["connected"].is_object()).count();
    assert!(connections <= connected.len() + 4, "{connections} connections for 21 tunnels");
}
