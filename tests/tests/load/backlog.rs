//! A listener with the shortest queue that accepts slowly, with forced SYN cookies: connections of which the kernel
//! keeps nothing until their last handshake packet, which is looked up again (KERNEL 2 and 3).

use mesh_tests::trial::Trial;

use mesh_tests::socket::plaza::{BASE, NODE, place, pod, routes, service, unmapped, wait_endpoints};

const CONNECTIONS: u64 = 10_000;

/// Clients that the full queue turned away try again soon instead of ever later: the kernel's own back-off would make
/// this test take minutes. `tcp_rto_max_ms` is there since Linux 6.15.
const IMPATIENT: &str = "cd /proc/sys/net/ipv4; echo 1 > tcp_thin_linear_timeouts; \
                         test ! -e tcp_rto_max_ms || echo 1000 > tcp_rto_max_ms; exec sleep infinity";

#[test]
fn a_full_backlog_with_forced_syn_cookies_loses_none_of_ten_thousand() {
    let trial = Trial::start("backlog", BASE);
    let slow = "echo 2 > /proc/sys/net/ipv4/tcp_syncookies; \
                exec mesh-socket serve --tcp 7000 --slow 7001 --pause 200";
    let pieces = [
        pod("client", IMPATIENT),
        pod("slow", slow),
        service("slow", "slow", &[(7000, "TCP"), (7001, "TCP")]),
    ];
    trial.put("pods", pieces.concat());
    for port in [7000, 7001] {
        wait_endpoints(&trial, "client", "slow", port, "TCP");
    }
    let before = trial.socket(&place("slow"), "netstat");
    let ways = unmapped(routes(&trial, "slow", 7001));
    for route in &ways {
        let each = CONNECTIONS / ways.len() as u64;
        let (to, each) = (route.to.to_string(), each.to_string());
        let argv =
            ["mesh-echo", "storm", &to, "--connections", &each, "--concurrency", "16", "--timeout", "60000"];
        let said = trial.run_in(&place("client"), &argv);
        assert!(said.starts_with(&format!("ok={each} failed=0")), "{to}: {said}");
        print!("{to}: {said}");
    }
    let after = trial.socket(&place("slow"), "netstat");
    let grown = |key: &str| after.number(key) - before.number(key);
    let (sent, received, overflows) =
        (grown("SyncookiesSent"), grown("SyncookiesRecv"), grown("ListenOverflows"));
    println!("cookies sent {sent}, received {received}; overflows of the queue {overflows}");
    assert!(received > CONNECTIONS / 2, "connections came by cookie: {}", after.text());
    assert!(overflows > 0, "the queue was full: {}", after.text());
    let scrape = trial.scrape(NODE);
    assert_eq!(scrape.sum("mesh_denied_total", &[("reporter", "destination")]), 0.0, "the gate refused some");
    assert_eq!(scrape.sum("mesh_kernel_flows_taken_total", &[]), 0.0);
    assert_eq!(scrape.sum("mesh_kernel_flows_full_total", &[]), 0.0);
}
