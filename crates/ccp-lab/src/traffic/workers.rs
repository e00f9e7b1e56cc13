//! The threads of a long flow: sender, receiver, sampler.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    Sample, Until,
    content::{Content, Mismatch},
};
use crate::{LabError, TcpInfo};

const CHUNK: usize = 128 * 1024;

/// What the threads of a flow share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The sender shall finish.
    pub(super) stop: AtomicBool,
    /// The sampler shall finish.
    pub(super) done: AtomicBool,
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) samples: Mutex<Vec<Sample>>,
}

/// The receiver's end: when the last byte came.
pub(super) type Received = Result<Instant, LabError>;

pub(super) fn receive(
    mut stream: &TcpStream,
    peer: SocketAddr,
    mut content: Option<Content>,
    count: &AtomicU64,
) -> Received {
    let mut buffer = vec![0; 2 * CHUNK];
    let mut last = Instant::now();
    loop {
        let n = match stream.read(&mut buffer) {
            Ok(0) => return Ok(last),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => {
                return Err(LabError::Flow {
                    peer,
                    what: "receive",
                    source,
                });
            }
        };
        last = Instant::now();
        if let Some(content) = &mut content {
            content.check(&buffer[..n]).map_err(|m| {
                let Mismatch {
                    offset,
                    expected,
                    got,
                } = m;
                LabError::Content {
                    peer,
                    offset,
                    expected,
                    got,
                }
            })?;
        }
        count.fetch_add(n as u64, Ordering::Relaxed);
    }
}

pub(super) fn send(
    mut stream: &TcpStream,
    peer: SocketAddr,
    mut content: Option<Content>,
    until: Until,
    started: Instant,
    shared: &Shared,
) -> Result<(), LabError> {
    let mut buffer = vec![0; CHUNK];
    let mut left = 0;
    let mut sent = 0u64;
    loop {
        let enough = match until {
            Until::Elapsed(duration) => started.elapsed() >= duration,
            Until::Bytes(bytes) => sent >= bytes,
            Until::Stopped => false,
        };
        if enough || shared.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        if left == 0 {
            left = buffer.len();
            if let Some(content) = &mut content {
                content.fill(&mut buffer);
            }
        }
        let mut ready = &buffer[buffer.len() - left..];
        if let Until::Bytes(bytes) = until {
            ready = &ready[..ready
                .len()
                .min(usize::try_from(bytes - sent).unwrap_or(usize::MAX))];
        }
        match stream.write(ready) {
            Ok(n) => {
                left -= n;
                sent += n as u64;
                shared.sent.store(sent, Ordering::Relaxed);
            }
            // The write timeout: look whether it is time to stop.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(source) => {
                return Err(LabError::Flow {
                    peer,
                    what: "send",
                    source,
                });
            }
        }
    }
}

pub(super) fn sample(stream: &TcpStream, started: Instant, interval: Duration, shared: &Shared) {
    let mut next = started;
    loop {
        if let Ok(info) = TcpInfo::of(stream) {
            let sample = Sample {
                at: started.elapsed(),
                info,
            };
            shared
                .samples
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(sample);
        }
        // In step with the clock; a step that was missed is left out.
        let now = Instant::now();
        while next <= now {
            next += interval.max(Duration::from_micros(100));
        }
        loop {
            if shared.done.load(Ordering::Relaxed) {
                return;
            }
            match next.checked_duration_since(Instant::now()) {
                Some(rest) if !rest.is_zero() => thread::park_timeout(rest),
                _ => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// What the receiver says of `sent` when the stream of seed 1 must come.
    fn received(sent: &[u8]) -> (Received, u64) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let peer = listener.local_addr().expect("bound");
        let mut sender = TcpStream::connect(peer).expect("connect");
        let (receiver, _) = listener.accept().expect("accept");
        sender.write_all(sent).expect("fits the socket's buffer");
        drop(sender);
        let count = AtomicU64::new(0);
        let result = receive(&receiver, peer, Some(Content::new(1)), &count);
        (result, count.into_inner())
    }

    #[test]
    fn the_receiver_tells_wrong_content_and_its_place() {
        let mut data = vec![0; 50_000];
        Content::new(1).fill(&mut data);
        assert!(matches!(received(&data), (Ok(_), 50_000)));
        data[40_000] ^= 1;
        let (result, _) = received(&data);
        let error = result.expect_err("one byte is wrong");
        assert!(
            matches!(error, LabError::Content { offset: 40_000, .. }),
            "{error}"
        );
        // One byte too few in the middle moves all behind it.
        data.remove(123);
        assert!(matches!(
            received(&data),
            (Err(LabError::Content { offset: 123.., .. }), _)
        ));
    }
}
