//! Follows one kind: asks, reads what comes, and hands it to the state. Decides nothing.

use std::{future::pending, sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Limited};
use hyper::{Request, Response};
use kube::{
    Client,
    client::Body,
    core::{
        params::{ListParams, WatchParams},
        request,
    },
};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep, timeout};

use super::{
    chance::random,
    connect::told,
    cursor::{Ask, Cursor, End},
    event::{self, Event},
    hub::Hub,
    kind::Kind,
    lines::{LINE_LIMIT, Line, Lines},
    readiness::is_answer,
    state::{State, Want},
};

/// An answer must have begun within this.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// A page must have arrived within this.
const PAGE_TIME: Duration = Duration::from_secs(60);
/// Objects of a page.
const PAGE_OBJECTS: u32 = 500;
/// Bytes of a page.
const PAGE_BYTES: usize = 256 << 20;
/// Bytes of a refusal.
const REFUSAL_BYTES: usize = 64 << 10;
/// A watch on which nothing comes for this long may be dead: the API server sends a bookmark a minute,
/// unless its etcd is an old one, and asking again from the same version costs one request.
const SILENCE: Duration = Duration::from_secs(150);
/// The API server ends a watch after this many seconds, and up to [`SPREAD`] more.
const WATCH_SECONDS: u32 = 300;
/// So that the watches do not all end together.
const SPREAD: u64 = 240;
/// A kind that fails this often in a row is reported; one break is not worth a word.
const REPORTED: u32 = 2;
/// A definition is there a moment before what it defines: one that is not served at all is reported after this many
/// failures in a row, some seconds, and not waited for any longer.
const ABSENT: u32 = 5;
/// An API server that is away for this long is reported.
const REPORTED_AFTER: Duration = Duration::from_secs(1);

/// Why a request brought nothing, or an answer broke off.
#[derive(Debug)]
struct Failure {
    /// The HTTP status; 0 where there was none.
    code: u16,
    message: String,
    retry_after: Option<Duration>,
}

impl Failure {
    fn broken(message: impl ToString) -> Self {
        Self { code: 0, message: message.to_string(), retry_after: None }
    }

    /// How it ended what was asked.
    fn end(&self, asked: &Ask) -> End {
        match (self.code, asked) {
            // A version that is not served any more is none to go on from.
            (410, _) | (404, Ask::Watch(_)) => End::Expired,
            // Which parameter it does not know, an older API server says in many ways.
            (400 | 422, Ask::Stream) => End::NoStreaming,
            // Nor can a newer one whose etcd is older than 3.4.31 or 3.5.13, which does not tell how far a watch is.
            (500, Ask::Stream) if self.message.contains("storage feature") => End::NoStreaming,
            _ => End::Failed(self.retry_after),
        }
    }

    /// Whether it says nothing of what was asked, but that the API server is away or not ready.
    fn is_of_server(&self) -> bool {
        self.code == 0 || !is_answer(self.code)
    }

    /// For people.
    fn explain(&self, kind: Kind) -> String {
        let Self { code, message, .. } = self;
        let role = match kind {
            Kind::CaSecret => "the Role that may read the Secret of spec.ca.secretRef".to_owned(),
            kind => format!("the ClusterRole of the controller (list and watch {})", kind.resource()),
        };
        match code {
            0 => format!("the API server cannot be reached: {message}"),
            401 => {
                format!("the API server does not know who asks (401): {message}; check token or kubeconfig")
            }
            403 => format!("the API server refuses (403): {message}; check {role}"),
            code => format!("the API server answers {code}: {message}"),
        }
    }
}

/// Follows a kind until the process ends.
pub(super) async fn follow(kind: Kind, client: Client, hub: Arc<Hub>) {
    let Some(mut want) = hub.want(kind) else { return };
    loop {
        let wanted = want.borrow_and_update().clone();
        let followed = async {
            match wanted {
                Want::Unknown => {}
                Want::Nothing => hub.apply(kind, |state| state.nothing(kind)),
                Want::All => {
                    Follower { kind, client: &client, hub: &hub, only: None, version: 0 }.run().await
                }
                Want::One(name) => {
                    let only = Some((name.namespace, name.name));
                    Follower { kind, client: &client, hub: &hub, only, version: 0 }.run().await;
                }
            }
            pending::<()>().await;
        };
        tokio::select! {
            changed = want.changed() => if changed.is_err() { return },
            () = followed => {}
        }
    }
}

struct Follower<'a> {
    kind: Kind,
    client: &'a Client,
    hub: &'a Hub,
    /// Namespace and name of the one object that is asked for.
    only: Option<(String, String)>,
    /// In which of its versions the kind is asked for.
    version: usize,
}

