//! What the kernel holds of the mesh on the nodes, by the numbers that it gave.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    process::Stdio,
};

use aya::{
    maps::loaded_maps,
    programs::{loaded_links, loaded_programs},
};
use mesh_tests::cluster::trial::until;
use serde_json::Value;

use crate::here::Here;

/// Programs, links and maps of every node, each with a name to tell it by.
#[derive(Debug, Default)]
pub(super) struct Held {
    programs: BTreeMap<u32, String>,
    links: BTreeMap<u32, String>,
    maps: BTreeMap<u32, String>,
}

impl Held {
    /// Of the mesh as it runs: what each agent says of itself, and the maps that its programs use.
    pub(super) fn now(here: &Here, namespace: &str) -> Self {
        let mut held = Self::default();
        let agents =
            ["get", "pods", "--namespace", namespace, "--selector=app.kubernetes.io/name=mesh-agent"];
        let names = here.ask(&[&agents[..], &["--output=jsonpath={.items[*].metadata.name}"]].concat());
        for agent in names.split_whitespace() {
            let dump = until("an agent to tell of itself", || dump(here, namespace, agent));
            held.programs.extend(ids(&dump["programs"], agent));
            held.links.extend(ids(&dump["links"], agent));
        }
        for program in loaded_programs().filter_map(Result::ok) {
            let Some(user) = held.programs.get(&program.id()) else { continue };
            for map in program.map_ids().ok().flatten().unwrap_or_default() {
                held.maps.entry(map).or_insert_with(|| format!("a map of {user}"));
            }
        }
        let counts = [held.programs.len(), held.links.len(), held.maps.len()];
        assert!(counts.iter().all(|count| *count > 10), "{held:?}");
        held
    }

    /// What of it is still in the kernel, pinned or not.
    pub(super) fn left(&self) -> Vec<String> {
        let programs: BTreeSet<u32> = loaded_programs().filter_map(Result::ok).map(|one| one.id()).collect();
        let links: BTreeSet<u32> = loaded_links().filter_map(Result::ok).map(|one| one.id()).collect();
        let maps: BTreeSet<u32> = loaded_maps().filter_map(Result::ok).map(|one| one.id()).collect();
        let mut left = Vec::new();
        for (ours, all) in [(&self.programs, programs), (&self.links, links), (&self.maps, maps)] {
            left.extend(
                ours.iter().filter(|(id, _)| all.contains(id)).map(|(id, name)| format!("{name} ({id})")),
            );
        }
        left
    }
}

/// What an agent's admin socket answers.
fn dump(here: &Here, namespace: &str, agent: &str) -> Result<Value, String> {
    let command = ["exec", "--stdin", "--namespace", namespace, agent, "--container=relay", "--"];
    let asks = ["/usr/bin/mesh-agent", "admin", "--run-dir=/run/mesh-pod"];
    let request = "GET /dump?flows=0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut kubectl = here.kubectl.command();
    kubectl.args(command).args(asks).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut kubectl = kubectl.spawn().expect("kubectl runs");
    // Open until the answer is there: whoever hangs up is not answered.
    let mut input = kubectl.stdin.take().expect("it is piped");
    // If it does not read it has ended, and says nothing.
    let _ = input.write_all(request.as_bytes());
    let mut answer = String::new();
    kubectl.stdout.take().expect("it is piped").read_to_string(&mut answer).expect("text");
    drop(input);
    let _ = kubectl.wait();
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    serde_json::from_str(body).map_err(|error| format!("{agent}: {error}: {answer}"))
}

fn ids(entries: &Value, agent: &str) -> BTreeMap<u32, String> {
    let entries = entries.as_object().unwrap_or_else(|| panic!("no table: {entries}"));
    let id = |entry: &Value| entry["id"].as_u64().and_then(|id| u32::try_from(id).ok()).expect("a number");
    entries.iter().map(|(name, entry)| (id(entry), format!("{name} of {agent}"))).collect()
}
