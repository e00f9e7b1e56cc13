//! What the kernel's announcements mean.

use std::collections::HashMap;

use ccp_wire::{Kind, Message, frames};

use crate::config::{TcpConfig, TcpName};
use crate::datapath::link::{Handed, Link};
use crate::datapath::resolver::Resolver;

/// What flows ask for by the name that they use, and what the kernel's numbers mean.
#[derive(Debug)]
pub(super) struct Names {
    requests: HashMap<String, String>,
    resolver: Resolver,
}

impl Names {
    pub(super) fn new(config: &TcpConfig) -> Self {
        let requests = |name: &TcpName| Some((name.name.clone(), name.requests.clone()?));
        Self {
            requests: config.names.iter().filter_map(requests).collect(),
            resolver: Resolver::new(),
        }
    }

    /// Passes on a frame of the kernel's, in whose announcements stand the name that the socket
    /// uses, and numbers: what is asked for and meant by them is for us to say.
    pub(super) fn pass(&mut self, frame: &[u8], link: &mut Link) {
        let announces = frame
            .first_chunk()
            .is_some_and(|kind| u16::from_le_bytes(*kind) == Kind::Create.to_wire());
        if !announces {
            return wake(link.on_bytes(frame));
        }
        for frame in frames(frame) {
            match frame.and_then(|frame| frame.message()) {
                Ok(Message::Create(mut create)) => {
                    let requests = |name| self.requests.get(&name).cloned();
                    create.cong_alg = create.cong_alg.and_then(requests);
                    create.attributes = self.resolver.resolve(&create.attributes);
                    wake(link.on_message(&Message::Create(create)));
                }
                Ok(message) => wake(link.on_message(&message)),
                Err(_) => link.session().on_garbage(),
            }
        }
    }
}

/// Its task does what there is to do for the flow.
fn wake(handed: Option<Handed<'_>>) {
    if let Some(handed) = handed {
        handed.leave();
    }
}
