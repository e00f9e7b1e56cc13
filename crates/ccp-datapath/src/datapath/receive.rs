//! What the daemon says.

use std::sync::Arc;

use ccp_types::{Micros, SockId, Timestamp};
use ccp_wire::{
    ChangeProg, Field, FieldExt, FieldTarget, Hello, Install, InstallExt, Kind, Message, TargetExt,
    frames,
};

use super::{Shared, Way};
use crate::error::MessageError;
use crate::legacy;
use crate::mail::Mail;
use crate::programs::Installed;
use crate::stats::count;
use crate::sync::lock;

/// A daemon without heartbeats counts as alive until nobody takes frames any more.
const FOR_EVER: Timestamp = Timestamp(u64::MAX);

/// What came of a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// How many messages were obeyed.
    pub messages: usize,
    /// Which flows have something new.
    pub touched: Touched,
}

/// Which flows have something new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Touched {
    /// None.
    #[default]
    None,
    /// One.
    Flow(SockId),
    /// Any may have.
    All,
}

impl Touched {
    fn and(&mut self, other: Self) {
        *self = match (*self, other) {
            (Self::None, other) | (other, Self::None) => other,
            (a, b) if a == b => a,
            _ => Self::All,
        };
    }
}

impl Shared {
    pub(super) fn receive(&self, now: Timestamp, bytes: &[u8]) -> Result<Received, MessageError> {
        let mut received = Received::default();
        let mut first = None;
        for frame in frames(bytes) {
            let message = frame.and_then(|frame| frame.message());
            let done = match message {
                Ok(message) => self.obey(now, &message),
                Err(error) => Err(error.into()),
            };
            match done {
                Ok(touched) => {
                    received.messages += 1;
                    received.touched.and(touched);
                    count(&self.stats.messages);
                }
                Err(error) => {
                    count(match error {
                        MessageError::Stale { .. } => &self.stats.stale_messages,
                        _ => &self.stats.refused_messages,
                    });
                    first.get_or_insert(error);
                }
            }
        }
        first.map_or(Ok(received), Err)
    }

    fn obey(&self, now: Timestamp, message: &Message<'_>) -> Result<Touched, MessageError> {
        match message {
            Message::Hello(hello) => {
                self.hello(now, hello);
                return Ok(Touched::All);
            }
            Message::Heartbeat(beat) => return Ok(self.heartbeat(now, beat.epoch)),
            Message::Install(install) => return self.install(install),
            Message::InstallExt(install) => self.install_ext(install)?,
            Message::UpdateFields(m) => {
                let kind = Kind::UpdateFields;
                return self.legacy(kind, m.sock_id, None, &m.fields);
            }
            Message::ChangeProg(m) => return self.change_prog(m),
            Message::UpdateExt(m) => {
                let (kind, for_whom) = (Kind::UpdateExt, (m.sock_id, m.generation));
                return self.update(kind, for_whom, m.program_uid, &m.fields);
            }
            Message::ChangeProgExt(m) => {
                return self.change((m.sock_id, m.generation), m.program_uid, &m.fields);
            }
            Message::Create(_) | Message::Measure(_) | Message::Ready(_) => {
                let kind = message.kind();
                return Err(MessageError::Unexpected { kind });
            }
            _ => count(&self.stats.unknown_messages),
        }
        Ok(Touched::None)
    }

    fn hello(&self, now: Timestamp, hello: &Hello) {
        let mut way = lock(&self.way);
        let answers = way.answered();
        if answers {
            way.programs.clear();
        }
        let known = way.hello.is_some_and(|(epoch, _)| epoch == hello.epoch);
        let lasts = if hello.heartbeat == Micros::ZERO {
            Micros::MAX
        } else {
            hello.fallback_after
        };
        way.hello = Some((hello.epoch, lasts));
        self.link.set_unanswered(self.config.unanswered_after);
        self.link.set_alive_until(now + lasts);
        if answers || !known {
            self.link.announce_all();
        }
    }

