//! The datapath on the running kernel. Needs root; traffic stays within namespaces of the tests'.

mod common;
mod root_answers;
mod root_attach;
mod root_fallback;
mod root_limits;
mod root_measurements;
mod root_names;
mod root_nonsense;
mod root_ordinary;
mod root_pins;
mod root_recovery;
mod root_steer;
mod root_take;
