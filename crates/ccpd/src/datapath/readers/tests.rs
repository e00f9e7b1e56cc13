use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use ccp_core::{Command, FlowUpdate, ProgramTable, SessionOptions, SockId};
use ccp_wire::{Create, Encode as _, Ready};
use tokio_util::sync::CancellationToken;

use super::{MOST_KEPT, Readers, Source};
use crate::change::Made;
use crate::datapath::link::{Handed, Link};
use crate::outlet::{Haste, Outlet, Sent};
use crate::shared::Shared;

const PATIENCE: Duration = Duration::from_secs(20);
/// Who tells this flow anything comes back only when the test allows it.
const HANGS: SockId = SockId(666);

/// A datapath that takes everything.
#[derive(Debug, Default)]
struct Way {
    /// Nobody hangs any more.
    enough: AtomicBool,
    hanging: AtomicUsize,
    /// What was said to the others, apart from what was said at once,
    lying: AtomicUsize,
    /// and how much of it has been sent.
    sent: AtomicUsize,
}

impl Outlet for Way {
    fn send(&self, _: &ProgramTable, _: &Command) -> Sent {
        Sent::Done
    }

    fn update(&self, _: &ProgramTable, update: &FlowUpdate, haste: Haste) -> Sent {
        if update.sock_id == HANGS {
            self.hanging.fetch_add(1, Ordering::SeqCst);
            while !self.enough.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        } else if haste == Haste::Soon {
            self.lying.fetch_add(1, Ordering::SeqCst);
        }
        Sent::Done
    }

    fn flush(&self) {
        let lying = self.lying.swap(0, Ordering::SeqCst);
        self.sent.fetch_add(lying, Ordering::SeqCst);
    }

    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }
}

/// Gives batches as a test puts them together, each of a datapath of its own.
struct Given {
    batches: Mutex<Receiver<Vec<Bytes>>>,
    more: Mutex<Sender<Vec<Bytes>>>,
    link: Mutex<Option<Link>>,
    way: Arc<Way>,
    shared: Arc<Shared>,
}

impl Given {
    fn new(shared: &Arc<Shared>) -> Arc<Self> {
        let (more, batches) = channel();
        Arc::new(Self {
            batches: Mutex::new(batches),
            more: Mutex::new(more),
            link: Mutex::default(),
            way: Arc::default(),
            shared: Arc::clone(shared),
        })
    }

    /// Flows with these names come at once.
    fn open(&self, flows: &[u32]) {
        let ready = Ready {
            id: 0,
            capabilities: None,
        };
        let ready = ready.to_frame().unwrap();
        let creates = flows.iter().map(|flow| create(*flow));
        let batch = std::iter::once(ready).chain(creates);
        let batch = batch.map(BytesMut::freeze).collect();
        self.more.lock().unwrap().send(batch).unwrap();
    }

    fn sent(&self) -> usize {
        self.way.sent.load(Ordering::SeqCst)
    }

    fn hanging(&self) -> usize {
        self.way.hanging.load(Ordering::SeqCst)
    }
}

impl Source for Given {
    type Batch = (Vec<Bytes>, usize);

    fn batch(&self) -> Self::Batch {
        (Vec::new(), 0)
    }

    fn read(&self, batch: &mut Self::Batch) -> io::Result<()> {
        let given = self.batches.lock().unwrap().recv();
        *batch = (given.unwrap(), 0);
        Ok(())
    }

    fn take<'b>(&self, batch: &'b mut Self::Batch) -> Option<Option<Handed<'b>>> {
        let bytes = batch.0.get(batch.1)?;
        if batch.1 == 0 {
            let outlet = Arc::clone(&self.way) as Arc<dyn Outlet>;
            let options = SessionOptions::default();
            let link = Link::new("test", "test".to_owned(), outlet, options, &self.shared);
            *self.link.lock().unwrap() = Some(link);
        }
        batch.1 += 1;
        let mut link = self.link.lock().unwrap();
        Some(link.as_mut().and_then(|link| link.on_bytes(bytes)))
    }

    fn is_empty(&self, batch: &Self::Batch) -> bool {
        batch.1 >= batch.0.len()
    }

    fn rouse(&self) {
        let _ = self.more.lock().unwrap().send(Vec::new());
    }
}

fn create(flow: u32) -> BytesMut {
    let create = Create {
        sock_id: SockId(flow),
        init_cwnd: 14_480,
        mss: 1448,
        src_ip: 1,
        src_port: 1,
        dst_ip: 2,
        dst_port: 2,
        cong_alg: None,
        details: None,
        path: None,
        attributes: Default::default(),
    };
    create.to_frame().unwrap()
}

fn shared() -> Arc<Shared> {
    let mut registry = ccp_core::Registry::new();
    algs::register(&mut registry).unwrap();
    let maker = crate::making::Maker::new(registry);
    let made = Made::new(&maker, crate::Config::default(), None).unwrap();
    Arc::new(Shared::new(made.plan().unwrap(), CancellationToken::new()))
}

/// Looks after the readers until it is so.
async fn until(readers: &mut Readers<Given>, what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        readers.look();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Nobody misses anything because it was read together with what an algorithm does not come back from.
#[tokio::test(flavor = "multi_thread")]
async fn others_are_answered_that_were_read_with_one_that_hangs() {
    let shared = shared();
    let given = Given::new(&shared);
    let mut readers = Readers::start("test", Arc::clone(&given)).unwrap();
    given.open(&[1, 2, HANGS.0, 3, 4]);
    until(&mut readers, "not all are answered", || given.sent() == 4).await;
    assert_eq!(given.hanging(), 1);
    // Who comes back sees that another one reads, which waits.
    given.way.enough.store(true, Ordering::SeqCst);
    given.open(&[5, 6]);
    until(&mut readers, "nobody reads", || given.sent() == 6).await;
    readers.stop().await;
}

/// When no thread is left to read, those who have been answered hear of it all the same. They used to when an
/// algorithm came back.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_sent_when_nobody_is_left() {
    let shared = shared();
    let given = Given::new(&shared);
    let mut readers = Readers::start("test", Arc::clone(&given)).unwrap();
    for hanging in 1..=MOST_KEPT {
        given.open(&[1, HANGS.0]);
        until(&mut readers, "nobody reads", || given.hanging() == hanging).await;
    }
    until(&mut readers, "not all are answered", || {
        given.sent() == MOST_KEPT
    })
    .await;
    assert!(!readers.look());
    given.way.enough.store(true, Ordering::SeqCst);
    readers.stop().await;
}
