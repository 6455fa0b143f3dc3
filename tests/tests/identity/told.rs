//! What an operator is told of something that failed: by a line of the log, by metrics and by `meshctl explain`. All of
//! it is compared with what was there before, so that nothing counts that another call has left.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Seek as _, SeekFrom},
    net::{IpAddr, SocketAddr},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use mesh_tests::trial::{Trial, eventually};
use serde_json::Value;

use super::{FAR, NEAR, SOON};

/// How far each node's log was at some time: the file, by its inode, and how long it was.
#[derive(Debug)]
pub(super) struct Mark(BTreeMap<String, (u64, u64)>);

/// A line of a node's log.
#[derive(Debug)]
pub(super) struct Line {
    node: String,
    line: Value,
}

impl Mark {
    pub(super) fn now(trial: &Trial) -> Self {
        let now = |node: String| {
            let file = fs::metadata(log(trial, &node)).ok()?;
            Some((node, (file.ino(), file.len())))
        };
        Self(trial.nodes().into_iter().filter_map(now).collect())
    }

    /// The lines of all nodes since then.
    pub(super) fn lines(&self, trial: &Trial) -> Vec<Line> {
        let mut lines = Vec::new();
        for node in trial.nodes() {
            let text = self.since(&node, &log(trial, &node));
            let parsed = text.lines().filter_map(|line| serde_json::from_str(line).ok());
            lines.extend(parsed.map(|line| Line { node: node.clone(), line }));
        }
        lines
    }

    /// What a log has got since then; one that is long enough is put aside, and another one begun.
    fn since(&self, node: &str, current: &Path) -> String {
        let marked = self.0.get(node).copied();
        let mut texts = Vec::new();
        for path in [current.to_owned(), current.with_extension("log.1")] {
            let Ok(mut file) = fs::File::open(path) else { continue };
            let inode = file.metadata().unwrap().ino();
            let from = marked.filter(|(of, _)| *of == inode).map(|(_, length)| length);
            file.seek(SeekFrom::Start(from.unwrap_or(0))).unwrap();
            let mut text = Vec::new();
            file.read_to_end(&mut text).unwrap();
            texts.push(String::from_utf8_lossy(&text).into_owned());
            if from.is_some() {
                break;
            }
        }
        texts.into_iter().rev().collect()
    }

    /// Waits until there is such a line.
    pub(super) fn wait(&self, trial: &Trial, what: &str, wanted: impl Fn(&Line) -> bool) -> Line {
        eventually(&format!("a log says {what}"), SOON, || self.lines(trial).into_iter().find(&wanted))
    }
}

/// Where a node's log is.
fn log(trial: &Trial, node: &str) -> PathBuf {
    trial.bed().node(node).run.join("access.log")
}

impl Line {
    /// Whose log it is in.
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// A field, `/source/pod` for one within another; empty if it is not there.
    pub(super) fn text(&self, pointer: &str) -> &str {
        text(&self.line, pointer)
    }

    /// An address without its port.
    pub(super) fn ip(&self, pointer: &str) -> Option<IpAddr> {
        self.text(pointer).parse().ok().map(|address: SocketAddr| address.ip())
    }
}

/// Who is to tell of a failure, about which pod, and why.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) node: &'a str,
    /// `source` or `destination`.
    pub(super) reporter: &'a str,
    /// The reporter's own pod.
    pub(super) pod: &'a str,
    pub(super) reason: &'a str,
    /// The policy that refused it, if one did.
    pub(super) policy: &'a str,
}

impl<'a> Case<'a> {
    /// Told by the client's node of `id/client`.
    pub(super) fn source(reason: &'a str) -> Self {
        Self { node: NEAR, reporter: "source", pod: "id/client", reason, policy: "" }
    }

    /// Told by the server's node of one of its pods.
    pub(super) fn destination(pod: &'a str, reason: &'a str) -> Self {
        Self { node: FAR, reporter: "destination", pod, reason, policy: "" }
    }

    /// A refusal by this policy.
    pub(super) fn by(self, policy: &'a str) -> Self {
        Self { policy, ..self }
    }
}

/// What was told before something is tried.
pub(super) struct Before<'a> {
    trial: &'a Trial,
    case: Case<'a>,
    /// The workload at the other end, where the metric is to name one.
    peer: Option<String>,
    mark: Mark,
    counted: f64,
    ended: f64,
    explained: u64,
}

