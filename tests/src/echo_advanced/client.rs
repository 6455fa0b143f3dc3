//! `client URL`: the calls that the suite makes from its pods. What one call was and what it was answered is printed
//! together, each line with the call's number: the suite reads the calls apart by the empty line between them.

mod grpc;
mod http;
mod target;
mod tcp;
mod tls;

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::Semaphore;

use self::target::{Scheme, Target};
use super::{Failure, lines::Lines};

/// What is said where a text can be sent.
const TEXT: &str = "HelloWorld";

/// How many calls are made at once.
const AT_ONCE: usize = 20;

/// The longest that one call may take.
const LONGEST: Duration = Duration::from_secs(30);

/// What this program calls itself in headers.
const AGENT: &str = concat!("mesh-echo-advanced/", env!("CARGO_PKG_VERSION"));

/// Options of `client`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to call: http, https, grpc or tcp, `://`, host and port, and a path
    url: Target,
    /// The method of an HTTP request
    #[arg(long, default_value = "GET")]
    method: hyper::Method,
    /// A header of the request, `NAME:VALUE`; may be repeated, and `Host` is the request's own
    #[arg(short = 'H', long = "header", value_parser = header)]
    headers: Vec<(String, String)>,
    /// How many calls to make
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
}

/// A call that was answered.
#[derive(Debug, Default)]
struct Answered {
    /// What the caller saw, before the answer.
    seen: Lines,
    /// The answer.
    body: String,
    /// What the caller saw after it.
    after: Lines,
}

/// All calls of one run.
struct Calls {
    args: Args,
    active: AtomicU32,
    places: Semaphore,
    /// What gRPC calls share; HTTP and TCP have one connection a call.
    channel: Option<grpc::Channel>,
}

/// When a call began, and how many were being made then.
struct Begun {
    at: Instant,
    active: u32,
}

impl Begun {
    fn tell(&self, lines: &mut Lines) {
        lines.tell("Latency", format_args!("{:?}", self.at.elapsed()));
        lines.tell("ActiveRequests", self.active);
    }
}

/// Makes the calls and prints them in their order; it is a failure if none was answered.
pub(super) async fn run(args: Args) -> ExitCode {
    let count = args.count;
    let channel = match args.url.scheme {
        Scheme::Grpc => match within(grpc::connect(&args.url)).await {
            Ok(channel) => Some(channel),
            Err(failure) => return ended(count, count, Some(failure)),
        },
        _ => None,
    };
    let places = Semaphore::new(AT_ONCE);
    let calls = Arc::new(Calls { args, active: AtomicU32::new(0), places, channel });
    let running: Vec<_> = (0..count).map(|_| tokio::spawn(Arc::clone(&calls).one())).collect();
    let (mut failed, mut first) = (0, None);
    for (number, call) in running.into_iter().enumerate() {
        match call.await.map_err(Failure::from).flatten() {
            Ok(answered) => println!("{}", answered.printed(number)),
            Err(failure) => {
                failed += 1;
                first.get_or_insert(failure);
            }
        }
    }
    ended(count, failed, first)
}

impl Calls {
    async fn one(self: Arc<Self>) -> Result<Answered, Failure> {
        let _place = self.places.acquire().await?;
        let begun = Begun { at: Instant::now(), active: self.active.fetch_add(1, Ordering::Relaxed) + 1 };
        let call = async {
            match (&self.channel, self.args.url.scheme) {
                (Some(channel), _) => grpc::call(channel, &self.args, &begun).await,
                (None, Scheme::Tcp) => tcp::call(&self.args.url).await,
                (None, _) => http::call(&self.args, &begun).await,
            }
        };
        let done = within(call).await;
        self.active.fetch_sub(1, Ordering::Relaxed);
        done
    }
}

impl Answered {
    /// As the suite reads it, with the empty line that ends it.
    fn printed(self, number: usize) -> String {
        let said = |prefix: String, text: String| {
            text.lines().fold(String::new(), |all, line| all + &prefix + line + "\n")
        };
        let seen = |lines: Lines| said(format!("[{number}] "), lines.into_text());
        seen(self.seen) + &said(format!("[{number} body] "), self.body) + &seen(self.after)
    }
}

async fn within<T>(call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match tokio::time::timeout(LONGEST, call).await {
        Ok(done) => done,
        Err(_) => Err(format!("no answer after {LONGEST:?}").into()),
    }
}

/// Says how the calls went, as the last line.
fn ended(count: u32, failed: u32, first: Option<Failure>) -> ExitCode {
    let now = Timestamp::now();
    let first = first.map(|failure| format!("; first error: {failure}")).unwrap_or_default();
    if failed == 0 {
        println!("{now:.6}\tinfo\tAll {count} requests succeeded");
    } else {
        let level = if failed == count { "fatal" } else { "warn" };
        println!("{now:.6}\t{level}\tError {failed}/{count} requests had errors{first}");
    }
    if failed == count { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write NAME:VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{Answered, Lines, header};

    #[test]
    fn every_line_has_its_calls_number_and_the_call_ends_with_an_empty_one() {
        let mut call = Answered { body: "Hostname=a\nb".to_owned(), ..Answered::default() };
        call.seen.tell("StatusCode", 200);
        call.after.tell("ResponseHeader", "a:b");
        let printed = format!("{}\n", call.printed(7));
        assert_eq!(
            printed,
            "[7] StatusCode=200\n[7 body] Hostname=a\n[7 body] b\n[7] ResponseHeader=a:b\n\n"
        );
        assert_eq!(Lines::default().into_text(), "");
    }

    #[test]
    fn a_headers_value_may_have_colons() {
        assert_eq!(header("Host: a:1").unwrap(), ("Host".to_owned(), "a:1".to_owned()));
        assert!(header("Host").is_err());
    }
}
