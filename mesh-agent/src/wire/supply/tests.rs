//! What relay is given, and what it is refused.

use std::os::fd::{AsFd, OwnedFd};

use mesh_ebpf::abi::{Class, Pod};
use mesh_ebpf::address::Address;
use mesh_ebpf::policy::SetId;
use rustix::net::sockopt::socket_acceptconn;

use super::super::listeners::{Listeners, Pair};
use super::super::roster::{Roster, Wired};
use super::{Channel, Supply};
use crate::handover::sockets::{Given, Need, Request, Response, connect, receive, send};
use crate::handover::uid_hash;
use crate::sys::netns::Netns;
use crate::sys::poll;

const UID: &str = "11111111-2222-3333-4444-555555555555";

/// A supply that takes this process's namespace for the pod's.
fn supply() -> Supply {
    let netns = Netns::current().unwrap();
    let cookie = netns.cookie().unwrap();
    let entry = Pod {
        class: Class::Wired as u32,
        slot: 0,
        group: 1,
        netns: cookie,
        ingress: SetId::EMPTY,
        egress: SetId::EMPTY,
        flags: 0,
        reserved: 0,
        v4: Address::UNSPECIFIED,
        v6: Address::UNSPECIFIED,
        uid: uid_hash(UID),
        wired_at: 0,
        namespace: 0,
    };
    let supply = Supply { roster: Roster::default(), listeners: Listeners::default() };
    supply.roster.publish(vec![Wired { uid: UID.to_owned(), entry, pid: std::process::id() }]);
    let one = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().into();
    supply.listeners.keep(cookie, uid_hash(UID), Pair::of(one(), one()));
    supply
}

fn ask(channel: &OwnedFd, id: u64, need: Need) -> (Response, Vec<OwnedFd>) {
    send(channel, &Request::new(id, need), &[]).unwrap();
    assert!(poll::readable(channel.as_fd(), std::time::Duration::from_secs(10)).unwrap());
    receive(channel).unwrap()
}

#[test]
fn relay_gets_listeners_and_sockets_of_wired_pods_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sockets.sock");
    let uid = nix::unistd::Uid::effective().as_raw();
    Channel::bind(&path, uid).unwrap().start(supply()).unwrap();
    let channel = connect(&path).unwrap();

    let (answer, sockets) = ask(&channel, 7, Need::Listeners { uid: UID.to_owned() });
    assert_eq!(answer.id, 7);
    assert!(matches!(answer.given, Given::Listeners { uid, netns } if uid == UID && netns != 0));
    assert_eq!(sockets.len(), 2);
    assert!(sockets.iter().all(|socket| socket_acceptconn(socket).unwrap()));

    for v6 in [false, true] {
        let (answer, sockets) = ask(&channel, 8, Need::Connecting { uid: UID.to_owned(), v6, count: 32 });
        assert_eq!(answer.given.descriptors(), sockets.len());
        assert_eq!(sockets.len(), 32);
        for socket in sockets {
            let flags = rustix::io::fcntl_getfd(&socket).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
            let socket = socket2::Socket::from(socket);
            assert!(socket.nonblocking().unwrap());
            assert_eq!(socket.local_addr().unwrap().is_ipv6(), v6);
            assert_eq!(socket.local_addr().unwrap().as_socket().unwrap().port(), 0);
        }
    }

    for (need, about) in [
        (Need::Listeners { uid: "another".to_owned() }, "no listeners"),
        (Need::Connecting { uid: "another".to_owned(), v6: false, count: 1 }, "not wired"),
        (Need::Connecting { uid: UID.to_owned(), v6: false, count: 0 }, "1 to 32"),
        (Need::Connecting { uid: UID.to_owned(), v6: false, count: 33 }, "1 to 32"),
    ] {
        let (answer, sockets) = ask(&channel, 9, need);
        assert!(sockets.is_empty());
        assert!(matches!(&answer.given, Given::Refused { why, .. } if why.contains(about)), "{answer:?}");
    }

    let old = Request { version: 0, ..Request::new(10, Need::Listeners { uid: UID.to_owned() }) };
    send(&channel, &old, &[]).unwrap();
    assert!(poll::readable(channel.as_fd(), std::time::Duration::from_secs(10)).unwrap());
    let (answer, _) = receive::<Response>(&channel).unwrap();
    assert!(matches!(&answer.given, Given::Refused { why, .. } if why.contains("same mesh-agent")));
}

#[test]
fn who_is_not_relay_is_not_served() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sockets.sock");
    let uid = nix::unistd::Uid::effective().as_raw();
    let mut channel = Channel::bind(&path, uid).unwrap();
    channel.relay_uid = uid.wrapping_add(1);
    channel.start(supply()).unwrap();
    let channel = connect(&path).unwrap();
    let _ = send(&channel, &Request::new(1, Need::Listeners { uid: UID.to_owned() }), &[]);
    assert!(poll::readable(channel.as_fd(), std::time::Duration::from_secs(10)).unwrap());
    assert!(receive::<Response>(&channel).is_err());
}
