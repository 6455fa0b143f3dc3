//! `mesh-echo-advanced` against itself: what `client` prints is what the conformance suite's own program prints for the
//! same calls, by the names of its lines and their order.

use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Child, Command, Output},
};

use mesh_tests::cluster::trial::{free_port, until};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-echo-advanced");

/// The server with the flags of the suite's Deployments, on ports of its own.
struct Server {
    process: Child,
    http: u16,
    https: u16,
    grpc: u16,
    tcp: u16,
    _folder: TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let pair = rcgen::generate_simple_self_signed(["echo".to_owned()]).expect("a certificate");
        let file = |name: &str, text: String| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("a file");
            path.display().to_string()
        };
        let certificate = file("crt", pair.cert.pem());
        let key = file("key", pair.signing_key.serialize_pem());
        let [http, https, grpc, tcp] = [(); 4].map(|()| free_port());
        let mut command = Command::new(PROGRAM);
        command.arg("server").args([
            format!("--tcp={tcp}"),
            format!("--port={http}"),
            format!("--grpc={grpc}"),
        ]);
        command.args([format!("--port={https}"), format!("--tls={https}")]);
        command.args([format!("--crt={certificate}"), format!("--key={key}")]);
        let process = command.spawn().expect("the server runs");
        let server = Self { process, http, https, grpc, tcp, _folder: folder };
        for port in [http, https, grpc, tcp] {
            until("the server to listen", || {
                TcpStream::connect(("127.0.0.1", port)).map(drop).map_err(|error| error.to_string())
            });
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn client(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).arg("client").args(arguments).output().expect("the client runs")
}

/// What a successful client printed.
fn printed(arguments: &[&str]) -> String {
    let output = client(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The names of a call's lines, each run of the same one once; of a line without a name all of it.
fn names(call: &str) -> Vec<&str> {
    let mut names: Vec<&str> = call.lines().map(|line| line.split('=').next().unwrap_or(line)).collect();
    names.dedup();
    names
}

const HTTP_BODY: [&str; 9] = [
    "[0 body] ServiceVersion",
    "[0 body] ServicePort",
    "[0 body] Host",
    "[0 body] URL",
    "[0 body] Method",
    "[0 body] Proto",
    "[0 body] IP",
    "[0 body] RequestHeader",
    "[0 body] Hostname",
];

#[test]
fn calls_are_told_as_the_suite_reads_them() {
    let server = Server::start();
    let (http, https) = (server.http, server.https);
    let seen = ["[0] SourceIP", "[0] Latency", "[0] ActiveRequests", "[0] StatusCode", "[0] ResponseHeader"];

    let said = printed(&[&format!("http://127.0.0.1:{http}/path?x=1"), "--method=GET", "-H", "X-A:b"]);
    let call = said.split("\n\n").next().unwrap_or_default();
    assert_eq!(names(call), [&["[0] Url", "[0] Header"], &seen[..], &HTTP_BODY].concat());
    for line in [
        "[0] Header=X-A:b".to_owned(),
        "[0] StatusCode=200".to_owned(),
        format!("[0 body] ServicePort={http}"),
        format!("[0 body] Host=127.0.0.1:{http}"),
        "[0 body] URL=/path?x=1".to_owned(),
        "[0 body] Proto=HTTP/1.1".to_owned(),
        "[0 body] RequestHeader=X-A:b".to_owned(),
    ] {
        assert!(call.lines().any(|there| there == line), "{line} is not in {call}");
    }
    assert!(said.ends_with("\tinfo\tAll 1 requests succeeded\n"), "{said}");

    let said = printed(&[&format!("http://127.0.0.1:{http}/p"), "--method=POST", "-H", "Host: other"]);
    for line in ["[0 body] Host=other", "[0 body] Method=POST", "[0 body] RequestHeader=Content-Length:0"] {
        assert!(said.lines().any(|there| there == line), "{line} is not in {said}");
    }

    let said = printed(&[&format!("https://127.0.0.1:{https}/")]);
    assert!(said.contains("[0 body] Alpn=http/1.1\n"), "{said}");

    let said = printed(&[&format!("tcp://127.0.0.1:{}", server.tcp)]);
    let call = said.split("\n\n").next().unwrap_or_default();
    let body = ["StatusCode", "ServiceVersion", "ServicePort", "IP", "Proto", "Hostname", "HelloWorld"];
    let body = body.map(|name| format!("[0 body] {name}"));
    let seen = ["[0] SourceIP", "[0] Url", "[0] Echo"];
    assert_eq!(names(call), [&seen[..], &body.each_ref().map(String::as_str)].concat());
}

#[test]
fn grpc_calls_are_told_one_by_one() {
    let server = Server::start();
    let said = printed(&[&format!("grpc://127.0.0.1:{}", server.grpc), "--count=2", "-H", "x-a:b"]);
    let calls: Vec<&str> = said.split("\n\n").collect();
    // The last is what is said of all.
    assert_eq!(calls.len(), 3, "{said}");
    assert!(calls[1].starts_with("[1] "), "{said}");
    let body = [
        "[0 body] Host",
        "[0 body] RequestHeader",
        "[0 body] StatusCode",
        "[0 body] ServiceVersion",
        "[0 body] ServicePort",
        "[0 body] IP",
        "[0 body] Proto",
        "[0 body] Echo",
        "[0 body] Hostname",
    ];
    let around = |body: &[&'static str]| {
        [&["[0] Latency", "[0] ActiveRequests"], body, &["[0] ResponseHeader"]].concat()
    };
    assert_eq!(names(calls[0]), around(&body));
    for line in ["[0 body] Echo=HelloWorld", "[0 body] RequestHeader=x-a:b", "[0 body] StatusCode=200"] {
        assert!(calls[0].lines().any(|there| there == line), "{line} is not in {said}");
    }
    assert!(said.ends_with("\tinfo\tAll 2 requests succeeded\n"), "{said}");
}

#[test]
fn a_client_without_an_answer_fails() {
    let output = client(&[&format!("http://127.0.0.1:{}/", free_port())]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("\tfatal\tError 1/1 requests had errors; first error: "), "{said}");
    // The suite's image finds the program by either name.
    let folder = tempfile::tempdir().expect("a folder");
    let named = folder.path().join("client");
    std::os::unix::fs::symlink(Path::new(PROGRAM), &named).expect("a link");
    let output = Command::new(&named).arg("http://").output().expect("it runs");
    assert!(String::from_utf8_lossy(&output.stderr).contains("is no URL"), "{output:?}");
}
