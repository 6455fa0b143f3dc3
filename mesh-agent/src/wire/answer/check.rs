//! Kernel features, each tried now and for real: programs are loaded, links made in a network
//! namespace of their own, a socket is asked to be destroyed.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use super::super::platform::{FLOOR, kernel};
use super::super::programs::Programs;
use super::super::sockets::Sockets;
use crate::handover::Feature;
use crate::sys::bpf::{AttachType, Target, create_link, target};
use crate::sys::feature::{ProgramType, load_smallest};
use crate::sys::netns::{Netns, within_new};

/// The rows of `meshctl check`.
pub(super) fn features(programs: &Programs) -> Vec<Feature> {
    let (release, version) = kernel();
    let floor = format!("{}.{}", FLOOR.0, FLOOR.1);
    let mut rows = vec![
        row(
            "kernel",
            &floor,
            (version >= FLOOR).then_some(()).ok_or(io::Error::other("too old")),
            &format!("this is {release}; below the floor wire refuses to start"),
        ),
        row(
            "cgroup2",
            "4.5",
            present("/proc/self/mountinfo", " - cgroup2 "),
            "pods are known by their cgroup; without it nothing works",
        ),
        row(
            "BTF",
            "5.4",
            Path::new("/sys/kernel/btf/vmlinux").metadata().map(drop),
            "socket storage needs it",
        ),
    ];
    for (name, since, program, attach, purpose) in PROGRAMS {
        rows.push(row(name, since, load_smallest(program, attach).map(drop), purpose));
    }
    rows.push(row(
        "sk_storage",
        "5.2",
        programs.has("mesh_connect4").then_some(()).ok_or(io::Error::other("programs not loaded")),
        "what a connection dialled is kept on its socket",
    ));
    rows.push(Feature {
        needed: false,
        ..row(
            "NS_GET_ID",
            "6.18",
            Netns::current().and_then(|netns| netns.id()).map(drop),
            "names a namespace without entering it; absent: a thread enters it and asks a socket",
        )
    });
    rows.extend(in_a_namespace());
    rows
}

type Probe = (&'static str, &'static str, ProgramType, AttachType, &'static str);

const PROGRAMS: [Probe; 13] = [
    ("connect4", "4.17", ProgramType::CgroupSockAddr, AttachType::Inet4Connect, "egress policy, Services"),
    ("connect6", "4.17", ProgramType::CgroupSockAddr, AttachType::Inet6Connect, "the same for IPv6"),
    ("sendmsg4", "4.18", ProgramType::CgroupSockAddr, AttachType::Udp4Sendmsg, "the same for datagrams"),
    ("sendmsg6", "4.18", ProgramType::CgroupSockAddr, AttachType::Udp6Sendmsg, "the same for datagrams"),
    ("recvmsg4", "5.2", ProgramType::CgroupSockAddr, AttachType::Udp4Recvmsg, "answers show who was asked"),
    ("recvmsg6", "5.2", ProgramType::CgroupSockAddr, AttachType::Udp6Recvmsg, "answers show who was asked"),
    (
        "getpeername",
        "5.8",
        ProgramType::CgroupSockAddr,
        AttachType::Inet4Getpeername,
        "applications see the address they dialled",
    ),
    (
        "getsockopt",
        "5.3",
        ProgramType::CgroupSockopt,
        AttachType::CgroupGetsockopt,
        "relay learns what a connection to the tunnel is, without a capability",
    ),
    (
        "setsockopt",
        "5.3",
        ProgramType::CgroupSockopt,
        AttachType::CgroupSetsockopt,
        "servers see the true client of what came through the tunnel",
    ),
    (
        "sock_ops",
        "4.13",
        ProgramType::SockOps,
        AttachType::CgroupSockOps,
        "proof of identity, connection metrics",
    ),
    (
        "cgroup_skb",
        "4.10",
        ProgramType::CgroupSkb,
        AttachType::CgroupInetIngress,
        "nothing in or out of a pending pod",
    ),
    ("sk_lookup", "5.9", ProgramType::SkLookup, AttachType::SkLookup, "ingress policy"),
    ("sched_cls", "4.1", ProgramType::SchedClassifier, AttachType::TcxIngress, "source validation"),
];

/// What needs a namespace to be tried in.
fn in_a_namespace() -> Vec<Feature> {
    let tried = within_new(|| {
        let netns = Netns::current();
        let gate = load_smallest(ProgramType::SkLookup, AttachType::SkLookup).and_then(|program| {
            create_link(program.as_fd(), target(netns.as_ref().map_err(clone)?), AttachType::SkLookup)
        });
        let tcx = load_smallest(ProgramType::SchedClassifier, AttachType::TcxIngress)
            .and_then(|program| create_link(program.as_fd(), Target::Interface(1), AttachType::TcxIngress));
        let destroy =
            netns.as_ref().map_err(clone).and_then(Sockets::of).and_then(|mut sockets| sockets.can_destroy());
        [gate.map(drop), tcx.map(drop), destroy]
    });
    let [gate, tcx, destroy] = tried.unwrap_or_else(|error| [(); 3].map(|()| Err(clone(&error))));
    vec![
        row("sk_lookup link", "5.9", gate, "one gate per pod's namespace"),
        row("tcx", "6.6", tcx, "checks on a pod's interface that coexist with the CNI's"),
        row(
            "SOCK_DESTROY",
            "4.5",
            destroy,
            "closes connections that a changed policy denies (CONFIG_INET_DIAG_DESTROY)",
        ),
    ]
}

fn clone(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| io::Error::other(error.to_string()), io::Error::from_raw_os_error)
}

fn present(file: &str, text: &str) -> io::Result<()> {
    let there = std::fs::read_to_string(file)?.contains(text);
    there.then_some(()).ok_or_else(|| io::Error::other("not mounted"))
}

fn row(name: &str, since: &str, tried: io::Result<()>, purpose: &str) -> Feature {
    let detail = match &tried {
        Ok(()) => purpose.to_owned(),
        Err(error) => format!("{purpose}; tried: {error}"),
    };
    Feature { name: name.to_owned(), since: since.to_owned(), present: tried.is_ok(), needed: true, detail }
}
