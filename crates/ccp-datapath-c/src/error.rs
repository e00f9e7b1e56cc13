//! What C is told of what went wrong.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// It is done.
pub(crate) const OK: c_int = 0;
/// A pointer is null, a name unknown, a number out of range.
pub(crate) const INVALID: c_int = -1;
/// A message that was not obeyed; everything is as it was before.
pub(crate) const REFUSED: c_int = -2;
/// There are as many flows as the configuration allows.
pub(crate) const LIMIT: c_int = -3;
/// An error in this library.
pub(crate) const BUG: c_int = -4;

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Notes what went wrong, for `ccpdp_last_error`.
pub(crate) fn note(what: impl Display) {
    let mut text = what.to_string();
    text.retain(|c| c != '\0');
    LAST.with_borrow_mut(|last| *last = CString::new(text).unwrap_or_default());
}

/// What `work` gives; `otherwise` if it panics.
pub(crate) fn guarded<T>(otherwise: T, work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        note("an error in libccpdp: it panicked; see standard error");
        otherwise
    })
}

/// What went wrong last in this thread, in words. Valid until something else goes wrong in it.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub extern "C" fn ccpdp_last_error() -> *const c_char {
    // The thread may be ending.
    LAST.try_with(|last| last.borrow().as_ptr())
        .unwrap_or(CStr::as_ptr(c""))
}
