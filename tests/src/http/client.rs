//! `mesh-http client`: carries out orders, several at once, and tells what came of each.

mod ask;
mod connection;
mod converse;

use std::{
    collections::HashMap,
    io::{self, BufRead as _, Write as _},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, task::AbortHandle};

use super::order::{Content, Event, Failed, Line, Order, Reply};
use connection::Connections;

/// A step that failed, and how.
type Step = (&'static str, String);

/// What an order has come to so far.
#[derive(Debug, Default)]
struct Progress {
    status: Option<u16>,
    received: u64,
}

/// Until standard input ends.
pub(super) async fn run() -> io::Result<()> {
    let connections = Arc::new(Connections::default());
    let (sender, mut lines) = mpsc::unbounded_channel();
    thread::spawn(move || {
        // It ends with the input, or with everything else.
        io::stdin().lock().lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    let mut running: HashMap<u64, AbortHandle> = HashMap::new();
    while let Some(line) = lines.recv().await {
        match serde_json::from_str(&line).map_err(io::Error::other)? {
            Line::Ask(order) => {
                let id = order.id;
                let work = tokio::spawn(carry_out(*order, Arc::clone(&connections)));
                running.retain(|_, work| !work.is_finished());
                running.insert(id, work.abort_handle());
            }
            Line::Leave(id) => drop(running.remove(&id).map(|work| work.abort())),
        }
    }
    Ok(())
}

async fn carry_out(order: Order, connections: Arc<Connections>) {
    let start = Instant::now();
    let mut progress = Progress::default();
    let limit = Duration::from_millis(order.within_milliseconds);
    let work = async {
        match order.content {
            Content::Conversation { every_milliseconds } | Content::WebSocket { every_milliseconds } => {
                let every = Duration::from_millis(every_milliseconds);
                converse::converse(&order, every, &connections, &mut progress).await
            }
            _ => ask::ask(&order, start, &connections, &mut progress).await,
        }
    };
    let outcome = tokio::time::timeout(limit, work).await;
    let event = match outcome.unwrap_or_else(|_| Err(("wait", format!("not within {limit:?}")))) {
        Ok(answer) => Event::Answered(Box::new(answer)),
        Err((step, problem)) => Event::Failed(Failed {
            step: step.to_owned(),
            problem,
            status: progress.status,
            received: progress.received,
            milliseconds: start.elapsed().as_millis() as u64,
        }),
    };
    tell(order.id, event);
}

/// Writes a line; whoever does not read any longer has ended.
fn tell(id: u64, event: Event) {
    let line = serde_json::to_string(&Reply { id, event }).unwrap_or_default();
    let mut output = io::stdout().lock();
    if writeln!(output, "{line}").and_then(|()| output.flush()).is_err() {
        std::process::exit(0);
    }
}

/// An error with its causes.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