impl<'a> Before<'a> {
    pub(super) fn now(trial: &'a Trial, case: Case<'a>) -> Self {
        Self::about(trial, case, None)
    }

    /// The same for a destination of this workload alone.
    pub(super) fn of_workload(trial: &'a Trial, case: Case<'a>, workload: &str) -> Self {
        Self::about(trial, case, Some(workload.to_owned()))
    }

    fn about(trial: &'a Trial, case: Case<'a>, peer: Option<String>) -> Self {
        let mark = Mark::now(trial);
        let mut before = Self { trial, case, peer, mark, counted: 0.0, ended: 0.0, explained: 0 };
        (before.counted, before.ended) = (before.counted(), before.ended());
        before.explained = before.explain().0;
        before
    }

    /// Connections that failed for this reason, or were refused by this policy.
    fn counted(&self) -> f64 {
        let Case { node, reporter, reason, policy, .. } = self.case;
        let (metric, by) = if policy.is_empty() {
            ("mesh_tcp_connections_failed_total", "how")
        } else {
            ("mesh_denied_total", "reason")
        };
        let mut labels = vec![("reporter", reporter), (by, reason)];
        labels.extend(Some(("policy", policy)).filter(|(_, policy)| !policy.is_empty()));
        labels.extend(self.peer.as_deref().map(|peer| ("destination_workload", peer)));
        self.trial.metric(node, metric, &labels)
    }

    fn ended(&self) -> f64 {
        let labels = [("reason", self.case.reason)];
        self.trial.metric(self.case.node, "mesh_tunnel_connections_ended_total", &labels)
    }

    /// How often `meshctl explain` says that it happened, and all that it says.
    fn explain(&self) -> (u64, Value) {
        let Case { node, reporter, pod, reason, policy } = self.case;
        let output = self.trial.meshctl(&["--node", node, "-o", "json", "explain", "--pod", pod]);
        let said: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("meshctl explain --pod {pod}: {error}: {output:?}"));
        let is_it = |failure: &&Value| {
            text(failure, "/reason") == reason
                && text(failure, "/reporter") == reporter
                && text(failure, "/policy") == policy
        };
        let alike: Vec<&Value> = said["failures"].as_array().into_iter().flatten().filter(is_it).collect();
        let count = alike.iter().filter_map(|failure| failure["count"].as_u64()).sum();
        if count > 0 {
            assert_eq!(output.status.code(), Some(1), "meshctl explain --pod {pod}: {output:?}");
            let checks = alike.iter().all(|failure| !text(failure, "/check").is_empty());
            assert!(checks || !policy.is_empty(), "a failure without what to check: {said}");
            let mut reasons = said["reasons"].as_array().into_iter().flatten();
            let told = reasons.any(|told| text(told, "/name") == reason && !text(told, "/check").is_empty());
            assert!(told, "{reason} is not explained: {said}");
        }
        (count, said)
    }

    /// Waits until log, metrics and `meshctl explain` say it; the log of a connection with this address.
    pub(super) fn is_told(&self, peer: IpAddr) {
        self.is_told_in(|line| {
            let other =
                if self.case.reporter == "source" { "/destination/address" } else { "/source/address" };
            line.ip(other) == Some(peer)
        });
    }

    /// The same, the line of the log recognised by its content.
    pub(super) fn is_told_in(&self, wanted: impl Fn(&Line) -> bool) {
        let Case { node, reporter, pod, reason, policy } = self.case;
        let own = format!("/{reporter}");
        let line = self.mark.wait(self.trial, &format!("{reason} of {pod} on {node}"), |line| {
            let named =
                format!("{}/{}", line.text(&format!("{own}/namespace")), line.text(&format!("{own}/pod")));
            (line.node(), line.text("/reporter")) == (node, reporter)
                && (line.text("/reason"), line.text("/policy")) == (reason, policy)
                && named == pod
                && wanted(line)
        });
        assert!(!policy.is_empty() || !line.text("/check").is_empty(), "nothing to check: {line:?}");
        eventually(&format!("the metrics of {node} count {reason} of {:?}", self.peer), SOON, || {
            (self.counted() > self.counted && self.ended() > self.ended).then_some(())
        });
        eventually(&format!("meshctl explain --pod {pod} says {reason}"), SOON, || {
            (self.explain().0 > self.explained).then_some(())
        });
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
