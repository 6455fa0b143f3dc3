//! A small stock of unconnected sockets in every pod's namespace, so that a connection does not
//! wait for wire.
//!
//! A pod's stock is made when it is first used, asked for in batches that double each time it has
//! run out (up to what one message carries), and given back when it was not used for a while: an
//! open socket is a descriptor, and it pins the pod's namespace.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::channel::{AskError, Channel};
use crate::handover::sockets::{DESCRIPTORS, Need};

/// Sockets in the first batch.
const FIRST_BATCH: u8 = 2;
/// Unused for so long, a stock is given back.
const KEEP: Duration = Duration::from_secs(10);

/// The stocks of one worker.
#[derive(Debug)]
pub(crate) struct Stocks {
    channel: Channel,
    stocks: RefCell<HashMap<(Arc<str>, bool), Stock>>,
}

#[derive(Debug)]
struct Stock {
    sockets: Vec<OwnedFd>,
    batch: u8,
    /// A request is under way; who waits for it.
    asked: Option<Rc<Batch>>,
    used: Instant,
}

#[derive(Debug, Default)]
struct Batch {
    came: Notify,
    failed: RefCell<Option<AskError>>,
}

impl Stocks {
    /// Stocks filled over `channel`.
    pub(crate) fn new(channel: Channel) -> Rc<Self> {
        Rc::new(Self { channel, stocks: RefCell::default() })
    }

    /// A socket in the namespace of a pod.
    ///
    /// # Errors
    /// When wire gives none.
    pub(crate) async fn take(self: &Rc<Self>, pod: &Arc<str>, v6: bool) -> Result<OwnedFd, AskError> {
        loop {
            let batch = {
                let mut stocks = self.stocks.borrow_mut();
                let stock = stocks.entry((Arc::clone(pod), v6)).or_insert_with(|| Stock {
                    sockets: Vec::new(),
                    batch: FIRST_BATCH,
                    asked: None,
                    used: Instant::now(),
                });
                stock.used = Instant::now();
                let socket = stock.sockets.pop();
                if stock.asked.is_none() && stock.sockets.len() < usize::from(stock.batch / 2) {
                    let batch = Rc::new(Batch::default());
                    stock.asked = Some(Rc::clone(&batch));
                    tokio::task::spawn_local(Rc::clone(self).fill(Arc::clone(pod), v6, stock.batch, batch));
                }
                match (socket, &stock.asked) {
                    (Some(socket), _) => return Ok(socket),
                    (None, Some(batch)) => {
                        stock.batch = stock.batch.saturating_mul(2).min(DESCRIPTORS as u8);
                        Rc::clone(batch)
                    }
                    // An empty stock is always being filled.
                    (None, None) => continue,
                }
            };
            batch.came.notified().await;
            if let Some(error) = batch.failed.borrow().clone() {
                return Err(error);
            }
        }
    }

    async fn fill(self: Rc<Self>, pod: Arc<str>, v6: bool, count: u8, batch: Rc<Batch>) {
        let asked = self.channel.ask(Need::Connecting { uid: pod.to_string(), v6, count }).await;
        if let Some(stock) = self.stocks.borrow_mut().get_mut(&(pod, v6)) {
            stock.asked = None;
            match asked {
                Ok((_, sockets)) => stock.sockets.extend(sockets),
                Err(error) => *batch.failed.borrow_mut() = Some(error),
            }
        } else {
            *batch.failed.borrow_mut() = Some(AskError::Refused("the pod has ended".to_owned()));
        }
        batch.came.notify_waiters();
    }

    /// Gives back what a pod that has ended left.
    pub(crate) fn forget(&self, pod: &Arc<str>) {
        for v6 in [false, true] {
            self.stocks.borrow_mut().remove(&(Arc::clone(pod), v6));
        }
    }

    /// Gives back what was not used for a while.
    pub(crate) fn trim(&self, now: Instant) {
        self.stocks
            .borrow_mut()
            .retain(|_, stock| stock.asked.is_some() || now.saturating_duration_since(stock.used) < KEEP);
    }
}
