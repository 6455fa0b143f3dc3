//! Much through the tunnel: nothing is lost, and one stream does not hold up another.

use std::time::Instant;

use mesh_tests::socket::plaza::{routes, unmapped};

use super::put_pair;

const GIBIBYTE: u64 = 1 << 30;

/// Issue: 1 GiB each way and both at once, with equal checksums.
#[test]
fn a_gibibyte_arrives_as_it_was_sent_in_each_direction_and_in_both_at_once() {
    let cluster = put_pair("bulk", "");
    let ways = unmapped(routes(cluster, "bulk-server", 7000));
    for (number, way) in ["up", "down", "both"].into_iter().enumerate() {
        let route = &ways[number % ways.len()];
        let start = Instant::now();
        let said =
            cluster.socket("sock/bulk-client", &format!("bulk {} {way} --bytes {GIBIBYTE}", route.words()));
        println!("1 GiB {way} by {}: {:.1} s", route.to, start.elapsed().as_secs_f64());
        assert_eq!(said.get("failed"), None, "{way}: {}", said.text());
        for direction in ["up", "down"] {
            if way == direction || way == "both" {
                let (sent, arrived) =
                    (&said[&*format!("{direction}.sent")], &said[&*format!("{direction}.arrived")]);
                assert_eq!(sent, arrived, "{way}: {direction}");
            }
        }
    }
}

/// Issue: a reader that does not read holds up nobody else on the same tunnel.
#[test]
fn a_slow_reader_does_not_hold_up_a_fast_one() {
    let cluster = put_pair("slow", "");
    let route = &routes(cluster, "slow-server", 7000)[0];
    let pace = format!("pace {} --rounds 2000", route.words());
    let alone = cluster.socket("sock/slow-client", &pace);
    // Servers that send a gibibyte each to clients that never read: whatever buffers there are, are full.
    let stalled: Vec<_> = (0..4)
        .map(|_| {
            cluster
                .standing_socket("sock/slow-client", &format!("stall {} --bytes {GIBIBYTE}", route.words()))
        })
        .collect();
    let beside = cluster.socket("sock/slow-client", &pace);
    assert_eq!((beside.get("failed"), beside.number("rounds")), (None, 2000), "{}", beside.text());
    let micros = |said: &mesh_tests::socket::Said, key: &str| said.number(&format!("{key}.micros"));
    let ratio = micros(&beside, "p99") as f64 / micros(&alone, "p99").max(1) as f64;
    println!(
        "p50 {} -> {} us, p99 {} -> {} us beside 4 stalled readers: ratio {ratio:.2}",
        micros(&alone, "p50"),
        micros(&beside, "p50"),
        micros(&alone, "p99"),
        micros(&beside, "p99")
    );
    // The goal of 2 is for a quiet machine; that nobody is held up shows at any load.
    assert!(micros(&beside, "p99") < 100_000, "{}", beside.text());
    drop(stalled);
}
