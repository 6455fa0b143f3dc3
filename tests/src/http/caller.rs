//! The other end of the client's lines: a client process in a pod, as whoever gives it orders sees it.

use std::{
    collections::HashMap,
    io::{self, BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use super::order::{Answer, Content, Event, Failed, Head, Line, Order, Reply, Seen, Version, field};

/// How much longer than its own limit an order is waited for.
const GRACE: Duration = Duration::from_secs(10);

/// How an order ended.
pub type Outcome = Result<Box<Answer>, Failed>;

type Input = Arc<Mutex<ChildStdin>>;
type Waiting = Arc<Mutex<HashMap<u64, Sender<Event>>>>;

/// A running client. It ends with this value.
#[derive(Debug)]
pub struct Caller {
    child: Child,
    input: Input,
    waiting: Waiting,
    next: AtomicU64,
}

/// A request in the making: `GET` in HTTP/1.1 on a connection of its own, unless said otherwise.
#[derive(Debug, Clone)]
pub struct Ask(Order);

/// An order that is carried out. Dropped, the client goes away from it.
#[derive(Debug)]
pub struct Pending {
    id: u64,
    input: Input,
    events: Receiver<Event>,
    limit: Duration,
    /// The head, of one that stays open.
    opened: Option<Head>,
    rounds: u64,
}

impl Caller {
    /// Runs the command, which is `mesh-http client` somewhere.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(mut command: Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let waiting = Waiting::default();
        let routes = Arc::clone(&waiting);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // What is no reply is the complaint of a client that could not be started, which its silence shows.
                if let Ok(Reply { id, event }) = serde_json::from_str(&line) {
                    let last = matches!(event, Event::Answered(_) | Event::Failed(_));
                    let mut waiting = routes.lock().unwrap_or_else(PoisonError::into_inner);
                    let sender = if last { waiting.remove(&id) } else { waiting.get(&id).cloned() };
                    // Nobody waits for it any longer.
                    let _ = sender.map(|sender| sender.send(event));
                }
            }
            routes.lock().unwrap_or_else(PoisonError::into_inner).clear();
        });
        Ok(Self { child, input: Arc::new(Mutex::new(input)), waiting, next: AtomicU64::new(1) })
    }

    /// Asks, and waits for the end of it.
    ///
    /// # Errors
    /// With what failed.
    pub fn ask(&self, ask: &Ask) -> Outcome {
        self.begin(ask).end()
    }

    /// Asks.
    #[must_use]
    pub fn begin(&self, ask: &Ask) -> Pending {
        let mut order = ask.0.clone();
        order.id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, events) = mpsc::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(order.id, sender);
        let limit = Duration::from_millis(order.within_milliseconds) + GRACE;
        let pending =
            Pending { id: order.id, input: Arc::clone(&self.input), events, limit, opened: None, rounds: 0 };
        if write(&self.input, &Line::Ask(Box::new(order))).is_err() {
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&pending.id);
        }
        pending
    }
}

fn write(input: &Input, line: &Line) -> io::Result<()> {
    let line = serde_json::to_string(line)?;
    let mut input = input.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(input, "{line}").and_then(|()| input.flush())
}

impl Drop for Pending {
    fn drop(&mut self) {
        // The client may have ended.
        let _ = write(&self.input, &Line::Leave(self.id));
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Pending {
    /// Waits for the end.
    ///
    /// # Errors
    /// With what failed.
    pub fn end(mut self) -> Outcome {
        self.end_within(self.limit).unwrap_or_else(|| Err(silent("the client says nothing")))
    }

    /// Waits for the end so long; `None` if it goes on.
    pub fn end_within(&mut self, limit: Duration) -> Option<Outcome> {
        let start = Instant::now();
        loop {
            match self.events.recv_timeout(limit.saturating_sub(start.elapsed())) {
                Ok(Event::Answered(answer)) => return Some(Ok(answer)),
                Ok(Event::Failed(failed)) => return Some(Err(failed)),
                Ok(Event::Opened(head)) => self.opened = Some(head),
                Ok(Event::Round(rounds)) => self.rounds = rounds,
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => return Some(Err(silent("the client has ended"))),
            }
        }
    }

    /// Waits until so many more messages have come back; gives the head of what is open.
    ///
    /// # Errors
    /// With its end, if that comes first, or what is missing after the limit.
    pub fn goes_on(&mut self, more: u64, limit: Duration) -> Result<Head, Box<Outcome>> {
        // Those that came back before are not more.
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::Answered(answer) => return Err(Box::new(Ok(answer))),
                Event::Failed(failed) => return Err(Box::new(Err(failed))),
                Event::Opened(head) => self.opened = Some(head),
                Event::Round(rounds) => self.rounds = rounds,
            }
        }
        let (wanted, start) = (self.rounds + more, Instant::now());
        while self.rounds < wanted || self.opened.is_none() {
            if start.elapsed() > limit {
                let stuck = format!("{} messages came back, not {wanted}, in {limit:?}", self.rounds);
                return Err(Box::new(Err(silent(&stuck))));
            }
            if let Some(end) = self.end_within(Duration::from_millis(5)) {
                return Err(Box::new(end));
            }
        }
        self.opened.clone().ok_or_else(|| Box::new(Err(silent("not opened"))))
    }
}

