//! Any message, read or to be written.

use bytes::BytesMut;
use ccp_types::SockId;

use crate::read::Reader;
use crate::{
    ChangeProg, ChangeProgExt, Create, DecodeError, EncodeError, Frame, Heartbeat, Hello, Install,
    InstallExt, Kind, Measure, Ready, UpdateExt, UpdateFields,
};

/// A message that can be written.
pub trait Encode {
    /// Appends the message to `dst` as one frame.
    ///
    /// # Errors
    /// If the message has no place in its format; `dst` is then as it was before.
    fn encode(&self, dst: &mut BytesMut) -> Result<(), EncodeError>;

    /// The message as one frame of its own.
    ///
    /// # Errors
    /// As for [`Encode::encode`].
    fn to_frame(&self) -> Result<BytesMut, EncodeError> {
        let mut dst = BytesMut::new();
        self.encode(&mut dst)?;
        Ok(dst)
    }
}

impl<M: Encode + ?Sized> Encode for &M {
    fn encode(&self, dst: &mut BytesMut) -> Result<(), EncodeError> {
        (**self).encode(dst)
    }
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message<'a> {
    /// A flow is announced.
    Create(Box<Create>),
    /// A report, or the end of a flow.
    Measure(Measure<'a>),
    /// A program in libccp's bytecode.
    Install(Install),
    /// New values of registers.
    UpdateFields(UpdateFields),
    /// Another program, with values of its registers.
    ChangeProg(ChangeProg),
    /// A datapath is there.
    Ready(Ready),
    /// An agent answers a datapath that announced capabilities.
    Hello(Hello),
    /// A program in its whole form.
    InstallExt(InstallExt),
    /// New values of registers, for one generation of a flow.
    UpdateExt(UpdateExt),
    /// Another program with values of its registers, for one generation of a flow.
    ChangeProgExt(ChangeProgExt),
    /// The agent is alive.
    Heartbeat(Heartbeat),
    /// A frame of a type that this version does not know: to be counted and passed over.
    Unknown(Frame<'a>),
}

impl<'a> Message<'a> {
    pub(crate) fn decode(frame: Frame<'a>) -> Result<Self, DecodeError> {
        let reader = &mut Reader::new(frame.kind, frame.body);
        let sock_id = frame.sock_id;
        Ok(match frame.kind {
            Kind::Create => Self::Create(Box::new(Create::read(sock_id, reader)?)),
            Kind::Measure => Self::Measure(Measure::read(sock_id, reader)?),
            Kind::Install => Self::Install(Install::read(reader)?),
            Kind::UpdateFields => Self::UpdateFields(UpdateFields::read(sock_id, reader)?),
            Kind::ChangeProg => Self::ChangeProg(ChangeProg::read(sock_id, reader)?),
            Kind::Ready => Self::Ready(Ready::read(reader)?),
            Kind::Hello => Self::Hello(Hello::read(reader)?),
            Kind::InstallExt => Self::InstallExt(InstallExt::read(reader)?),
            Kind::UpdateExt => Self::UpdateExt(UpdateExt::read(sock_id, reader)?),
            Kind::ChangeProgExt => Self::ChangeProgExt(ChangeProgExt::read(sock_id, reader)?),
            Kind::Heartbeat => Self::Heartbeat(Heartbeat::read(reader)?),
            Kind::Unknown(_) => Self::Unknown(frame),
        })
    }

    /// What the message is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Create(_) => Kind::Create,
            Self::Measure(_) => Kind::Measure,
            Self::Install(_) => Kind::Install,
            Self::UpdateFields(_) => Kind::UpdateFields,
            Self::ChangeProg(_) => Kind::ChangeProg,
            Self::Ready(_) => Kind::Ready,
            Self::Hello(_) => Kind::Hello,
            Self::InstallExt(_) => Kind::InstallExt,
            Self::UpdateExt(_) => Kind::UpdateExt,
            Self::ChangeProgExt(_) => Kind::ChangeProgExt,
            Self::Heartbeat(_) => Kind::Heartbeat,
            Self::Unknown(frame) => frame.kind,
        }
    }

    /// The flow it is about, if it is about one.
    #[must_use]
    pub fn sock_id(&self) -> Option<SockId> {
        match self {
            Self::Create(m) => Some(m.sock_id),
            Self::Measure(m) => Some(m.sock_id),
            Self::UpdateFields(m) => Some(m.sock_id),
            Self::ChangeProg(m) => Some(m.sock_id),
            Self::UpdateExt(m) => Some(m.sock_id),
            Self::ChangeProgExt(m) => Some(m.sock_id),
            Self::Install(_)
            | Self::Ready(_)
            | Self::Hello(_)
            | Self::InstallExt(_)
            | Self::Heartbeat(_)
            | Self::Unknown(_) => None,
        }
    }
}

impl Encode for Message<'_> {
    fn encode(&self, dst: &mut BytesMut) -> Result<(), EncodeError> {
        match self {
            Self::Create(m) => m.encode(dst),
            Self::Measure(m) => m.encode(dst),
            Self::Install(m) => m.encode(dst),
            Self::UpdateFields(m) => m.encode(dst),
            Self::ChangeProg(m) => m.encode(dst),
            Self::Ready(m) => m.encode(dst),
            Self::Hello(m) => m.encode(dst),
            Self::InstallExt(m) => m.encode(dst),
            Self::UpdateExt(m) => m.encode(dst),
            Self::ChangeProgExt(m) => m.encode(dst),
            Self::Heartbeat(m) => m.encode(dst),
            Self::Unknown(frame) => frame.encode(dst),
        }
    }
}
