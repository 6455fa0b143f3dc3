//! Golden frames: what our relay writes, frame by frame, and the octets that it takes from anybody. A change here
//! is a change of the wire format.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

use super::{SOON, call, cluster, dialled, hbone, issue, played, seen, words};
use mesh_tests::trial::eventually;

/// END_HEADERS.
const END_HEADERS: u64 = 0x4;

/// The preface, SETTINGS, and a request of two pseudo-header fields and no other kind of them (RFC 9113, 8.5).
#[test]
fn the_first_frames_of_ours_are_these() {
    let cluster = cluster();
    let credentials = issue(cluster, "record", "spiffe://cluster.local/ns/played/sa/record");
    cluster.put("record", played("record", &format!("exec mesh-hbone record {credentials}")));
    for to in dialled(cluster, "record") {
        assert_first_frames(to);
    }
}

fn assert_first_frames(to: SocketAddr) {
    let cluster = cluster();
    let local = call(cluster, to, "hello");
    let lines = eventually("frames were recorded", SOON, || {
        let lines = seen(cluster, "record");
        let last = lines.iter().rfind(|line| line["preface"].is_string())?["from"].clone();
        let of_last = lines.into_iter().filter(|line| line["from"] == last && line["connected"].is_null());
        let lines: Vec<Value> = of_last.collect();
        lines.iter().any(|line| line["frame"] == "Data").then_some(lines)
    });
    let head = &lines[0];
    assert_eq!(head["preface"], "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "{head}");
    assert_eq!(
        (&head["alpn"], &head["protocol"], &head["server_name"]),
        (&json!("h2"), &json!("TLSv1_3"), &Value::Null)
    );
    let settings = &lines[1];
    assert_eq!(
        (&settings["frame"], &settings["stream"], &settings["flags"]),
        (&json!("Settings"), &json!(0), &json!(0))
    );
    // SETTINGS_ENABLE_PUSH, SETTINGS_INITIAL_WINDOW_SIZE.
    assert_eq!(settings["settings"]["2"], 0, "{settings}");
    assert_eq!(settings["settings"]["4"], 256 * 1024, "{settings}");

    let headers = lines.iter().find(|line| line["frame"] == "Headers").expect("a tunnel was asked for");
    assert_eq!(headers["stream"], 1, "{headers}");
    assert_eq!(headers["flags"], END_HEADERS, "a request without an end, in one frame: {headers}");
    let fields: Vec<(&str, &str)> = headers["fields"]
        .as_array()
        .expect("they were read")
        .iter()
        .map(|field| (field[0].as_str().unwrap_or_default(), field[1].as_str().unwrap_or_default()))
        .collect();
    let pseudo: Vec<_> = fields.iter().filter(|(name, _)| name.starts_with(':')).copied().collect();
    assert_eq!(pseudo, [(":method", "CONNECT"), (":authority", to.to_string().as_str())]);
    let mut others: Vec<_> = fields.iter().filter(|(name, _)| !name.starts_with(':')).copied().collect();
    others.sort_unstable();
    // An address of IPv6 has brackets, and with its port both have quotes (RFC 7239, 6).
    let forwarded = format!("for=\"{local}\"");
    let baggage = "k8s.namespace.name=hb,k8s.pod.name=client,service.name=client";
    assert_eq!(others, [("baggage", baggage), ("forwarded", forwarded.as_str())]);

    let data: String = lines.iter().filter_map(|line| line["data"].as_str()).collect();
    assert_eq!(data, "hello\n", "bytes are the application's and nothing else");
}

/// The smallest client there is, octet by octet.
#[test]
fn these_octets_are_understood() {
    let cluster = cluster();
    for server in cluster.pod("hb/server").addresses {
        assert_understood(server);
    }
}

fn assert_understood(server: IpAddr) {
    let cluster = cluster();
    let (to, authority) = (SocketAddr::new(server, 15_008), SocketAddr::new(server, 8080).to_string());
    let hexadecimal = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    let mut octets = String::new();
    // The preface, and SETTINGS without any.
    octets += "505249202a20485454502f322e300d0a0d0a534d0d0a0d0a";
    octets += "000000040000000000";
    // HEADERS, END_HEADERS, stream 1: `:method` (2) as a literal to remember, `:authority` (1) likewise.
    let block =
        format!("4207434f4e4e454354{:02x}{:02x}{}", 0x41, authority.len(), hexadecimal(authority.as_bytes()));
    octets += &format!("{:06x}010400000001{block}", block.len() / 2);
    // DATA, END_STREAM, stream 1: `hi` and a line feed.
    octets += "000003000100000001".to_owned().as_str();
    octets += "68690a";
    let line = format!("speak {to} --octets {octets} {}", words(cluster, "foreign"));
    let lines = hbone(cluster, "hb/foreign", &line);
    assert_eq!((&lines[0]["frame"], &lines[0]["stream"]), (&json!("Settings"), &json!(0)), "{lines:?}");
    assert!(
        lines.iter().any(|line| line["frame"] == "Settings" && line["flags"] == 1),
        "ours are agreed to: {lines:?}"
    );
    let headers = lines.iter().find(|line| line["frame"] == "Headers").expect("there is an answer");
    assert_eq!(headers["fields"][0], json!([":status", "200"]), "{headers}");
    assert_eq!(headers["flags"], END_HEADERS, "{headers}");
    let data: String = lines.iter().filter_map(|line| line["data"].as_str()).collect();
    assert_eq!(data, "hi\n", "{lines:?}");
    let last = lines.iter().rfind(|line| line["stream"] == 1).expect("there are frames");
    assert_eq!(
        last["flags"].as_u64().map(|flags| flags & 1),
        Some(1),
        "the other direction ended too: {lines:?}"
    );
}
