//! Threads that run before whatever else keeps the CPUs busy.

/// Of the emulated links, which are never to wait for what they carry.
pub(crate) const LINKS: i32 = 2;
/// Of both ends of a flow.
pub(crate) const ENDS: i32 = 1;

/// Makes the calling thread a real-time one with this priority, of which 1 is the lowest. That only makes
/// more precise what it does, so refusal does not matter.
pub(crate) fn before_others(priority: i32) {
    // SAFETY: an all-zero `sched_param` is valid; it is only read, and lives until the call is over. Thread 0
    // is the calling one.
    unsafe {
        let mut parameters: libc::sched_param = std::mem::zeroed();
        parameters.sched_priority = priority;
        libc::sched_setscheduler(
            0,
            libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK,
            &raw const parameters,
        );
    }
}
