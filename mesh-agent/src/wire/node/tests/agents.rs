//! Relays that come and go, each in a control group of its own that stays behind.

use std::fs;
use std::process::{Child, Command};

use super::super::{AGENTS, Signal};
use super::{Place, Point, on_a_node, points, remove_cgroup};

/// How many places answer relay's options.
fn answering(node: &super::Node) -> usize {
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
            fs::create_dir(cgroup).unwrap();
            let mut relay = Relay(Command::new("sleep").arg("1000").spawn().unwrap());
            fs::write(cgroup.join("cgroup.procs"), relay.0.id().to_string()).unwrap();
            node.hear(Signal::Agent(relay.0.id()));
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

struct Relay(Child);

impl Relay {
    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.end();
    }
}
