//! Reading reports allocates nothing. In a binary of its own: the allocator counts for all of it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use ccp_types::SockId;
use ccp_wire::{Encode, MeasureBuf, Message, ReportTrailer, frames};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: hands everything on to the system's allocator and only counts on the way.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps `GlobalAlloc`'s contract, which is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `GlobalAlloc`'s contract, which is the system's.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test only: another one in this binary would allocate meanwhile.
#[test]
fn reading_reports_allocates_nothing() {
    let mut datagram = Vec::new();
    for n in [0u64, 1, 110] {
        let report = MeasureBuf {
            sock_id: SockId(1),
            program_uid: 1,
            fields: (0..n).collect(),
            trailer: Some(ReportTrailer::default()),
            totals: None,
        };
        datagram.extend_from_slice(&report.to_frame().unwrap());
    }
    // The last frame is cut: errors allocate nothing either.
    datagram.truncate(datagram.len() - 3);

    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let (mut reports, mut errors, mut sum) = (0, 0, 0u64);
    for frame in frames(black_box(&datagram)) {
        match frame.and_then(|frame| frame.message()) {
            Ok(Message::Measure(m)) => {
                reports += 1;
                sum += m.fields().sum::<u64>() + m.field(0).unwrap_or(7);
            }
            _ => errors += 1,
        }
    }
    let after = ALLOCATIONS.load(Ordering::Relaxed);
    assert_eq!((reports, errors, sum), (2, 1, 7));
    assert_eq!(after - before, 0);

    // The counter does count.
    black_box(vec![1u8; 100]);
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > after);
}
