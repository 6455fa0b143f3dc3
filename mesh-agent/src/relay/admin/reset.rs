//! `POST /reset`: has a pod's connections from before its enrolment changed ended. Only wire can, in the pod's namespace.

use serde::Serialize;

use super::AdminError;
use super::query::Query;
use crate::handover::{Answer, Question, Reset};
use crate::relay::node::{AskError, Node};

/// What became of them.
#[derive(Debug, Serialize)]
pub(super) struct Done {
    pod: String,
    uid: String,
    /// Ended.
    ended: u64,
    /// The kernel would not end them.
    left: u64,
}

/// Answers once it is done.
pub(super) async fn reset(node: &Node, query: &Query) -> Result<Done, AdminError> {
    let pod = query.text("pod");
    let enrolled = match query.text("enrolled") {
        "true" => true,
        "false" => false,
        other => {
            let value = other.to_owned();
            return Err(AdminError::Parameter { name: "enrolled", value, problem: "neither true nor false" });
        }
    };
    let uid = uid(node, pod).ok_or_else(|| AdminError::Unknown { what: "pod", name: pod.to_owned() })?;
    let answer =
        node.ask(Question::Reset { uid: uid.clone(), enrolled }).await.map_err(|error| match error {
            AskError::TimedOut => AskError::Failed(format!("{error}: they may still be ended")),
            other => other,
        });
    match answer? {
        Answer::Reset(Reset { ended, left }) => Ok(Done { pod: pod.to_owned(), uid, ended, left }),
        _ => Err(AdminError::Mismatch),
    }
}

/// The pod of this node with this name. Of two, as while one takes the other's place, the one that wire finds.
fn uid(node: &Node, name: &str) -> Option<String> {
    let (namespace, name) = name.split_once('/')?;
    let (desired, reports) = (node.desired.borrow(), node.pods.borrow());
    let mut named = desired
        .local_workloads()
        .filter(|pod| (pod.namespace.as_str(), pod.name.as_str()) == (namespace, name));
    let first = named.next()?;
    let found = std::iter::once(first).chain(named).find(|pod| reports.contains_key(&pod.uid));
    Some(found.unwrap_or(first).uid.clone())
}

#[cfg(test)]
mod tests {
    use super::{Answer, Node, Query, Question, Reset, reset};
    use crate::relay::node::Asked;
    use crate::relay::resource::{Local, Resource, Workload};

    fn workload(uid: &str) -> Resource {
        Resource::Workload(Workload {
            uid: uid.into(),
            namespace: "bank".into(),
            name: "vault".into(),
            service_account: "vault".into(),
            addresses: Vec::new(),
            node: "n1".into(),
            workload: "vault".into(),
            enrolled: true,
            host_network: false,
            group: 7,
            encrypt_always: false,
            local: Some(Local::default()),
        })
    }

    /// What is answered to a query when wire answers this; what wire was asked, if it was.
    async fn asked(query: &str, answers: Answer) -> (Result<(u64, u64), String>, Option<Question>) {
        let (node, mut questions) = Node::new("n1");
        node.link.connected.set(true);
        node.set("bank/vault/u-1", workload("u-1"));
        let query = Query::parse(query);
        let wire = async {
            let Asked { question, answer } = questions.recv().await?;
            answer.send(answers).ok()?;
            Some(question)
        };
        tokio::pin!(wire);
        let mut question = None;
        let reset = reset(&node, &query);
        tokio::pin!(reset);
        let done = loop {
            tokio::select! {
                biased;
                done = &mut reset => break done,
                heard = &mut wire, if question.is_none() => question = heard,
            }
        };
        (done.map(|done| (done.ended, done.left)).map_err(|error| error.to_string()), question)
    }

    #[tokio::test]
    async fn wire_is_asked_about_the_pod_of_that_name() {
        for (text, enrolled) in [("true", true), ("false", false)] {
            let answer = Answer::Reset(Reset { ended: 3, left: 1 });
            let (done, question) = asked(&format!("pod=bank%2Fvault&enrolled={text}"), answer).await;
            assert_eq!(done, Ok((3, 1)));
            assert_eq!(question, Some(Question::Reset { uid: "u-1".into(), enrolled }));
        }
    }

    #[tokio::test]
    async fn what_is_wrong_is_said() {
        let failed = || Answer::Failed("pod u-1: it is Pending, not Wired".into());
        let (done, _) = asked("pod=bank/vault&enrolled=true", failed()).await;
        assert_eq!(done, Err("pod u-1: it is Pending, not Wired".into()));
        for (query, why) in [
            ("pod=bank/nobody&enrolled=true", "pod `bank/nobody` is not known on this node"),
            ("enrolled=true", "pod `` is not known on this node"),
            ("pod=bank/vault", "parameter enrolled is \"\": neither true nor false"),
        ] {
            let (done, question) = asked(query, failed()).await;
            assert_eq!((done, question), (Err(why.into()), None));
        }
    }
}
