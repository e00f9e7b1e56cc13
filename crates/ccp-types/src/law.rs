//! Control laws as pure functions, shared by algorithms and native fallbacks, written once.

pub mod cubic;
pub mod hystart;
pub mod prr;
pub mod reno;
