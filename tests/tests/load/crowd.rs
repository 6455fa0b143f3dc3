//! 60,000 connections open at once, of several processes (SEMANTICS 7.3).

use std::{net::SocketAddr, time::Instant};

use mesh_tests::{
    socket::Standing,
    trial::{Trial, eventually},
};

use mesh_tests::socket::plaza::{BASE, NODE, SOON, idle, place, routes, wait_endpoints};

const CONNECTIONS: usize = 60_000;

/// Files that a process has open besides its connections.
const OTHER_FILES: usize = 200;

/// The most connections one process opens to one address and port: below the 28,232 ephemeral ports.
const EACH_AT_MOST: usize = 20_000;

#[test]
fn sixty_thousand_connections_are_open_at_once_and_leave_nothing_behind() {
    let trial = Trial::start("crowd", BASE);
    trial.put("clients", idle("crowd"));
    let limit = usize::try_from(trial.socket(&place("crowd"), "limit").number("soft")).unwrap();
    let each = (limit - OTHER_FILES).min(EACH_AT_MOST);
    let processes = CONNECTIONS.div_ceil(each);
    let each = CONNECTIONS.div_ceil(processes);
    println!(
        "{limit} open files a process: {processes} clients and {processes} servers of {each} connections"
    );
    trial.put("servers", servers(processes));
    for number in 0..processes {
        wait_endpoints(&trial, "crowd", "hall", port(number), "TCP");
    }

    let flows = || trial.scrape(NODE).sum("mesh_map_entries", &[("map", "mesh_flows")]);
    let start = Instant::now();
    // By Service and by pod, IPv4 and IPv6, in turn.
    let frontends: Vec<Vec<SocketAddr>> = (0..processes)
        .map(|number| {
            routes(&trial, "hall", port(number))
                .iter()
                .filter(|route| !route.mapped)
                .map(|route| route.to)
                .collect()
        })
        .collect();
    let opening: Vec<Standing> = std::thread::scope(|scope| {
        let threads: Vec<_> = frontends
            .iter()
            .enumerate()
            .map(|(number, ways)| {
                let (trial, to) = (&trial, ways[number % ways.len()]);
                scope.spawn(move || {
                    trial.standing_socket(&place("crowd"), &format!("crowd {to} --connections {each}"))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a client's thread")).collect()
    });
    let open: u64 = opening.iter().map(|client| client.said.number("open")).sum();
    println!("{open} open after {:.1} s", start.elapsed().as_secs_f64());
    for client in &opening {
        assert_eq!(client.said.number("open"), each as u64, "{}", client.said.text());
        assert_eq!(client.said.number("wrong_peer"), 0, "{}", client.said.text());
    }
    let fill = eventually("every connection has its flow entry", SOON * 3, || {
        let fill = flows();
        (fill >= CONNECTIONS as f64).then_some(fill)
    });
    let scrape = trial.scrape(NODE);
    let capacity =
        scrape.value("mesh_map_capacity", &[("map", "mesh_flows")]).expect("the map has a capacity");
    println!("mesh_flows {fill} of {capacity}");
    let open_now = || trial.scrape(NODE).sum("mesh_tcp_connections_open", &[("workload", "crowd")]);
    eventually("the gauge of open connections counts each", SOON, || {
        (open_now() == (each * processes) as f64).then_some(())
    });

    let alive: u64 = opening.into_iter().map(|client| client.finish().number("alive")).sum();
    assert_eq!(alive, open, "every connection still works");
    eventually("no flow entry is left", SOON * 3, || (flows() == 0.0).then_some(()));
    let of = [("source_workload", "crowd")];
    let total = (each * processes) as f64;
    // Exact counters of the kernel; events of so many at once may be lost, and are counted then.
    let scrape = eventually("every end is counted", SOON * 3, || {
        let scrape = trial.scrape(NODE);
        let lost = scrape.sum("mesh_kernel_events_lost_total", &[]);
        let ends = scrape.sum("mesh_tcp_connections_closed_total", &of);
        (ends + lost >= total).then_some(scrape)
    });
    for name in ["flows_full", "flows_taken", "socket_storage_failed"] {
        assert_eq!(scrape.sum(&format!("mesh_kernel_{name}_total"), &[]), 0.0, "{name}");
    }
    println!(
        "opened {} closed {} events lost {}",
        scrape.sum("mesh_tcp_connections_opened_total", &of),
        scrape.sum("mesh_tcp_connections_closed_total", &of),
        scrape.sum("mesh_kernel_events_lost_total", &[])
    );
}

fn port(number: usize) -> u16 {
    7100 + u16::try_from(number).expect("few processes")
}

/// One pod with a server process, each with a port of its own, in a container of its own.
fn servers(processes: usize) -> String {
    let containers: Vec<String> = (0..processes)
        .map(|number| {
            let port = port(number);
            format!(
                "{{name: hall-{number}, command: [mesh-echo, server, --tcp, \"{port}\"], \
                 readinessProbe: {{tcpSocket: {{port: {port}}}, periodSeconds: 1}}}}"
            )
        })
        .collect();
    let ports: Vec<(u16, &str)> = (0..processes).map(|number| (port(number), "TCP")).collect();
    format!(
        "apiVersion: v1\nkind: Pod\n\
         metadata: {{name: hall, namespace: sock, labels: {{app: hall, mesh.internal/mode: enabled}}}}\n\
         spec: {{nodeName: {NODE}, terminationGracePeriodSeconds: 0, containers: [{}]}}\n{}",
        containers.join(", "),
        mesh_tests::socket::plaza::service("hall", "hall", &ports)
    )
}
