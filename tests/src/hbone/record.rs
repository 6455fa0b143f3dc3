//! `mesh-hbone record`: serves tunnels with frames of its own and prints every frame that came, so that what our peer
//! writes is seen as it is, before any library makes sense of it.

use std::{
    error::Error,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::{
    credentials::Credentials,
    frame::{ACK, END_HEADERS, Frame, Kind, PREFACE},
    hpack::Decoder,
    raw::{Raw, ending},
};

/// Options of `mesh-hbone record`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to listen
    #[arg(long, default_value = "[::]:15008")]
    listen: SocketAddr,
    #[command(flatten)]
    credentials: Credentials,
}

pub(super) fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let config = args.credentials.server()?;
    let listener = TcpListener::bind(args.listen)?;
    say(&json!({"serving": args.listen}));
    loop {
        let (stream, from) = listener.accept()?;
        let config = Arc::clone(&config);
        thread::spawn(move || {
            say_of(from, json!({"connected": true}));
            let ended = serve(stream, from, &config).err().map(|error| error.to_string());
            say_of(from, json!({"ended": ended}));
        });
    }
}

/// Says it of the connection from there.
fn say_of(from: SocketAddr, mut line: Value) {
    line["from"] = from.to_string().into();
    say(&line);
}

fn say(line: &Value) {
    let mut out = io::stdout().lock();
    // Whoever reads may be gone; there is nobody else to tell.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn serve(tcp: TcpStream, from: SocketAddr, config: &Arc<ServerConfig>) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let mut stream =
        StreamOwned::new(ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?, tcp);
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface)?;
    let alpn = stream.conn.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
    let head = json!({
        "preface": String::from_utf8_lossy(&preface),
        "alpn": alpn,
        "server_name": stream.conn.server_name(),
        "protocol": stream.conn.protocol_version().and_then(|version| version.as_str()),
    });
    say_of(from, head);
    Frame::settings(&[]).write(&mut stream)?;
    let mut decoder = Decoder::default();
    loop {
        let frame = Frame::read(&mut stream)?;
        say_of(from, told(&frame, &mut decoder)?);
        match frame.kind {
            Kind::Settings if frame.flags & ACK == 0 => {
                Frame::new(Kind::Settings, ACK, 0, []).write(&mut stream)?;
            }
            Kind::Ping if frame.flags & ACK == 0 => {
                Frame::new(Kind::Ping, ACK, 0, frame.payload).write(&mut stream)?;
            }
            // `:status: 200` is entry 8 of the static table.
            Kind::Headers => {
                Frame::new(Kind::Headers, END_HEADERS, frame.stream, [0x88]).write(&mut stream)?;
            }
            Kind::Data => frame.write(&mut stream)?,
            _ => {}
        }
        stream.flush()?;
    }
}

/// A frame as it is printed: what it carries as far as that has a meaning of its own.
fn told(frame: &Frame, decoder: &mut Decoder) -> io::Result<Value> {
    let fields = match frame.kind {
        Kind::Headers => Some(decoder.decode(frame.header_block()).map_err(io::Error::other)?),
        _ => None,
    };
    let data = (frame.kind == Kind::Data).then(|| String::from_utf8_lossy(&frame.payload).into_owned());
    let settings = (frame.kind == Kind::Settings).then(|| frame.settings_carried());
    Ok(json!({
        "frame": format!("{:?}", frame.kind),
        "flags": frame.flags,
        "stream": frame.stream,
        "length": frame.payload.len(),
        "error": frame.error_code(),
        "fields": fields,
        "settings": settings,
        "data": data,
    }))
}

/// Options of `mesh-hbone speak`.
#[derive(Debug, clap::Args)]
pub(super) struct Speak {
    /// The tunnel port of a pod
    to: SocketAddr,
    /// What is sent, in hexadecimal
    #[arg(long)]
    octets: String,
    /// How long nothing may come back before it is enough, in milliseconds
    #[arg(long, default_value_t = 1000, value_name = "MS")]
    patience: u64,
    #[command(flatten)]
    credentials: Credentials,
}

pub(super) fn speak(args: &Speak) -> Result<(), Box<dyn Error>> {
    let octets = hexadecimal(&args.octets).ok_or("--octets is not hexadecimal")?;
    let patience = Duration::from_millis(args.patience);
    let mut raw = Raw::connect(args.to, &args.credentials.client()?, patience)?;
    raw.send_octets(&octets)?;
    let mut decoder = Decoder::default();
    loop {
        match raw.receive() {
            Ok(frame) => say(&told(&frame, &mut decoder)?),
            Err(error) => {
                say(&json!({"ended": ending(&error)}));
                return Ok(());
            }
        }
    }
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let pairs = (0..text.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}
