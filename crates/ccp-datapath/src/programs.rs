//! The programs that the daemon has installed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ccp_program::Program;

use crate::vm::Code;

/// A program under the number that the daemon gave it.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) uid: u32,
    pub(crate) code: Code,
}

impl Installed {
    pub(crate) fn new(uid: u32, program: &Program) -> Option<Self> {
        let code = Code::new(program)?;
        Some(Self { uid, code })
    }
}

/// The latest so many programs. Flows hold on to what they run, so nothing here can pull a program
/// away from under one, or put another one there.
#[derive(Debug)]
pub(crate) struct Programs {
    by_uid: BTreeMap<u32, Arc<Installed>>,
    order: VecDeque<u32>,
    limit: usize,
}

impl Programs {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            by_uid: BTreeMap::new(),
            order: VecDeque::new(),
            limit: limit.max(1),
        }
    }

    pub(crate) fn insert(&mut self, installed: Installed) {
        let uid = installed.uid;
        if self.by_uid.insert(uid, Arc::new(installed)).is_some() {
            self.order.retain(|other| *other != uid);
        }
        self.order.push_back(uid);
        while self.order.len() > self.limit {
            if let Some(oldest) = self.order.pop_front() {
                self.by_uid.remove(&oldest);
            }
        }
    }

    pub(crate) fn get(&self, uid: u32) -> Option<Arc<Installed>> {
        self.by_uid.get(&uid).cloned()
    }

    pub(crate) fn clear(&mut self) {
        self.by_uid.clear();
        self.order.clear();
    }
}