impl Follower<'_> {
    async fn run(&mut self) {
        let mut cursor = Cursor::default();
        loop {
            let ask = cursor.ask(self.hub.streams());
            if matches!(ask, Ask::Stream | Ask::Page(None)) {
                self.apply(|state| state.begin(self.kind));
            }
            let answered = match &ask {
                Ask::Page(token) => self.page(token.as_deref(), &mut cursor).await,
                Ask::Stream | Ask::Watch(_) => self.watch(&ask, &mut cursor).await.map(Some),
            };
            let (end, failure) = match answered {
                // The next page, or the watch that follows the list.
                Ok(None) => continue,
                Ok(Some(end)) => (end, None),
                Err(failure) => (failure.end(&ask), Some(failure)),
            };
            if failure.as_ref().is_some_and(|failure| failure.code == 404) && self.has_other_version() {
                continue;
            }
            if end == End::NoStreaming {
                self.hub.does_not_stream();
            }
            let failed = Instant::now();
            let pause = cursor.ended(&end, random());
            let failure = failure.filter(|_| matches!(end, End::Failed(_)));
            if let Some(failure) = &failure {
                self.tell(failure, cursor.failures());
            }
            sleep(pause).await;
            if let Some(failure) = failure.filter(Failure::is_of_server) {
                let mut ready = std::pin::pin!(self.hub.readiness.after(failed, self.client));
                let was_away = match timeout(REPORTED_AFTER, &mut ready).await {
                    Ok(was_away) => was_away,
                    Err(_) => {
                        self.tell(&failure, REPORTED);
                        ready.await
                    }
                };
                if was_away {
                    cursor.away(self.hub.streams());
                }
            }
        }
    }

    /// The version is not served: goes on with the next. Tells whether there is one that was not asked for.
    fn has_other_version(&mut self) -> bool {
        self.version = (self.version + 1) % self.kind.versions();
        self.version != 0
    }

    fn tell(&self, failure: &Failure, failures: u32) {
        let explained = failure.explain(self.kind);
        tracing::debug!(kind = self.kind.name(), failures, "{explained}");
        let is_absent = failure.code == 404 && self.kind.is_optional();
        let refused = failure.code == 403 || (is_absent && failures >= ABSENT);
        if refused || (failures >= REPORTED && !is_absent) {
            self.apply(|state| {
                state.failing(self.kind, explained);
                if refused {
                    state.refused(self.kind);
                }
            });
        }
    }

    /// Reads a page; `None` says that there is more to ask at once.
    async fn page(&self, token: Option<&str>, cursor: &mut Cursor) -> Result<Option<End>, Failure> {
        let parameters = ListParams {
            field_selector: self.selector(),
            limit: Some(PAGE_OBJECTS),
            continue_token: token.map(str::to_owned),
            ..ListParams::default()
        };
        let request = self.request();
        let request = if self.kind.is_metadata_only() {
            request.list_metadata(&parameters)
        } else {
            request.list(&parameters)
        };
        let body = self.send(request).await?.into_body();
        let body = timeout(PAGE_TIME, Limited::new(body, PAGE_BYTES).collect()).await;
        let body = body.map_err(|_| Failure::broken("a page did not arrive in time"))?;
        let body = body.map_err(|error| Failure::broken(told(&*error)))?.to_bytes();
        let mut page: Map<String, Value> = serde_json::from_slice(&body)
            .map_err(|error| Failure::broken(format!("a page is no JSON object: {error}")))?;
        let items = match page.remove("items") {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        };
        let metadata = page.get("metadata");
        let text = |field| metadata.and_then(|metadata| metadata.get(field)?.as_str()).unwrap_or_default();
        let (version, next) = (text("resourceVersion").to_owned(), text("continue").to_owned());
        if version.is_empty() {
            return Err(Failure::broken("a page has no metadata.resourceVersion"));
        }
        let next = Some(next).filter(|next| !next.is_empty());
        let seen: Vec<_> = items.into_iter().map(|item| self.see(item)).collect();
        self.apply(|state| {
            for seen in seen {
                match seen {
                    Ok(seen) => state.there(self.kind, seen),
                    Err(what) => state.unreadable(self.kind, what),
                }
            }
            if next.is_none() {
                state.complete(self.kind);
            }
            state.well(self.kind);
        });
        cursor.page(next, version);
        Ok(None)
    }

    fn see(&self, item: Value) -> Result<event::Seen, String> {
        match item {
            Value::Object(object) => event::see(self.kind, object),
            _ => Err("an item of the list is no object".to_owned()),
        }
    }

    /// Reads a watch to its end.
    async fn watch(&self, ask: &Ask, cursor: &mut Cursor) -> Result<End, Failure> {
        let streams = *ask == Ask::Stream;
        let spread = u32::try_from(random() % SPREAD).unwrap_or(0);
        let parameters = WatchParams {
            field_selector: self.selector(),
            timeout: Some(WATCH_SECONDS + spread),
            bookmarks: true,
            send_initial_events: streams,
            ..WatchParams::default()
        };
        // Of a streamed list no version: the newest that the API server has, never an older one.
        let version = if let Ask::Watch(version) = ask { version } else { "" };
        let request = self.request();
        let request = if self.kind.is_metadata_only() {
            request.watch_metadata(&parameters, version)
        } else {
            request.watch(&parameters, version)
        };
        let mut body = self.send(request).await?.into_body();
        let began = Instant::now();
        let mut lines = Lines::new(LINE_LIMIT);
        if !streams {
            self.apply(|state| state.well(self.kind));
        }
        loop {
            let frame = timeout(SILENCE, body.frame()).await;
            // Perhaps nothing happened; if nobody is there any more, the next request tells.
            let Ok(Some(frame)) = frame else { return Ok(End::Done(began.elapsed())) };
            let frame = frame.map_err(|error| Failure::broken(told(&error)))?;
            let Ok(bytes) = frame.into_data() else { continue };
            let events: Vec<Event> = lines.push(&bytes).into_iter().map(|line| self.event(line)).collect();
            self.take(events, streams, cursor)?;
        }
    }

    fn event(&self, line: Line) -> Event {
        match line {
            Line::Whole(line) => event::read(self.kind, &line),
            Line::TooLong => Event::Unreadable(format!("an event has more than {LINE_LIMIT} bytes")),
        }
    }

    fn take(&self, events: Vec<Event>, streams: bool, cursor: &mut Cursor) -> Result<(), Failure> {
        let mut refused = None;
        self.apply(|state| {
            for event in events {
                match event {
                    Event::There(seen, version) => {
                        state.there(self.kind, *seen);
                        cursor.reached(version);
                    }
                    Event::Gone(name, version) => {
                        state.gone(self.kind, &name);
                        cursor.reached(version);
                    }
                    Event::Reached(version, true) if streams => {
                        state.complete(self.kind);
                        state.well(self.kind);
                        cursor.listed(version);
                    }
                    Event::Reached(version, _) => cursor.reached(version),
                    Event::Unreadable(what) => state.unreadable(self.kind, what),
                    Event::Refused(code, message) => {
                        refused = Some(Failure { code, message, retry_after: None });
                    }
                }
            }
        });
        refused.map_or(Ok(()), Err)
    }

    /// Sends a request; an answer that is a refusal is a failure.
    async fn send(
        &self,
        request: Result<Request<Vec<u8>>, request::Error>,
    ) -> Result<Response<Body>, Failure> {
        let request = request.map_err(Failure::broken)?.map(Body::from);
        let answer = timeout(ANSWER_LIMIT, self.client.send(request)).await;
        let answer = answer.map_err(|_| Failure::broken("no answer in time"))?;
        let answer = answer.map_err(|error| Failure::broken(told(&error)))?;
        if answer.status().is_success() {
            self.apply(|state| state.follows(self.kind, self.version));
            return Ok(answer);
        }
        let code = answer.status().as_u16();
        let header = answer.headers().get(hyper::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = header.and_then(|value| value.parse().ok()).map(Duration::from_secs);
        let body = timeout(ANSWER_LIMIT, Limited::new(answer.into_body(), REFUSAL_BYTES).collect()).await;
        let body = body.ok().and_then(Result::ok).map(|body| body.to_bytes()).unwrap_or_default();
        let status: Value = serde_json::from_slice(&body).unwrap_or_default();
        let message = status.get("message").and_then(Value::as_str).unwrap_or("no reason is given");
        Err(Failure { code, message: message.to_owned(), retry_after })
    }

    fn request(&self) -> request::Request {
        let namespace = self.only.as_ref().map(|(namespace, _)| namespace.as_str());
        request::Request::new(self.kind.path_in(self.version, namespace))
    }

    fn selector(&self) -> Option<String> {
        self.only.as_ref().map(|(_, name)| format!("metadata.name={name}"))
    }

    fn apply(&self, change: impl FnOnce(&mut State)) {
        self.hub.apply(self.kind, change);
    }
}