fn silent(problem: &str) -> Failed {
    let (step, problem) = ("client".to_owned(), problem.to_owned());
    Failed { step, problem, status: None, received: 0, milliseconds: 0 }
}

impl Ask {
    /// `GET` of this path and query; the authority is the address.
    #[must_use]
    pub fn get(to: SocketAddr, target: &str) -> Self {
        Self(Order {
            id: 0,
            to,
            version: Version::Http1,
            connection: None,
            server_name: None,
            method: "GET".to_owned(),
            target: target.to_owned(),
            authority: to.to_string(),
            headers: Vec::new(),
            content: Content::Nothing,
            trailers: Vec::new(),
            stall_milliseconds: 0,
            within_milliseconds: 20_000,
        })
    }

    /// A call of gRPC to `/service/method` with this one message.
    #[must_use]
    pub fn call(to: SocketAddr, path: &str, message: &str) -> Self {
        let ask = Self::get(to, path).method("POST").version(Version::Http2);
        ask.content(Content::Messages(vec![message.to_owned()]))
    }

    /// A WebSocket on which a message goes to and fro so often.
    #[must_use]
    pub fn web_socket(to: SocketAddr, target: &str, every: Duration) -> Self {
        let every_milliseconds = every.as_millis() as u64;
        Self::get(to, target)
            .content(Content::WebSocket { every_milliseconds })
            .within(Duration::from_secs(600))
    }

    /// A stream of gRPC on which a message goes to and fro so often.
    #[must_use]
    pub fn conversation(to: SocketAddr, path: &str, every: Duration) -> Self {
        let every_milliseconds = every.as_millis() as u64;
        let ask = Self::get(to, path).method("POST").version(Version::Http2);
        ask.content(Content::Conversation { every_milliseconds }).within(Duration::from_secs(600))
    }

    /// Its method and target.
    #[must_use]
    pub fn told(&self) -> String {
        format!("{} {}", self.0.method, self.0.target)
    }

    /// In this version.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.0.version = version;
        self
    }

    /// With this method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.0.method);
        self
    }

    /// To this `Host`, or `:authority`.
    #[must_use]
    pub fn authority(mut self, authority: &str) -> Self {
        authority.clone_into(&mut self.0.authority);
        self
    }

    /// With this header besides.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.0.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// Over the connection of this name.
    #[must_use]
    pub fn over(mut self, connection: &str) -> Self {
        self.0.connection = Some(connection.to_owned());
        self
    }

    /// In TLS, asking for this name.
    #[must_use]
    pub fn tls(mut self, server_name: &str) -> Self {
        self.0.server_name = Some(server_name.to_owned());
        self
    }

    /// With this body.
    #[must_use]
    pub fn content(mut self, content: Content) -> Self {
        self.0.content = content;
        self
    }

    /// With this field after the body.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.0.trailers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Reads nothing of the answer's body for so long.
    #[must_use]
    pub fn stall(mut self, stall: Duration) -> Self {
        self.0.stall_milliseconds = stall.as_millis() as u64;
        self
    }

    /// May take so long.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.0.within_milliseconds = limit.as_millis() as u64;
        self
    }
}

impl Answer {
    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// A header of the answer; empty where there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        field(&self.head.headers, name)
    }

    /// What the server told of the request; `None` where somebody else answered.
    #[must_use]
    pub fn seen(&self) -> Option<Seen> {
        let told = self.messages.first().and_then(|message| message.split_once('\n')).map(|(seen, _)| seen);
        serde_json::from_str(told.unwrap_or(&self.text)).ok()
    }

    /// `grpc-status`, where it is.
    #[must_use]
    pub fn grpc_status(&self) -> &str {
        let trailer = field(&self.trailers, "grpc-status");
        if trailer.is_empty() { self.header("grpc-status") } else { trailer }
    }
}
