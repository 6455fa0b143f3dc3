//! What is open in a worker, so that it can be found again when it may not stay: streams by pod
//! and by the question that let them in, tunnels by who their peer is.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use mesh_api::SpiffeId;
use mesh_ebpf::abi::Reason;

use super::closer::Closer;
use super::limits::Held;
use super::requests::way::Endpoint;
use super::session::Session;

/// Who was let in, and to what: enough to ask again.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    /// The client's address: of a tunnel, its peer's.
    pub address: IpAddr,
    /// By what it is known.
    pub standing: Standing,
    /// The port that was asked for.
    pub port: u16,
    /// What is carried.
    pub carried: Carried,
}

/// By what a client is known (SEMANTICS 2.1).
#[derive(Debug, Clone)]
pub(crate) enum Standing {
    /// The name that its certificate proved.
    Named(Arc<SpiffeId>),
    /// The kernel saw it connect on this node: the group of its pod.
    Seen(u64),
    /// Its address alone.
    Unproven,
}

/// What is carried of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carried {
    /// Octets, unread.
    Octets,
    /// Requests, each asked about by itself.
    Requests,
}

/// What an open thing is.
#[derive(Debug)]
pub(crate) enum What {
    /// A connection of an application, through the tunnel or on its way there.
    Stream,
    /// One that was let into the pod.
    Admitted(Admitted),
    /// Octets, unread, that relay carries out of the pod to an endpoint.
    Leaving(Endpoint),
    /// A tunnel.
    Session(Rc<Session>),
}

/// One open thing.
#[derive(Debug)]
pub(crate) struct Entry {
    /// UID of the local pod.
    pub pod: Arc<str>,
    /// What it is.
    pub what: What,
    /// Ends it.
    closer: Rc<Closer>,
}

/// What one pod has open.
#[derive(Debug, Clone, Copy, Default)]
struct OfPod {
    /// Connections of applications.
    streams: usize,
    tunnels: usize,
}

impl OfPod {
    fn of(&mut self, what: &What) -> &mut usize {
        match what {
            What::Stream | What::Admitted(_) | What::Leaving(_) => &mut self.streams,
            What::Session(_) => &mut self.tunnels,
        }
    }

    const fn all(self) -> usize {
        self.streams + self.tunnels
    }
}

/// Everything open in a worker.
#[derive(Debug, Default)]
pub(crate) struct Open {
    entries: RefCell<HashMap<u64, Entry>>,
    /// How many of them each pod has.
    pods: RefCell<HashMap<Arc<str>, OfPod>>,
    next: Cell<u64>,
}

impl Open {
    /// Notes an open thing of a pod until the place is dropped.
    pub(crate) fn enter(self: &Rc<Self>, pod: &Arc<str>, what: What) -> Place {
        let number = self.next.get();
        self.next.set(number + 1);
        let closer = Rc::new(Closer::default());
        *self.pods.borrow_mut().entry(Arc::clone(pod)).or_default().of(&what) += 1;
        let entry = Entry { pod: Arc::clone(pod), what, closer: Rc::clone(&closer) };
        self.entries.borrow_mut().insert(number, entry);
        Place { open: Rc::clone(self), number, closer }
    }

    /// How many connections of applications there are.
    pub(crate) fn streams(&self) -> usize {
        self.pods.borrow().values().map(|of_pod| of_pod.streams).sum()
    }

    /// What a pod has open, beside all others. Tunnels count: each is an open file, too.
    pub(crate) fn held(&self, pod: &Arc<str>) -> Held {
        let pods = self.pods.borrow();
        Held {
            by_pod: pods.get(pod).map_or(0, |of_pod| of_pod.all()),
            by_all: pods.values().map(|of_pod| of_pod.all()).sum(),
            pods: pods.len(),
        }
    }

    /// Whether nothing is open at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.borrow().is_empty()
    }

    /// Ends every connection of an application.
    pub(crate) fn close_streams(&self, reason: Reason) {
        self.close_where(|entry| (!matches!(entry.what, What::Session(_))).then_some(reason));
    }

    /// Ends those for which `reason` gives one.
    pub(crate) fn close_where(&self, mut reason: impl FnMut(&Entry) -> Option<Reason>) {
        // Closing only wakes tasks, so nothing enters or leaves under the borrow.
        for entry in self.entries.borrow().values() {
            if let Some(reason) = reason(entry) {
                entry.closer.close(reason);
            }
        }
    }
}

/// A place among what is open.
#[derive(Debug)]
pub(crate) struct Place {
    open: Rc<Open>,
    number: u64,
    closer: Rc<Closer>,
}

impl Place {
    /// What ends it.
    pub(crate) fn closer(&self) -> &Rc<Closer> {
        &self.closer
    }

    /// Notes who was let in, so that it is asked again when policy changes.
    pub(crate) fn admit(&self, admitted: Admitted) {
        self.becomes(What::Admitted(admitted));
    }

    /// Notes where its octets go, so that it is asked again when policy changes.
    pub(crate) fn leave(&self, to: Endpoint) {
        self.becomes(What::Leaving(to));
    }

    /// All of them count as streams.
    fn becomes(&self, what: What) {
        if let Some(entry) = self.open.entries.borrow_mut().get_mut(&self.number) {
            entry.what = what;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(entry) = self.open.entries.borrow_mut().remove(&self.number) else { return };
        let mut pods = self.open.pods.borrow_mut();
        if let Some(of_pod) = pods.get_mut(&entry.pod) {
            *of_pod.of(&entry.what) -= 1;
            if of_pod.all() == 0 {
                pods.remove(&entry.pod);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Open, What};
    use crate::relay::tunnel::limits::Held;
    use mesh_ebpf::abi::Reason;
    use std::rc::Rc;

    #[tokio::test]
    async fn what_is_open_is_found_and_closed_once() {
        let open = Rc::new(Open::default());
        let enter = |pod: &str| open.enter(&pod.into(), What::Stream);
        let (a, b) = (enter("a"), enter("b"));
        open.close_where(|entry| (&*entry.pod == "a").then_some(Reason::EndpointGone));
        open.close_where(|_| None);
        assert_eq!(a.closer().closed().await, Reason::EndpointGone);
        a.closer().close(Reason::Draining);
        assert_eq!((a.closer().reason(), b.closer().reason()), (Some(Reason::EndpointGone), None));
        drop(a);
        assert_eq!(open.streams(), 1);
    }

    #[test]
    fn what_a_pod_holds_is_known_beside_the_others() {
        let open = Rc::new(Open::default());
        let enter = |pod: &str| open.enter(&pod.into(), What::Stream);
        let mut held: Vec<_> = (0..10).map(|_| enter("greedy")).collect();
        held.push(enter("modest"));
        assert_eq!(open.held(&"greedy".into()), Held { by_pod: 10, by_all: 11, pods: 2 });
        assert_eq!(open.held(&"nobody".into()), Held { by_pod: 0, by_all: 11, pods: 2 });
        drop(held);
        assert_eq!(open.held(&"greedy".into()), Held::default());
        assert!(open.pods.borrow().is_empty());
    }
}