    fn heartbeat(&self, now: Timestamp, epoch: u32) -> Touched {
        let mut way = lock(&self.way);
        match way.hello {
            Some((ours, lasts)) if ours == epoch => {
                let was_alive = self.link.is_alive(now);
                self.link.set_alive_until(now + lasts);
                if was_alive {
                    Touched::None
                } else {
                    Touched::All
                }
            }
            // HELLO was missed: this daemon does not know us.
            _ => {
                way.afresh = true;
                Touched::None
            }
        }
    }

    /// A daemon without HELLO shows itself by its programs.
    fn install(&self, install: &Install) -> Result<Touched, MessageError> {
        let uid = install.program_uid;
        let (table, limits) = self.table();
        let program = legacy::to_program(&install.bytecode, table, limits);
        let installed = program
            .map_err(|why| MessageError::Bytecode { uid, why })
            .and_then(|program| {
                Installed::new(uid, &program).ok_or(MessageError::TooLarge { uid })
            });
        let mut way = lock(&self.way);
        let answers = way.answered();
        // libccp forgets all programs when it is given number 1.
        if answers || uid == 1 {
            way.programs.clear();
        }
        let new = way.hello.is_none() && !self.link.is_alive(Timestamp(1));
        if answers || new {
            way.hello = None;
            self.link
                .set_unanswered(self.config.unanswered_after_legacy);
            self.link.set_alive_until(FOR_EVER);
            self.link.announce_all();
        }
        self.keep(&mut way, installed)?;
        Ok(if answers || new {
            Touched::All
        } else {
            Touched::None
        })
    }

    fn install_ext(&self, install: &InstallExt) -> Result<(), MessageError> {
        let uid = install.program_uid;
        let (table, limits) = self.table();
        let installed = install
            .to_program(table, limits)
            .map_err(|why| MessageError::Program { uid, why })
            .and_then(|program| {
                Installed::new(uid, &program).ok_or(MessageError::TooLarge { uid })
            });
        self.keep(&mut lock(&self.way), installed)
    }

    fn keep(
        &self,
        way: &mut Way,
        installed: Result<Installed, MessageError>,
    ) -> Result<(), MessageError> {
        match installed {
            Ok(installed) => {
                count(&self.stats.programs);
                way.programs.insert(installed);
                Ok(())
            }
            Err(error) => {
                count(&self.stats.refused_programs);
                Err(error)
            }
        }
    }

    fn program(
        &self,
        kind: Kind,
        sock_id: SockId,
        uid: u32,
    ) -> Result<Arc<Installed>, MessageError> {
        let found = lock(&self.way).programs.get(uid);
        found.ok_or(MessageError::NoProgram { kind, sock_id, uid })
    }

    fn change(
        &self,
        (sock_id, generation): (SockId, u32),
        uid: u32,
        fields: &[FieldExt],
    ) -> Result<Touched, MessageError> {
        let kind = Kind::ChangeProgExt;
        let flow = self.flows.get(sock_id);
        let flow = flow.ok_or(MessageError::NoFlow { kind, sock_id })?;
        let program = match uid {
            0 => None,
            uid => match self.program(kind, sock_id, uid) {
                Ok(program) => Some(program),
                Err(error) => {
                    // Its message was lost, or ours: afresh, both know what the other has.
                    self.start_afresh();
                    return Err(error);
                }
            },
        };
        let controls = program.as_ref().map_or(0, |p| p.code.controls.len());
        self.check(kind, sock_id, fields, Some(controls))?;
        let taken = flow.post(generation, |mail| {
            mail.start(program, uid);
            set(mail, uid, fields);
        });
        taken
            .then_some(Touched::Flow(sock_id))
            .ok_or(MessageError::Stale { kind, sock_id })
    }

