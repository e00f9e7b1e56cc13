//! The Linux TCP datapath: kernel TCP flows steered through BPF `struct_ops`, without a kernel
//! module.
//!
//! [`TcpDatapath::attach`] registers a congestion control name. Sockets that ask for it announce
//! themselves with a CREATE frame in a [`Ring`]; [`TcpDatapath::install`] turns a program into
//! eBPF; the [`Mailbox`] tells a flow to run it; its reports come through the ring.
//! [`TcpDatapath::beat`] says that somebody is there: without it flows run native CUBIC, from the
//! window they have.
//!
//! Frames are exactly those of `ccp-wire`. The README beside this crate says what is supported and
//! what is not; `src/bpf/intf.h` is the contract between the kernel side and this one.

mod bpf_log;
mod cgroup;
mod cgroup_names;
pub mod codegen;
mod datapath;
mod error;
mod host;
pub mod layout;
mod leave;
mod link;
mod mailbox;
mod mapped;
mod maps;
mod namespaces;
mod options;
mod pins;
mod programs;
mod registers;
mod ring;
mod skel;
mod stats;
mod take;

pub use cgroup::{Cgroups, NoCgroups};
pub use cgroup_names::CgroupNames;
pub use datapath::{TcpDatapath, clean_up};
pub use error::{AttachError, HostError, InstallError, MailboxError};
pub use host::{HostInfo, Signature, check_host};
pub use leave::Left;
pub use mailbox::{Mailbox, NATIVE};
pub use namespaces::initial_namespace;
pub use options::{Name, Namespaces, Options, OptionsError};
pub use registers::register_table;
pub use ring::Ring;
pub use stats::{Counters, FlowSnapshot, Mode};
pub use take::{Ends, Range, Take, TakeError, Taking};
