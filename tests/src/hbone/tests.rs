//! The peer with itself, on loopback: what it cannot do there, no test on the mesh should rely on.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use clap::Parser as _;

use super::{Authority, Cli, Command, Leaf, frame::Frame, raw::Raw};

/// Serves on loopback with a certificate of `authority`; gives the address and the files' folder.
fn serve(authority: &Authority) -> (SocketAddr, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    for name in ["server", "client"] {
        let id = format!("spiffe://example/ns/a/sa/{name}");
        authority.issue(folder.path(), name, &Leaf { names: &[&id], ..Leaf::default() }).unwrap();
    }
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let files = files(&folder, "server");
    let Command::Server(args) = parse(&format!("server --listen {address} {files}")) else { panic!() };
    thread::spawn(move || super::server::run(&args).unwrap());
    let deadline = Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "the server does not come up");
        thread::sleep(Duration::from_millis(5));
    }
    (address, folder)
}

fn files(folder: &tempfile::TempDir, name: &str) -> String {
    let path = folder.path().join(name).display().to_string();
    format!("--cert {path}.crt --key {path}.key --roots {path}.ca")
}

fn parse(words: &str) -> Command {
    Cli::try_parse_from(["mesh-hbone"].into_iter().chain(words.split_whitespace())).unwrap().command
}

#[test]
fn a_raw_client_is_answered_by_the_library() {
    let (address, folder) = serve(&Authority::stranger().unwrap());
    let client = files(&folder, "client");
    let Command::Client(args) = parse(&format!("client {address} --authority 10.0.0.1:80 {client}")) else {
        panic!()
    };
    super::client::run(&args).unwrap();
    let mut raw =
        Raw::connect(address, &args.credentials().client().unwrap(), Duration::from_secs(5)).unwrap();
    raw.begin(&[]).unwrap();
    raw.tunnel(1, "10.0.0.1:80").unwrap();
    assert_eq!(raw.outcome(), "status 200");
    raw.send(&Frame::rst_stream(3, 8)).unwrap();
    assert_eq!(raw.outcome(), "goaway 1", "a stream that was never opened cannot be reset");
}

#[test]
fn a_client_of_another_authority_is_refused() {
    let (address, _folder) = serve(&Authority::stranger().unwrap());
    let (_, other) = serve(&Authority::stranger().unwrap());
    let client = files(&other, "client");
    let Command::Client(args) = parse(&format!("client {address} --authority 10.0.0.1:80 {client}")) else {
        panic!()
    };
    let raw = Raw::connect(address, &args.credentials().client().unwrap(), Duration::from_secs(5));
    let refused = raw.err().unwrap();
    assert!(refused.to_string().contains("invalid peer certificate"), "{refused}");
}
