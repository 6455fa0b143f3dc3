//! Everything that is loaded, for people: programs, links, maps, pods, policy sets, Services and
//! the open flows, as JSON.

use std::collections::BTreeMap;

use mesh_ebpf::abi::{Backend, Flow, FlowKey, Origin, Pod, Settings, TCP, capacity};
use mesh_ebpf::address::Address;
use serde_json::{Value, json};

use super::View;
use crate::handover::uid_hash;

impl View<'_> {
    pub(super) fn dump(&self, flows: u32) -> Value {
        json!({
            "programs": self.kernel.links.programs().loaded(),
            "links": self.links(),
            "notAttached": self.trouble,
            "settings": self.settings(),
            "armed": self.held.armed,
            "maps": self.maps(),
            "pods": self.pods(),
            "sets": self.sets(),
            "services": self.services(),
            "counters": self.counters(),
            "flows": self.flows(flows as usize),
        })
    }

    fn links(&self) -> Value {
        let links: BTreeMap<String, Value> = self
            .kernel
            .links
            .infos()
            .into_iter()
            .map(|(name, info)| {
                let what = json!({ "id": info.id, "program": info.program, "target": info.target });
                (name, what)
            })
            .collect();
        json!(links)
    }

    fn settings(&self) -> Value {
        let settings = &self.held.settings;
        json!({
            "nodeNetns": settings.node_netns,
            "localProof": settings.flags & Settings::LOCAL_PROOF != 0,
            "unknownClosed": settings.flags & Settings::UNKNOWN_CLOSED != 0,
            "podLevels": [settings.pod_level_first, settings.pod_level_last],
            "rootLevel": settings.root_level,
            "generation": settings.generation,
        })
    }

    fn maps(&self) -> Value {
        let mut sizes = self.content.sizes();
        let count = |entries: usize| entries as u64;
        let pods = u64::from(capacity::PODS);
        sizes.push(("mesh_pods".to_owned(), count(self.held.cgroups.len()), pods));
        sizes.push(("mesh_local".to_owned(), count(self.held.local.len()), pods));
        sizes.push(("mesh_ifaces".to_owned(), count(self.held.interfaces.len()), pods));
        sizes.push(("mesh_probes".to_owned(), count(self.held.probes.len()), pods * 8));
        let listeners = self.kernel.maps.listeners.keys().filter(Result::is_ok).count();
        sizes.push(("mesh_listeners".to_owned(), count(listeners), u64::from(capacity::LISTENERS)));
        let flows = self.kernel.maps.flows.keys().filter(Result::is_ok).count();
        sizes.push(("mesh_flows".to_owned(), count(flows), u64::from(capacity::FLOWS)));
        let denials = self.kernel.maps.denials.keys().filter(Result::is_ok).count();
        sizes.push(("mesh_denials".to_owned(), count(denials), u64::from(capacity::DENIALS)));
        let maps: BTreeMap<String, Value> = sizes
            .into_iter()
            .map(|(map, entries, capacity)| (map, json!({ "entries": entries, "capacity": capacity })))
            .collect();
        json!(maps)
    }

    fn pods(&self) -> Value {
        let pods: Vec<Value> = self
            .reports
            .values()
            .map(|report| {
                let pod = self.pods.get(&report.uid);
                let entry = self.held.cgroups.get(&report.cgroup);
                json!({
                    "uid": report.uid,
                    "uidHash": uid_hash(&report.uid),
                    "name": pod.map(|pod| pod.name.as_str()),
                    "state": format!("{:?}", report.state),
                    "reason": report.reason,
                    "lateEnrolled": report.late_enrolled,
                    "preexistingConnections": report.preexisting_connections,
                    "validated": report.validated,
                    "cgroup": report.cgroup,
                    "netns": report.netns,
                    "interface": report.interface,
                    "kernel": entry.map(entry_of),
                })
            })
            .collect();
        json!(pods)
    }

    fn sets(&self) -> Value {
        let sets: BTreeMap<String, Value> = self
            .content
            .sets
            .all()
            .map(|(id, entries, rules)| {
                let rules: Vec<String> =
                    rules.iter().map(|(policy, rule)| format!("{policy} {rule}")).collect();
                (format!("{:#x}", id.0), json!({ "entries": entries, "rules": rules }))
            })
            .collect();
        json!(sets)
    }

    fn services(&self) -> Value {
        let services: Vec<Value> = self
            .content
            .services
            .all()
            .map(|(id, name, generation, frontends, slots)| {
                let frontends: Vec<String> =
                    frontends.iter().map(|key| show(&key.address, key.port)).collect();
                // What is no endpoint is the share that is refused.
                let endpoints = slots.iter().filter(|slot| slot.flags & Backend::PICKED != 0);
                let endpoints: Vec<String> = endpoints.map(|slot| show(&slot.address, slot.port)).collect();
                json!({
                    "id": id, "name": name, "generation": generation,
                    "frontends": frontends, "endpoints": endpoints,
                })
            })
            .collect();
        json!(services)
    }

    fn counters(&self) -> Value {
        let counters: BTreeMap<&str, u64> =
            mesh_ebpf::abi::Counter::NAMES.into_iter().zip(self.kernel.maps.counters()).collect();
        json!(counters)
    }

    fn flows(&self, limit: usize) -> Value {
        let maps = &self.kernel.maps;
        let flows: Vec<Value> = maps
            .flows
            .iter()
            .chain(maps.datagrams.iter())
            .filter_map(Result::ok)
            .take(limit)
            .map(|(key, flow)| flow_of(&key, &flow))
            .collect();
        json!(flows)
    }
}

fn entry_of(pod: &Pod) -> Value {
    json!({
        "class": format!("{:?}", pod.class()),
        "slot": pod.slot,
        "group": pod.group,
        "namespace": pod.namespace,
        "netns": pod.netns,
        "ingress": format!("{:#x}", pod.ingress.0),
        "egress": format!("{:#x}", pod.egress.0),
        "flags": pod.flags,
        "v4": (!pod.v4.is_unspecified()).then(|| pod.v4.to_string()),
        "v6": (!pod.v6.is_unspecified()).then(|| pod.v6.to_string()),
        "wiredAt": pod.wired_at,
    })
}

fn flow_of(key: &FlowKey, flow: &Flow) -> Value {
    json!({
        "protocol": if key.protocol == TCP { "TCP" } else { "UDP" },
        "source": show(&key.source, key.source_port),
        "destination": show(&key.destination, key.destination_port),
        "dialled": show(&flow.dialled, flow.dialled_port),
        "origin": format!("{:?}", Origin::from_number(flow.origin)),
        "uidHash": flow.uid,
        "group": flow.group,
        "cookie": flow.cookie,
        "openedAt": flow.opened_at,
    })
}

fn show(address: &Address, port: u16) -> String {
    std::net::SocketAddr::new((*address).into(), port).to_string()
}
