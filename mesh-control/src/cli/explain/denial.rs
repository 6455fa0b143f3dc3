//! `meshctl explain-denial`: the request that was denied with an identifier. A caller that has proven
//! nothing is told no more than that (SEMANTICS 5.8).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::client::encode;
use super::super::endpoint::EndpointError;
use super::super::node::{Node, each};
use super::super::output::View;
use super::super::{CliError, Outcome};
use super::{Side, more};

/// The line of the request, as its node has it.
#[derive(Debug, Serialize, Deserialize)]
struct Denial {
    #[serde(default)]
    node: String,
    time: String,
    source: Side,
    destination: Side,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Asks every node; a node that does not answer matters only where no other knows it.
pub(in super::super) async fn denial(nodes: &[Node], id: &str) -> Result<(View, Outcome), CliError> {
    let path = format!("/denial?id={}", encode(id));
    let asked = each(nodes, |node| {
        let path = &path;
        async move { (node, node.agent.get::<Denial>(path).await) }
    });
    let mut silent = None;
    for (node, answer) in asked.await {
        match answer {
            Ok(denial) => {
                let denial = Denial { node: node.name.clone(), ..denial };
                return Ok((View::new(&denial, denial.text(id)), Outcome::Yes));
            }
            Err(error) if error.is_unknown() => {}
            Err(error) => silent = Some(error),
        }
    }
    Err(silent.map_or_else(|| EndpointError::NoDenial(id.to_owned()).into(), CliError::from))
}

impl Denial {
    fn text(&self, id: &str) -> String {
        let mut text = format!("Denial {id}, {} {}\n", self.node, self.time);
        text.push_str(&format!("  {} -> {}\n", self.source.text(), self.destination.text()));
        for (name, value) in more(&self.rest).into_iter().filter(|(name, _)| *name != "denial") {
            text.push_str(&format!("  {name} {value}\n"));
        }
        text
    }
}
