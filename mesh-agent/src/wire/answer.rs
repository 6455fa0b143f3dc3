//! Questions of the CLI, answered from what the kernel holds and not from what was meant.

mod can;
mod check;
mod dump;

use std::collections::BTreeMap;

use super::apply::Kernel;
use super::content::Content;
use super::target::State;
use crate::handover::{Answer, LocalPod, PodReport, Question};

/// The longest dump, well within a frame of the handover.
const DUMP_LIMIT: usize = 12 << 20;

/// What answers are made of.
pub(super) struct View<'a> {
    /// The kernel's side.
    pub(super) kernel: &'a Kernel,
    /// What relay compiled, for names.
    pub(super) content: &'a Content,
    /// What was written.
    pub(super) held: &'a State,
    /// Pods of the node.
    pub(super) reports: &'a BTreeMap<String, PodReport>,
    /// What relay says of them.
    pub(super) pods: &'a BTreeMap<String, LocalPod>,
    /// Programs that are not attached.
    pub(super) trouble: &'a [String],
}

impl View<'_> {
    /// Answers a question.
    pub(super) fn answer(&self, question: &Question) -> Answer {
        match question {
            Question::Can { source, destination, port, protocol } => {
                Answer::Can(self.can(*source, (*destination, *port), *protocol))
            }
            Question::Dump { flows } => match serde_json::to_string(&self.dump(*flows)) {
                Ok(json) if json.len() > DUMP_LIMIT => Answer::Failed(format!(
                    "the dump of {} bytes is over the limit of {DUMP_LIMIT}: ask for fewer flows than {flows}",
                    json.len()
                )),
                Ok(json) => Answer::Dump(json),
                Err(error) => Answer::Failed(format!("the dump cannot be written as JSON: {error}")),
            },
            Question::Check => Answer::Check(check::features(self.kernel.links.programs())),
            Question::Reset { uid, .. } => {
                Answer::Failed(format!("pod {uid}: what is to be done is not answered from what is held"))
            }
        }
    }
}
