//! A wire that holds what it is told, in memory.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;

use mesh_ebpf::abi::Reason;
use mesh_ebpf::policy::SetId;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, mpsc};

use crate::handover::{
    Answer, Can, CanEndpoint, FromWire, LocalPod, PeerEntry, Question, ServiceEntry, ToWire, VERSION,
};
use crate::relay::link::frames;

#[derive(Clone)]
pub(super) struct FakeWire(Rc<Shared>);

struct Shared {
    held: RefCell<Held>,
    messages: RefCell<Vec<String>>,
    refuse: RefCell<String>,
    reports: RefCell<Option<mpsc::UnboundedSender<FromWire>>>,
    restart: Notify,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    pub(super) pods: BTreeMap<String, LocalPod>,
    pub(super) peers: BTreeMap<IpAddr, PeerEntry>,
    pub(super) services: BTreeMap<u64, ServiceEntry>,
    /// By set: the rule of its first ruling.
    pub(super) sets: BTreeMap<SetId, u16>,
    pub(super) synced: bool,
}

impl FakeWire {
    pub(super) fn start(socket: &Path) -> Self {
        let wire = Self(Rc::new(Shared {
            held: RefCell::default(),
            messages: RefCell::default(),
            refuse: RefCell::default(),
            reports: RefCell::default(),
            restart: Notify::new(),
        }));
        let listener = UnixListener::bind(socket).unwrap();
        let shared = wire.clone();
        tokio::task::spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                *shared.0.held.borrow_mut() = Held::default();
                tokio::select! {
                    () = shared.serve(stream) => {}
                    () = shared.0.restart.notified() => {}
                }
            }
        });
        wire
    }

    pub(super) fn held(&self) -> Held {
        self.0.held.borrow().clone()
    }

    pub(super) fn messages(&self) -> Vec<String> {
        self.0.messages.borrow().clone()
    }

    pub(super) fn forget_messages(&self) {
        self.0.messages.borrow_mut().clear();
    }

    /// Refuses the pod of this UID from now on.
    pub(super) fn refuse(&self, uid: &str) {
        uid.clone_into(&mut self.0.refuse.borrow_mut());
    }

    pub(super) fn restart(&self) {
        *self.0.held.borrow_mut() = Held::default();
        self.0.restart.notify_one();
    }

    pub(super) fn report(&self, report: FromWire) {
        self.0.reports.borrow().as_ref().unwrap().send(report).unwrap();
    }

    async fn serve(&self, stream: UnixStream) {
        let (mut read, mut write) = stream.into_split();
        let (reports, mut queue) = mpsc::unbounded_channel();
        reports.send(FromWire::Hello { version: VERSION, adopted: false, succeeds: false }).unwrap();
        *self.0.reports.borrow_mut() = Some(reports.clone());
        let writer = async {
            while let Some(report) = queue.recv().await {
                if frames::write(&mut write, &report).await.is_err() {
                    return;
                }
            }
        };
        let reader = async {
            while let Ok(message) = frames::read::<ToWire>(&mut read).await {
                self.take(message, &reports);
            }
        };
        tokio::join!(writer, reader);
    }

    fn take(&self, message: ToWire, reports: &mpsc::UnboundedSender<FromWire>) {
        let mut held = self.0.held.borrow_mut();
        let text = match message {
            ToWire::Hello { .. } => "Hello".to_owned(),
            ToWire::Serves { uid, .. } => format!("Serves {uid}"),
            ToWire::Node(_) => "Node".to_owned(),
            ToWire::Pod(pod) => {
                let text = format!("Pod {}", pod.uid);
                if pod.uid == *self.0.refuse.borrow() {
                    let what = format!("pod {}", pod.uid);
                    reports.send(FromWire::Refused { what, why: "refused for the test".into() }).unwrap();
                } else {
                    held.pods.insert(pod.uid.clone(), pod);
                }
                text
            }
            ToWire::PodGone { uid } => {
                held.pods.remove(&uid);
                format!("PodGone {uid}")
            }
            ToWire::Peer(peer) => {
                held.peers.insert(peer.address, peer);
                format!("Peer {}", peer.address)
            }
            ToWire::PeerGone { address } => {
                held.peers.remove(&address);
                format!("PeerGone {address}")
            }
            ToWire::Service(service) => {
                let text = format!("Service {}", service.name);
                held.services.insert(service.id, service);
                text
            }
            ToWire::ServiceGone { id } => {
                held.services.remove(&id);
                "ServiceGone".to_owned()
            }
            ToWire::Set(set) => {
                held.sets.insert(set.id, set.rulings[0].2.enforced.admin.rule);
                "Set".to_owned()
            }
            ToWire::SetGone { id } => {
                held.sets.remove(&id);
                "SetGone".to_owned()
            }
            ToWire::Synced => {
                held.synced = true;
                "Synced".to_owned()
            }
            ToWire::Commit { sequence } => {
                reports.send(FromWire::Applied { sequence }).unwrap();
                "Commit".to_owned()
            }
            ToWire::Ask { id, question } => {
                let answer = match question {
                    Question::Can { .. } => Answer::Can(Can {
                        service: "bank/vault:80".into(),
                        endpoints: vec![CanEndpoint {
                            destination: ([10, 0, 0, 2].into(), 8080),
                            allowed: true,
                            reason: Reason::None,
                            egress: None,
                            ingress: Some((held.pods["uid-vault"].ingress, 0)),
                            audit: None,
                            transport: "direct".into(),
                        }],
                        reason: Reason::None,
                    }),
                    _ => Answer::Failed("not in this test".into()),
                };
                reports.send(FromWire::Answer { id, answer }).unwrap();
                "Ask".to_owned()
            }
        };
        self.0.messages.borrow_mut().push(text);
    }
}
