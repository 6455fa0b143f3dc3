//! A new wire takes over what the old one left in the kernel: maps and links stay, programs are replaced in place.

use mesh_tests::testbed::Part;

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
    let old = bed.agent(NODE, Part::Wire).unwrap();
    bed.signal_agent(NODE, Part::Wire, nix::sys::signal::Signal::SIGKILL).unwrap();
    eventually(&bed, "another wire to answer", scene::SOON, || {
        let now = bed.agent(NODE, Part::Wire).map_err(|error| error.to_string())?;
        if now == old {
            return Err("the old one".to_owned());
        }
        bed.admin(NODE, "/dump").map(drop).map_err(|error| error.to_string())
    });
    whole(&bed);
    let after = Held::now(&bed);
    assert_eq!(before.maps, after.maps, "maps are adopted");
    assert_eq!(before.links, after.links, "links are kept, each at its place");
    assert!(
        before.programs.iter().all(|(name, id)| after.programs.get(name) != Some(id)),
        "the programs are the new wire's"
    );
    let left = Held { maps: Default::default(), links: Default::default(), ..before }.left();
    assert!(left.is_empty(), "programs of the old wire still run: {left:?}");
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

const CONNECTIONS: u64 = 40_000;

/// Every restart replaces every program while connections are being made.
#[test]
fn replacing_the_programs_under_load_fails_no_connection() {
    let bed = bed();
    let server = scene::port_of(&bed, "server").to_string();
    // A port of a closed connection rests for a minute: there must be enough of them.
    scene::shell(&bed, "client", "echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range");
    let argv =
        ["mesh-echo", "storm", &server, "--connections", &CONNECTIONS.to_string(), "--concurrency", "4"];
    let mut storm = bed.spawn(scene::NAMESPACE, "client", &argv).unwrap();
    let mut replaced = 0;
    while storm.try_wait().unwrap().is_none() && replaced < 5 {
        let old = bed.agent(NODE, Part::Wire).unwrap();
        bed.signal_agent(NODE, Part::Wire, nix::sys::signal::Signal::SIGKILL).unwrap();
        eventually(&bed, "another wire to be in force", scene::SOON, || {
            let now = bed.agent(NODE, Part::Wire).map_err(|error| error.to_string())?;
            if now == old {
                return Err("the old one".to_owned());
            }
            bed.admin(NODE, "/dump").map(drop).map_err(|error| error.to_string())
        });
        replaced += 1;
    }
    let output = storm.wait_with_output().unwrap();
    let words = Words::of(&output);
    println!("{replaced} replacements under load: {words:?}");
    assert!(replaced >= 2, "the load was over too soon");
    assert_eq!((words.count("ok"), words.count("failed")), (CONNECTIONS, 0), "{words:?}");
    whole(&bed);
}