    fn update(
        &self,
        kind: Kind,
        (sock_id, generation): (SockId, u32),
        uid: u32,
        fields: &[FieldExt],
    ) -> Result<Touched, MessageError> {
        let flow = self.flows.get(sock_id);
        let flow = flow.ok_or(MessageError::NoFlow { kind, sock_id })?;
        let program = lock(&self.way).programs.get(uid);
        let controls = program.as_ref().map(|p| p.code.controls.len());
        self.check(kind, sock_id, fields, controls)?;
        let taken = flow.post(generation, |mail| set(mail, uid, fields));
        taken
            .then_some(Touched::Flow(sock_id))
            .ok_or(MessageError::Stale { kind, sock_id })
    }

    /// Every register has to be there. Control variables of a program that is not known are passed
    /// over, as those of one that does not run.
    fn check(
        &self,
        kind: Kind,
        sock_id: SockId,
        fields: &[FieldExt],
        controls: Option<usize>,
    ) -> Result<(), MessageError> {
        let writables = self.config.registers.writables().len();
        for field in fields {
            let (what, index, count) = match field.target {
                TargetExt::Writable(index) => ("writable register", index, writables),
                TargetExt::Control(index) => match controls {
                    Some(count) => ("control variable", index, count),
                    None => continue,
                },
            };
            if usize::from(index) >= count {
                return Err(MessageError::NoRegister {
                    kind,
                    sock_id,
                    what,
                    index: u32::from(index),
                    count,
                });
            }
        }
        Ok(())
    }

    fn change_prog(&self, m: &ChangeProg) -> Result<Touched, MessageError> {
        let (kind, sock_id) = (Kind::ChangeProg, m.sock_id);
        let program = self.program(kind, sock_id, m.program_uid)?;
        self.legacy(kind, sock_id, Some(program), &m.fields)
    }

    /// libccp's messages: they name no generation, so they are for the present one, and no program, so
    /// they are for what runs (or is started).
    fn legacy(
        &self,
        kind: Kind,
        sock_id: SockId,
        program: Option<Arc<Installed>>,
        fields: &[Field],
    ) -> Result<Touched, MessageError> {
        let flow = self.flows.get(sock_id);
        let flow = flow.ok_or(MessageError::NoFlow { kind, sock_id })?;
        if let Some(program) = &program {
            let count = program.code.controls.len();
            for field in fields {
                if let FieldTarget::Control { index, .. } = field.target
                    && index as usize >= count
                {
                    return Err(MessageError::NoRegister {
                        kind,
                        sock_id,
                        what: "control variable",
                        index,
                        count,
                    });
                }
            }
        }
        let taken = flow.post(flow.generation(), |mail| {
            if let Some(program) = program {
                let uid = program.uid;
                mail.start(Some(program), uid);
            }
            let uid = match &mail.change {
                Some(_) => mail.program_uid,
                None => crate::mail::WHATEVER_RUNS,
            };
            for field in fields {
                match field.target {
                    // libccp leaves window and rate alone when they are 0.
                    FieldTarget::Cwnd | FieldTarget::Rate if field.value == 0 => {}
                    FieldTarget::Cwnd => mail.set_writable(0, field.value),
                    FieldTarget::Rate => mail.set_writable(1, field.value),
                    // libccp has 110 of them.
                    FieldTarget::Control { index, .. } => {
                        mail.set_control(
                            uid,
                            u16::try_from(index).unwrap_or(u16::MAX),
                            field.value,
                        );
                    }
                }
            }
        });
        taken
            .then_some(Touched::Flow(sock_id))
            .ok_or(MessageError::Stale { kind, sock_id })
    }
}

impl Way {
    /// Somebody is there. Returns whether that is the answer to READY.
    fn answered(&mut self) -> bool {
        if std::mem::take(&mut self.asked) {
            self.afresh = false;
            return true;
        }
        false
    }
}

/// Registers of a flow that runs the program `uid`: the connection checks that it still does.
fn set<P>(mail: &mut Mail<P>, uid: u32, fields: &[FieldExt]) {
    for field in fields {
        match field.target {
            TargetExt::Writable(place) => mail.set_writable(place, field.value),
            TargetExt::Control(place) => mail.set_control(uid, place, field.value),
        }
    }
}
