//! What libbpf says while it works: to `tracing`, and its last lines into errors.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Once;

use libbpf_rs::{PrintLevel, set_print};

const LINES: usize = 20;

thread_local! {
    static LAST: RefCell<VecDeque<String>> = const { RefCell::new(VecDeque::new()) };
}

fn print(level: PrintLevel, text: String) {
    let text = text.trim_end();
    match level {
        PrintLevel::Warn => tracing::debug!(target: "libbpf", "{text}"),
        _ => {
            tracing::trace!(target: "libbpf", "{text}");
            return;
        }
    }
    LAST.with_borrow_mut(|last| {
        last.extend(text.lines().map(str::to_owned));
        let surplus = last.len().saturating_sub(LINES);
        last.drain(..surplus);
    });
}

/// Runs `work` and returns with its result the last warnings of libbpf on this thread.
pub(crate) fn listening<T>(work: impl FnOnce() -> T) -> (T, String) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        set_print(Some((PrintLevel::Debug, print)));
    });
    LAST.with_borrow_mut(VecDeque::clear);
    let result = work();
    let log = LAST.with_borrow_mut(|last| {
        let lines: Vec<String> = last.drain(..).collect();
        lines.join("\n")
    });
    (result, log)
}
