//! Clients and servers that say anything and leave at any time: the engine neither panics nor keeps
//! anything of them.

use super::*;

/// A small generator of its own: a failure names its seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.next(of.len() as u64)).unwrap()]
    }

    /// Sends what `pieces` make in pieces of its own, some changed, some left out, some never ended.
    async fn say(&mut self, stream: &mut DuplexStream, pieces: &[&str]) {
        let mut said: Vec<u8> = (0..=self.next(4)).flat_map(|_| self.pick(pieces).bytes()).collect();
        if self.next(3) == 0 && !said.is_empty() {
            let at = usize::try_from(self.next(said.len() as u64)).unwrap();
            match self.next(3) {
                0 => said[at] = u8::try_from(self.next(256)).unwrap(),
                1 => said.truncate(at),
                _ => drop(said.remove(at)),
            }
        }
        let size = usize::try_from(1 + self.next(200)).unwrap();
        for piece in said.chunks(size) {
            if stream.write_all(piece).await.is_err() {
                return;
            }
            if self.next(2) == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Reads for a moment and leaves, in order or not.
    async fn leave(&mut self, mut stream: DuplexStream) {
        let within = Duration::from_millis(self.next(5));
        let _ = timeout(within, stream.read_to_end(&mut Vec::new())).await;
        if self.next(2) == 0 {
            let _ = stream.shutdown().await;
            let _ = timeout(within, stream.read_to_end(&mut Vec::new())).await;
        }
    }
}

const REQUESTS: [&str; 9] = [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
    "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x05\0\0\0\x01\x02",
];

const ANSWERS: [&str; 9] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\nhi",
    "HTTP/1.1 103 Early Hints\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nConnection: close\r\n\r\n",
    "nonsense\r\n",
];

#[tokio::test]
async fn nothing_is_left_of_those_who_say_anything() {
    play(async {
        let limits = Limits {
            head_within: Duration::from_millis(20),
            idle: Duration::from_millis(20),
            stuck: Duration::from_millis(20),
            rest_within: Duration::from_millis(5),
            ..Limits::default()
        };
        let scene = Scene::with(limits);
        let dice = Rc::new(RefCell::new(Dice(2026)));
        scene.forward(Protocol::AsReceived, &[at(1), at(2)], |forward| {
            forward.retry = Some(Arc::new(
                mesh_l7::retry::Retry::new(&[503], Some(2), Some(Duration::from_millis(1))).unwrap(),
            ));
            forward.timeouts = mesh_l7::timeouts::Timeouts::new(Some(Duration::from_millis(100)), None);
        });
        let seeds = Rc::clone(&dice);
        scene.serve(at(1), move |mut stream| {
            let mut dice = Dice(seeds.borrow_mut().next(u64::MAX));
            async move {
                while read_head_lossily(&mut stream).await {
                    dice.say(&mut stream, &ANSWERS).await;
                    if dice.next(3) == 0 {
                        break;
                    }
                }
                dice.leave(stream).await;
            }
        });
        for _ in 0..20 {
            let clients = (0..40).map(|_| {
                let mut dice = Dice(dice.borrow_mut().next(u64::MAX));
                let (mut client, far) = duplex(PIPE);
                let (engine, connection) = (Rc::clone(&scene.engine), scene.connection(Speaks::Http));
                let serving = spawn_local(async move {
                    engine.serve(Box::new(far), connection).await;
                });
                spawn_local(async move {
                    dice.say(&mut client, &REQUESTS).await;
                    dice.leave(client).await;
                    soon(serving).await.expect("the engine does not panic");
                })
            });
            for client in clients.collect::<Vec<_>>() {
                client.await.unwrap();
            }
        }
        soon(async {
            while !(scene.engine.under_way.is_empty() && scene.engine.of_pods.is_empty()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        assert_eq!(scene.engine.kept.octets(), 0);
        assert!(scene.world.records.borrow().len() > 100);
    })
    .await;
}

/// Reads to the end of a head, whatever is in it; false at the stream's end.
async fn read_head_lossily(stream: &mut DuplexStream) -> bool {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(octet) = stream.read_u8().await else { return false };
        head.push(octet);
    }
    true
}
