//! Relays that come and go, each in a control group of its own that stays behind.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use super::super::{AGENTS, Signal};
use super::{Place, Point, on_a_node, points, remove_cgroup};

/// How many places answer relay's options.
pub(super) fn answering(node: &super::Node) -> usize {
    points(node).iter().filter(|point| matches!(point, Point::Getopt(_) | Point::Setopt(_))).count()
}

#[test]
fn relays_that_ended_are_forgotten_also_where_their_control_groups_stay() {
    on_a_node(|| {
        let place = Place::new("relays");
        let mut node = place.wire();
        let cgroups: Vec<_> =
            (0..AGENTS + 2).map(|number| place.cgroup_root.join(format!("relay-{number}"))).collect();
        for cgroup in &cgroups {
            let mut relay = Relay::start(cgroup);
            node.hear(Signal::Agent(relay.pid()));
            assert_eq!(node.parts.agents.last(), Some(cgroup));
            node.verify();
            assert_eq!(answering(&node), 4, "ours and the relay's, getsockopt and setsockopt");
            relay.end();
        }
        node.verify();
        assert_eq!(node.parts.agents, [place.agent_cgroup()]);
        drop(node);
        for cgroup in &cgroups {
            remove_cgroup(cgroup);
        }
    });
}

/// A process in the place of a relay.
pub(super) struct Relay(Child);

impl Relay {
    /// Starts one in a control group.
    pub(super) fn start(cgroup: &Path) -> Self {
        fs::create_dir(cgroup).unwrap();
        let relay = Self(Command::new("sleep").arg("1000").spawn().unwrap());
        fs::write(cgroup.join("cgroup.procs"), relay.pid().to_string()).unwrap();
        relay
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(super) fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.end();
    }
}
