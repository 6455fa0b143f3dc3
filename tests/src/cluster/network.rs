//! The cluster's network: what the testbed joins its nodes with, and a link by which this machine reaches the API
//! server, the nodes and the pods.

use std::{fs, path::Path, process::Command};

use super::{
    Error,
    place::{CONTROL, NAME, Place},
};
use crate::{addresses::Pair, layout::NETNS_ROOT, supervisor::fabric::Fabric, tool};

/// Makes the namespaces of all machines and joins them.
pub(super) fn create(nodes: u8) -> Result<(), Error> {
    let plan = Place::plan();
    let mut fabric = Fabric::create(Place::netns_name(CONTROL), plan)?;
    for number in 1..=nodes {
        fabric.add_node(number, Place::netns_name(&Place::node(number)))?;
    }
    fabric.route_pods()?;

    let [here, there] = plan.link();
    let control = Place::netns_name(CONTROL);
    let ends = |link: &str, Pair { v4, v6 }: Pair| {
        [
            format!("address add {v4}/30 dev {link}"),
            format!("address add {v6}/64 dev {link} nodad"),
            format!("link set {link} up"),
        ]
    };
    let mut lines = vec![format!("link add {NAME} type veth peer name outside netns {control}")];
    lines.extend(ends(NAME, here));
    tool::ip(None, &lines)?;
    tool::ip(Some(&control), &ends("outside", there))?;
    let (whole4, whole6) = plan.whole();
    let routes = [
        format!("route add {whole4} via {} dev {NAME}", there.v4),
        format!("route add {whole6} via {} dev {NAME}", there.v6),
    ];
    Ok(tool::ip(None, &routes)?)
}

/// Removes all of it, whether or not it was made as a whole.
pub(super) fn remove() -> Result<(), Error> {
    let nodes = format!("{NAME}.");
    for entry in fs::read_dir(NETNS_ROOT).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name == NAME || name.starts_with(&nodes) {
            let mut command = Command::new("ip");
            command.args(["netns", "delete", &name]);
            tool::run(command, "")?;
        }
    }
    // The link would go with the namespace at its other end, but some time later.
    if Path::new("/sys/class/net").join(NAME).exists() {
        // It may just have gone.
        let gone = tool::ip(None, &[format!("link delete {NAME}")]);
        if Path::new("/sys/class/net").join(NAME).exists() {
            gone?;
        }
    }
    Ok(())
}
