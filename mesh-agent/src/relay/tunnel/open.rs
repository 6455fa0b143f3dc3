//! What is open in a worker, so that it can be found again when it may not stay: streams by pod
//! and by the question that let them in, tunnels by who their peer is.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use mesh_api::SpiffeId;
use mesh_ebpf::abi::Reason;
use tokio::sync::Notify;

use super::session::Session;

/// Ends one thing, from anywhere in its worker.
#[derive(Debug, Default)]
pub(crate) struct Closer {
    reason: Cell<Option<Reason>>,
    closed: Notify,
}

impl Closer {
    /// Ends it; the first reason stands.
    pub(crate) fn close(&self, reason: Reason) {
        if self.reason.get().is_none() {
            self.reason.set(Some(reason));
        }
        self.closed.notify_waiters();
    }

    /// Why it was ended, if it was.
    pub(crate) fn reason(&self) -> Option<Reason> {
        self.reason.get()
    }

    /// Waits until it is.
    pub(crate) async fn closed(&self) -> Reason {
        loop {
            // One thread: nothing happens between the look and the wait.
            if let Some(reason) = self.reason.get() {
                return reason;
            }
            self.closed.notified().await;
        }
    }
}

/// Who was let in, and to what: enough to ask again.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    /// The tunnel peer's address.
    pub address: IpAddr,
    /// Its proven name.
    pub id: Arc<SpiffeId>,
    /// The port that was asked for.
    pub port: u16,
}

/// What an open thing is.
#[derive(Debug)]
pub(crate) enum What {
    /// A connection of an application, through the tunnel or on its way there.
    Stream,
    /// One that was let into the pod.
    Admitted(Admitted),
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

/// Everything open of one kind in a worker.
#[derive(Debug, Default)]
pub(crate) struct Open {
    entries: RefCell<HashMap<u64, Entry>>,
    /// Connections of applications, by pod.
    pods: RefCell<HashMap<Arc<str>, usize>>,
    next: Cell<u64>,
}

impl Open {
    /// Notes an open thing of a pod until the place is dropped.
    pub(crate) fn enter(self: &Rc<Self>, pod: &Arc<str>, what: What) -> Place {
        let number = self.next.get();
        self.next.set(number + 1);
        let closer = Rc::new(Closer::default());
        if !matches!(what, What::Session(_)) {
            *self.pods.borrow_mut().entry(Arc::clone(pod)).or_default() += 1;
        }
        let entry = Entry { pod: Arc::clone(pod), what, closer: Rc::clone(&closer) };
        self.entries.borrow_mut().insert(number, entry);
        Place { open: Rc::clone(self), number, closer }
    }

    /// How many connections of applications there are.
    pub(crate) fn streams(&self) -> usize {
        self.pods.borrow().values().sum()
    }

    /// Whether a pod has more connections than an equal share of all, among the pods that have any.
    pub(crate) fn is_over_its_share(&self, pod: &Arc<str>) -> bool {
        let pods = self.pods.borrow();
        let all: usize = pods.values().sum();
        pods.get(pod).is_some_and(|of_pod| of_pod * pods.len() > all)
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
        if let Some(entry) = self.open.entries.borrow_mut().get_mut(&self.number) {
            entry.what = What::Admitted(admitted);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(entry) = self.open.entries.borrow_mut().remove(&self.number) else { return };
        if matches!(entry.what, What::Session(_)) {
            return;
        }
        let mut pods = self.open.pods.borrow_mut();
        if let Some(count) = pods.get_mut(&entry.pod) {
            *count -= 1;
            if *count == 0 {
                pods.remove(&entry.pod);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Open, What};
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
    fn a_share_is_equal_among_the_pods_that_have_any() {
        let open = Rc::new(Open::default());
        let enter = |pod: &str| open.enter(&pod.into(), What::Stream);
        let mut held: Vec<_> = (0..10).map(|_| enter("greedy")).collect();
        assert!(!open.is_over_its_share(&"greedy".into()), "there is nobody to share with");
        held.push(enter("modest"));
        assert!(open.is_over_its_share(&"greedy".into()));
        assert!(!open.is_over_its_share(&"modest".into()));
        drop(held);
        assert!(!open.is_over_its_share(&"greedy".into()) && open.pods.borrow().is_empty());
    }
}
