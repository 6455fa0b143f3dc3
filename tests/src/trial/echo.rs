//! Manifests of pods that run `mesh-echo` or another server, as short as a test's table.

use std::fmt::{self, Write as _};

use serde_yaml_ng::Value;

/// Annotation of pods that are not waited for to be ready.
pub(super) const UNREADY: &str = "trial/unready";

/// A pod in the making; shown, it is YAML.
#[derive(Debug, Clone)]
pub struct Echo {
    namespace: String,
    name: String,
    node: String,
    account: Option<String>,
    labels: Vec<(String, String)>,
    enrolled: bool,
    arguments: Vec<String>,
    ports: Vec<String>,
    container: Vec<String>,
    spec: Vec<String>,
    unready: bool,
    program: &'static str,
}

/// A pod on `node-1` that is enrolled, has the label `app: NAME` and serves TCP at 8080.
#[must_use]
pub fn echo(namespace: &str, name: &str) -> Echo {
    Echo {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        node: "node-1".to_owned(),
        account: None,
        labels: vec![("app".to_owned(), name.to_owned())],
        enrolled: true,
        arguments: vec!["--tcp".to_owned(), "8080".to_owned()],
        ports: Vec::new(),
        container: Vec::new(),
        spec: Vec::new(),
        unready: false,
        program: "mesh-echo",
    }
}

/// A namespace with this label besides its name.
#[must_use]
pub fn namespace(name: &str, label: (&str, &str)) -> String {
    let (key, value) = label;
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{key}: {value}}}}}\n")
}

/// A namespace without labels.
#[must_use]
pub fn plain_namespace(name: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n")
}

/// Whether what a pod runs first is a server that says so once it listens.
pub(super) fn is_server(pod: &Value) -> bool {
    let command = || pod.get("spec")?.get("containers")?.get(0)?.get("command")?.as_sequence();
    let words: Vec<&str> = command().into_iter().flatten().filter_map(Value::as_str).collect();
    words.starts_with(&["mesh-echo", "server"]) || words.starts_with(&["mesh-http", "server"])
}

impl Echo {
    /// Runs on this node.
    #[must_use]
    pub fn on(mut self, node: &str) -> Self {
        node.clone_into(&mut self.node);
        self
    }

    /// Has this service account.
    #[must_use]
    pub fn account(mut self, account: &str) -> Self {
        self.account = Some(account.to_owned());
        self
    }

    /// Has this label; a later one of the same key replaces it.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.retain(|(other, _)| other != key);
        self.labels.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Is not in the mesh.
    #[must_use]
    pub fn plain(mut self) -> Self {
        self.enrolled = false;
        self
    }

    /// Runs the server of this program.
    #[must_use]
    pub(super) fn program(mut self, program: &'static str) -> Self {
        self.program = program;
        self
    }

    /// Gives the server these options as well, such as `--udp 53`.
    #[must_use]
    pub fn serve(mut self, options: &str) -> Self {
        self.arguments.extend(options.split_whitespace().map(str::to_owned));
        self
    }

    /// Gives the server these options and no others.
    #[must_use]
    pub fn serve_only(mut self, options: &str) -> Self {
        self.arguments.clear();
        self.serve(options)
    }

    /// Names a container port.
    #[must_use]
    pub fn named(mut self, name: &str, port: u16) -> Self {
        self.ports.push(format!("{{name: {name}, containerPort: {port}}}"));
        self
    }

    /// Has this field in its container.
    #[must_use]
    pub fn container(mut self, yaml: &str) -> Self {
        self.container.push(yaml.to_owned());
        self
    }

    /// Has this field in its spec.
    #[must_use]
    pub fn spec(mut self, yaml: &str) -> Self {
        self.spec.push(yaml.to_owned());
        self
    }

    /// Is not waited for to be ready.
    #[must_use]
    pub fn unready(mut self) -> Self {
        self.unready = true;
        self
    }
}

impl fmt::Display for Echo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.enrolled { "enabled" } else { "disabled" };
        let mut labels = format!("mesh.internal/mode: {mode}");
        for (key, value) in &self.labels {
            write!(labels, ", {key}: {value:?}")?;
        }
        let annotations =
            if self.unready { format!(", annotations: {{{UNREADY}: 'yes'}}") } else { String::new() };
        writeln!(f, "apiVersion: v1\nkind: Pod")?;
        writeln!(
            f,
            "metadata: {{name: {}, namespace: {}, labels: {{{labels}}}{annotations}}}",
            self.name, self.namespace
        )?;
        writeln!(f, "spec:\n  nodeName: {}", self.node)?;
        if let Some(account) = &self.account {
            writeln!(f, "  serviceAccountName: {account}")?;
        }
        if !self.spec.iter().any(|field| field.starts_with("terminationGracePeriodSeconds")) {
            writeln!(f, "  terminationGracePeriodSeconds: 1")?;
        }
        for field in &self.spec {
            writeln!(f, "  {field}")?;
        }
        let command: Vec<String> = self.arguments.iter().map(|argument| format!("{argument:?}")).collect();
        writeln!(
            f,
            "  containers:\n  - name: echo\n    command: [{}, server, {}]",
            self.program,
            command.join(", ")
        )?;
        if !self.ports.is_empty() {
            writeln!(f, "    ports: [{}]", self.ports.join(", "))?;
        }
        for field in &self.container {
            writeln!(f, "    {field}")?;
        }
        Ok(())
    }
}
