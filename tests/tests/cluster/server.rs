//! An API server alone: etcd and kube-apiserver as ordinary processes on loopback. Objects need no nodes, and so this runs
//! beside any cluster, with controllers of the mesh where a test wants one. It can be taken away and brought back, and
//! writes down who asked it what.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use mesh_tests::cluster::{
    Kubectl, Place,
    trial::{TIMEOUT, free_port, program, target, until, workspace},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const TOKEN: &str = "objects";
/// Others that may do everything, told apart in the audit log. Each one's token is its name.
const OTHERS: [&str; 2] = ["controller-one", "controller-two"];
const API: &str = "kube-apiserver";
/// Every request is written down as it comes, without its content.
const AUDIT: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}],
    "omitStages": ["ResponseStarted", "ResponseComplete", "Panic"]}"#;

/// The API server, for as long as a test lasts.
pub(crate) struct ApiServer {
    folder: TempDir,
    processes: Vec<(String, Child)>,
    api: Vec<String>,
    /// kubectl for it.
    pub(crate) kubectl: Kubectl,
    proxy: u16,
}

/// What it answered: the status code, and the object or `Status`.
pub(crate) type Answer = (u16, Value);

impl ApiServer {
    /// Starts it.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts it with more arguments.
    pub(crate) fn start_with(more: &[&str]) -> Self {
        let place = Place::new(&target());
        let folder = tempfile::tempdir().expect("a folder");
        let kubeconfig = folder.path().join("kubeconfig");
        let kubectl = Kubectl::new(&place, &kubeconfig).remembering(&folder.path().join("kubectl"));
        let mut server = Self { folder, processes: Vec::new(), api: Vec::new(), kubectl, proxy: 0 };

        let (etcd, peers, api) = (free_port(), free_port(), free_port());
        let etcd = format!("http://127.0.0.1:{etcd}");
        server.spawn(
            Path::new("etcd"),
            &[
                format!("--data-dir={}", server.path("etcd").display()),
                format!("--listen-client-urls={etcd}"),
                format!("--advertise-client-urls={etcd}"),
                format!("--listen-peer-urls=http://127.0.0.1:{peers}"),
                // What is lost with the machine is not missed.
                "--unsafe-no-fsync".to_owned(),
            ],
        );
        let key = rcgen::KeyPair::generate().expect("a key");
        fs::write(server.path("accounts.key"), key.serialize_pem()).expect("a key");
        fs::write(server.path("accounts.pub"), key.public_key_pem()).expect("a key");
        let line = |(token, user): (&str, &str)| format!("{token},{user},{user},system:masters\n");
        let users = [(TOKEN, "admin")].into_iter().chain(OTHERS.map(|name| (name, name)));
        fs::write(server.path("tokens"), users.map(line).collect::<String>()).expect("tokens");
        fs::write(server.path("audit-policy"), AUDIT).expect("a policy");
        let certificates = server.path("certificates");
        server.api = vec![
            format!("--etcd-servers={etcd}"),
            format!("--secure-port={api}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=192.0.2.1".to_owned(),
            format!("--cert-dir={}", certificates.display()),
            format!("--token-auth-file={}", server.path("tokens").display()),
            "--authorization-mode=RBAC".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
            format!("--service-account-key-file={}", server.path("accounts.pub").display()),
            format!("--service-account-signing-key-file={}", server.path("accounts.key").display()),
            format!("--audit-policy-file={}", server.path("audit-policy").display()),
            format!("--audit-log-path={}", server.path("audit").display()),
        ];
        server.api.extend(more.iter().map(ToString::to_string));
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "users": [{"name": "it", "user": {"token": TOKEN}}],
            // It signs its own certificate, and shows its authority in the same file.
            "clusters": [{"name": "it", "cluster": {
                "server": format!("https://127.0.0.1:{api}"),
                "certificate-authority": certificates.join("apiserver.crt"),
            }}],
        });
        fs::write(&kubeconfig, config.to_string()).expect("a kubeconfig");
        server.start_api();
        server.proxy = server.open_proxy(&place.programs().join("kubectl"));
        server
    }

    /// A file of its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a program until the test ends; its log is `<program>.log`.
    pub(crate) fn spawn(&mut self, program: &Path, arguments: &[String]) {
        let name = program.file_name().expect("a program").to_string_lossy().into_owned();
        let kubeconfig = self.path("kubeconfig");
        self.spawn_as(&name, program, arguments, &kubeconfig);
    }

    /// The same under a name of its own, and with a kubeconfig.
    pub(crate) fn spawn_as(&mut self, name: &str, program: &Path, arguments: &[String], kubeconfig: &Path) {
        let log = self.path(&format!("{name}.log"));
        let log = fs::File::options().create(true).append(true).open(log).expect("a log");
        let mut command = Command::new(program);
        command.args(arguments).env("KUBECONFIG", kubeconfig);
        command.stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        self.processes.push((name.to_owned(), child));
    }

    /// Ends what was spawned under this name.
    pub(crate) fn end(&mut self, name: &str, signal: Signal) {
        let index = self.processes.iter().position(|(other, _)| other == name).expect("it runs");
        let (_, mut child) = self.processes.remove(index);
        let id = i32::try_from(child.id()).expect("a process id");
        kill(Pid::from_raw(id), signal).expect("it can be told");
        // Not waited for: how long it takes is what tests look at.
        thread::spawn(move || child.wait());
    }

    /// Starts the API server, which finds what was in etcd when it ended.
    pub(crate) fn start_api(&mut self) {
        let programs = self.kubectl.command().get_program().to_owned();
        let program = Path::new(&programs).with_file_name(API);
        self.spawn(&program, &self.api.clone());
        self.until_ready();
    }

    /// The kubeconfig of another user.
    pub(crate) fn kubeconfig(&self, user: &str) -> PathBuf {
        assert!(OTHERS.contains(&user), "no token is {user}");
        let text = fs::read_to_string(self.path("kubeconfig")).expect("a kubeconfig");
        let mut config: Value = serde_json::from_str(&text).expect("JSON");
        config["users"][0]["user"]["token"] = json!(user);
        let path = self.path(&format!("kubeconfig-{user}"));
        fs::write(&path, config.to_string()).expect("a kubeconfig");
        path
    }

    /// Every request so far, one a line.
    pub(crate) fn audit(&self) -> String {
        fs::read_to_string(self.path("audit")).unwrap_or_default()
    }

    /// What a program logged.
    pub(crate) fn log(&self, program: &str) -> String {
        fs::read_to_string(self.path(&format!("{program}.log"))).unwrap_or_default()
    }

    fn until_ready(&self) {
        until("the API server to be ready", || {
            let answer = self.kubectl.run(&["get", "--raw=/readyz"]);
            answer.map(drop).map_err(|error| format!("{error}\n{}", self.log(API)))
        });
    }

    /// Gives it the mesh's kinds, and a namespace for each of these names.
    pub(crate) fn define(&self, namespaces: &[&str]) {
        let definitions = workspace().join("deploy/crds");
        let definitions = definitions.to_str().expect("a plain path");
        let ask = |arguments: &[&str]| self.kubectl.run(arguments).unwrap_or_else(|error| panic!("{error}"));
        ask(&["apply", "--filename", definitions]);
        ask(&["wait", "--for=condition=Established", "customresourcedefinitions", "--all", TIMEOUT]);
        // Established is written before they are served, and before it is told that they are.
        until("the mesh's kinds to be served", || {
            let kinds = "accesspolicies,clusteraccesspolicies,meshconfigs";
            let listed = self.kubectl.run(&["get", kinds, "--all-namespaces"]);
            listed.map(drop).map_err(|error| error.to_string())
        });
        for namespace in namespaces {
            ask(&["create", "namespace", namespace]);
        }
    }

    /// Starts a controller with this name, as this user, with a run directory `run-NAME`.
    pub(crate) fn control(&mut self, name: &str, kubeconfig: &Path, more: &[String]) {
        let run = self.path(&format!("run-{name}"));
        fs::create_dir_all(&run).expect("a run directory");
        let own = ["--source=kubernetes".to_owned(), format!("--run-dir={}", run.display())];
        let program = program("mesh-control");
        self.spawn_as(name, Path::new(program.get_program()), &[&own[..], more].concat(), kubeconfig);
    }

    /// kubectl speaks TLS for us.
    fn open_proxy(&mut self, kubectl: &Path) -> u16 {
        let mut command = Command::new(kubectl);
        command.args(["proxy", "--port=0"]).env("KUBECONFIG", self.path("kubeconfig"));
        let mut child = command.stdout(Stdio::piped()).spawn().expect("kubectl runs");
        let mut said = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut said).expect("kubectl says where");
        self.processes.push(("kubectl".to_owned(), child));
        let port = said.trim().rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        port.unwrap_or_else(|| panic!("kubectl proxy said {said}"))
    }

    /// Asks the API server, with nothing between that would look at the object first.
    pub(crate) fn ask(&self, method: &str, path: &str, body: Option<(&str, &Value)>) -> Answer {
        let (form, body) =
            body.map_or(("application/json", String::new()), |(form, body)| (form, body.to_string()));
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nAccept: application/json\r\nContent-Type: {form}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(("127.0.0.1", self.proxy)).expect("kubectl proxy answers");
        stream.write_all((head + &body).as_bytes()).expect("kubectl proxy reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("kubectl proxy writes");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer}"));
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status code");
        (code, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}")))
    }

    /// Creates an object.
    pub(crate) fn create(&self, collection: &str, object: &Value) -> Answer {
        self.ask("POST", collection, Some(("application/json", object)))
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        for (_, process) in self.processes.iter_mut().rev() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
