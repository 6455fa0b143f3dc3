//! The client: one measurement.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use super::{Error, MESSAGE, Measured, Quantity, server};
use crate::statistics;

/// Bytes of one write of bulk.
const CHUNK: usize = 128 * 1024;

/// The longest wait for anything: a measurement that hangs must not hang the benchmark.
const PATIENCE: Duration = Duration::from_secs(10);

/// Part of the time that is spent before anything counts: slow start, caches, clock of the processor.
const WARM_UP: u32 = 5;

/// Measures `quantity` against the server at `to` for about `time`.
///
/// # Errors
/// If a connection fails.
pub fn measure(quantity: Quantity, to: SocketAddr, time: Duration) -> Result<Measured, Error> {
    let client = Client { quantity, to };
    let value = match quantity {
        Quantity::Throughput => client.throughput(time)?,
        Quantity::Latency => client.latency(time, 0.5)?,
        Quantity::Tail => client.latency(time, 0.99)?,
        Quantity::Connects => client.connects(time)?,
    };
    Ok(Measured { value })
}

#[derive(Clone, Copy)]
pub(super) struct Client {
    pub(super) quantity: Quantity,
    pub(super) to: SocketAddr,
}

impl Client {
    pub(super) fn failed(self, step: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Socket { quantity: self.quantity, to: self.to, step, source }
    }

    pub(super) fn open(self, purpose: u8) -> Result<TcpStream, Error> {
        let mut stream = TcpStream::connect_timeout(&self.to, PATIENCE).map_err(self.failed("connect"))?;
        let set = stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(PATIENCE)));
        set.and_then(|()| stream.set_write_timeout(Some(PATIENCE))).map_err(self.failed("set options"))?;
        stream.write_all(&[purpose]).map_err(self.failed("write"))?;
        Ok(stream)
    }

    /// Bits per second that arrived: the clock runs until the server has said how many bytes it has.
    fn throughput(self, time: Duration) -> Result<f64, Error> {
        let mut stream = self.open(server::SINK)?;
        let chunk = vec![0x5a; CHUNK];
        let mut sent = 0_u64;
        let mut send_for = |duration: Duration, stream: &mut TcpStream| {
            let (start, before) = (Instant::now(), sent);
            while start.elapsed() < duration {
                stream.write_all(&chunk).map_err(self.failed("write"))?;
                sent += CHUNK as u64;
            }
            Ok((start, sent - before))
        };
        send_for(time / WARM_UP, &mut stream)?;
        let (start, bytes) = send_for(time, &mut stream)?;
        stream.shutdown(Shutdown::Write).map_err(self.failed("shut down"))?;
        let mut counted = [0; 8];
        stream.read_exact(&mut counted).map_err(self.failed("read the server's count"))?;
        let elapsed = start.elapsed();
        let counted = u64::from_le_bytes(counted);
        if counted == sent { Ok(per_second(bytes * 8, elapsed)) } else { Err(Error::Bytes { sent, counted }) }
    }

    /// Microseconds of a request and its answer that this share of them does not exceed.
    fn latency(self, time: Duration, share: f64) -> Result<f64, Error> {
        let mut stream = self.open(server::ECHO)?;
        let mut message = [0x5a; MESSAGE];
        let mut exchange = || -> Result<f64, Error> {
            let start = Instant::now();
            stream.write_all(&message).map_err(self.failed("write"))?;
            stream.read_exact(&mut message).map_err(self.failed("read"))?;
            Ok(start.elapsed().as_secs_f64() * 1e6)
        };
        let warm = Instant::now();
        while warm.elapsed() < time / WARM_UP {
            exchange()?;
        }
        let (start, mut times) = (Instant::now(), Vec::new());
        while start.elapsed() < time {
            times.push(exchange()?);
        }
        Ok(statistics::quantile(&times, share).unwrap_or(f64::NAN))
    }

    /// Connections per second, one after another.
    fn connects(self, time: Duration) -> Result<f64, Error> {
        let once = || -> Result<(), Error> {
            let mut stream = self.open(server::ECHO)?;
            let mut message = [0x5a; MESSAGE];
            stream.write_all(&message).map_err(self.failed("write"))?;
            stream.read_exact(&mut message).map_err(self.failed("read"))?;
            // Ends by a reset: ports in TIME_WAIT would run out within seconds.
            let socket = socket2::SockRef::from(&stream);
            socket.set_linger(Some(Duration::ZERO)).map_err(self.failed("set options"))
        };
        let warm = Instant::now();
        while warm.elapsed() < time / WARM_UP {
            once()?;
        }
        let (start, mut made) = (Instant::now(), 0_u64);
        while start.elapsed() < time {
            once()?;
            made += 1;
        }
        Ok(per_second(made, start.elapsed()))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for a ratio; 53 bits are exact up to a petabyte")]
fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}
