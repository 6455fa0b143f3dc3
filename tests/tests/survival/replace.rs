//! A new wire takes over what the old one left in the kernel: maps and links stay, programs are replaced in place.

use std::{
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use mesh_tests::testbed::{Part, Testbed};
use nix::sys::signal::Signal;

use super::{
    Words, bed,
    kernel::Held,
    scene::{self, NODE},
    whole,
};
use scene::counts::{dump, eventually};

#[test]
fn a_new_wire_adopts_maps_and_links_and_puts_its_programs_in_place() {
    let bed = bed();
    // Pods of earlier tests may still be on their way out.
    eventually(&bed, "only this testbed's three pods to be there, all wired", scene::SOON, || {
        let dump = dump(&bed);
        let pods = dump["pods"].as_array().map_or(0, Vec::len);
        let gates =
            dump["links"].as_object().unwrap().keys().filter(|link| link.starts_with("mesh_gate")).count();
        let settled = (pods, gates) == (3, 3) && dump["armed"] == false;
        if settled { Ok(()) } else { Err(format!("{pods} pods, {gates} gates, armed: {}", dump["armed"])) }
    });
    let before = Held::now(&bed);
    replace_wire(&bed);
    whole(&bed);
    let after = Held::now(&bed);
    assert_eq!(before.maps, after.maps, "maps are adopted");
    assert_eq!(before.links, after.links, "links are kept, each at its place");
    assert!(
        before.programs.iter().all(|(name, id)| after.programs.get(name) != Some(id)),
        "the programs are the new wire's"
    );
    let programs = Held { maps: Default::default(), links: Default::default(), ..before };
    // Whoever looks at all the kernel's programs holds each for a moment.
    eventually(&bed, "the kernel to let go of the old wire's programs", scene::SOON, || {
        let left = programs.left();
        if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
    });
    println!(
        "{} maps and {} links kept, {} programs replaced",
        after.maps.len(),
        after.links.len(),
        after.programs.len()
    );
    let untidy = dump(&bed)["notAttached"].clone();
    assert!(
        untidy.as_array().is_none_or(Vec::is_empty)
            && untidy.as_object().is_none_or(serde_json::Map::is_empty),
        "{untidy}"
    );
}

/// How often every program is replaced.
const REPLACEMENTS: u32 = 5;

/// Connections of one process of the client, of which one follows the other.
const AT_ONCE: u64 = 500;

/// Every restart replaces every program while connections are being made.
#[test]
fn replacing_the_programs_under_load_fails_no_connection() {
    let bed = bed();
    let server = scene::port_of(&bed, "server").to_string();
    // A port of a closed connection rests for a minute: there must be enough of them.
    scene::shell(&bed, "client", "echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range");
    let count = AT_ONCE.to_string();
    let each = ["--connections", &count, "--concurrency", "4", "--timeout", "20000"];
    let argv: Vec<&str> = ["mesh-echo", "storm", &server].into_iter().chain(each).collect();
    let (over, made) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let storms = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let words = Words::of(&scene::run(&bed, "client", &argv));
                assert_eq!((words.count("ok"), words.count("failed")), (AT_ONCE, 0), "{words:?}");
                made.fetch_add(AT_ONCE, Ordering::Relaxed);
            }
        });
        let replaced = std::panic::catch_unwind(AssertUnwindSafe(|| {
            for number in 1..=REPLACEMENTS {
                let before = made.load(Ordering::Relaxed);
                replace_wire(&bed);
                eventually(&bed, "connections to be made with the new programs", scene::SOON, || {
                    // The process that is under way, and one that begins after this.
                    let now = made.load(Ordering::Relaxed);
                    let enough = now >= before + 2 * AT_ONCE || storms.is_finished();
                    if enough { Ok(()) } else { Err(format!("{now} connections, replacement {number}")) }
                });
            }
        }));
        over.store(true, Ordering::Relaxed);
        storms.join().unwrap();
        replaced.unwrap();
    });
    println!("{REPLACEMENTS} replacements under load: {} connections, none failed", made.into_inner());
    whole(&bed);
}

/// Kills wire and waits until the next one is in force.
fn replace_wire(bed: &Testbed) {
    let old = bed.agent(NODE, Part::Wire).unwrap();
    bed.signal_agent(NODE, Part::Wire, Signal::SIGKILL).unwrap();
    eventually(bed, "another wire to be in force", scene::SOON, || {
        let now = bed.agent(NODE, Part::Wire).map_err(|error| error.to_string())?;
        if now == old {
            return Err("the old one".to_owned());
        }
        bed.admin(NODE, "/dump").map(drop).map_err(|error| error.to_string())
    });
}
