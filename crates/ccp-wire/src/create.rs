//! CREATE: a flow is announced.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{BufMut, BytesMut};
use ccp_types::{
    Attribute, AttributeValue, Attributes, Bytes, FlowInfo, FlowState, Micros, Origin, PathId,
    Rate, SockId,
};

use crate::read::Reader;
use crate::write;
use crate::{DecodeError, Encode, EncodeError, Kind, MAX_FRAME};

/// The room for the name of an algorithm, its closing NUL included.
pub const CONG_ALG_LEN: usize = 64;

/// How a datapath without [`CreateDetails`] writes ports and IPv4 addresses into their `u32`s.
/// libccp says nothing about it and passes on what it is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PortOrder {
    /// As they lie in a network header: ccp-kernel and mTCP copy them from their sockets.
    #[default]
    Network,
    /// As numbers: what most programs that fill in libccp's struct by hand do.
    Host,
}

/// CREATE: a flow is announced.
///
/// Body, 88 bytes: `u32 init_cwnd, mss, src_ip, src_port, dst_ip, dst_port; char cong_alg[64]`,
/// the name padded with NULs. Trailing: [`CreateDetails`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    /// The flow.
    pub sock_id: SockId,
    /// The window that it begins with: bytes, or, where less than one segment, packets (mTCP and
    /// mvfst count so).
    pub init_cwnd: u32,
    /// Its largest segment, in bytes.
    pub mss: u32,
    /// The local IPv4 address, as the datapath writes it ([`PortOrder`]); see [`CreateDetails`].
    pub src_ip: u32,
    /// The local port, as the datapath writes it; a plain number if there are details.
    pub src_port: u32,
    /// The remote IPv4 address, as the datapath writes it.
    pub dst_ip: u32,
    /// The remote port, as the datapath writes it; a plain number if there are details.
    pub dst_port: u32,
    /// The algorithm that the flow asks for: at most 63 bytes, none of them NUL, not empty.
    pub cong_alg: Option<String>,
    /// From our datapaths only.
    pub details: Option<CreateDetails>,
    /// The connection of several ways that it is one of. Behind the details, 8 bytes: `u32 connection,
    /// u32 path`; not sent without them, and all ones for none if something follows.
    pub path: Option<PathId>,
    /// What else the datapath tells of the flow. Behind the path; not sent without details. Each is `u8
    /// name_len, u8 kind, u16 len`, the name, and a value of `len` bytes: a `u64` (kind 0) or a text (kind
    /// 1). Other kinds are passed over; a `name_len` of 0 ends the list. At most [`MOST_ATTRIBUTES`].
    pub attributes: Attributes,
}

/// At most so many attributes are in one CREATE.
pub const MOST_ATTRIBUTES: usize = 32;

/// What our datapaths put behind libccp's CREATE.
///
/// 64 bytes: `u8 family (0, 4 or 6), u8 origin, u16 faults, u8 src[16], u8 dst[16], u32 generation,
/// u64 cwnd, u64 rate, u32 srtt_us, u32 min_rtt_us`. An IPv4 address stands in the first four of
/// its sixteen bytes. With details, the ports of the base part are plain numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CreateDetails {
    /// Local and remote address, of one family; `None` if the transport has none (family 0).
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// Why the flow is announced.
    pub origin: Origin,
    /// How many invocations of its program had no effect since the announcement before; 65,535
    /// stands for as many or more.
    pub faults: u16,
    /// Goes up with each announcement of the flow; what belongs to an earlier one is void.
    pub generation: u32,
    /// Its window, rate and round-trip times now. Round-trip times are cut to `u32::MAX` µs.
    pub state: FlowState,
}

impl Create {
    /// How a datapath of ours announces `flow`.
    #[must_use]
    pub fn from_flow_info(flow: &FlowInfo, generation: u32) -> Self {
        let base_ip = |ip| match ip {
            IpAddr::V4(ip) => u32::from_le_bytes(ip.octets()),
            IpAddr::V6(_) => 0,
        };
        Self {
            sock_id: flow.sock_id,
            init_cwnd: u32::try_from(flow.init_cwnd.0).unwrap_or(u32::MAX),
            mss: flow.mss,
            src_ip: base_ip(flow.src.ip()),
            src_port: u32::from(flow.src.port()),
            dst_ip: base_ip(flow.dst.ip()),
            dst_port: u32::from(flow.dst.port()),
            cong_alg: flow.requested.clone(),
            details: Some(CreateDetails {
                addresses: Some((flow.src.ip(), flow.dst.ip())),
                origin: flow.origin,
                faults: 0,
                generation,
                state: flow.state,
            }),
            path: flow.path,
            attributes: flow.attributes.clone(),
        }
    }

    /// The flow as the rest of the control plane knows it. `order` says how to read ports and
    /// addresses if there are no details.
    ///
    /// # Errors
    /// [`DecodeError::BadValue`] if `mss` is 0 or a port above 65,535.
    pub fn to_flow_info(&self, order: PortOrder) -> Result<FlowInfo, DecodeError> {
        let bad = |field, expected, got: u32| DecodeError::BadValue {
            kind: Kind::Create,
            field,
            expected,
            got: u64::from(got),
        };
        if self.mss == 0 {
            return Err(bad("mss", "1 or more", 0));
        }
        let (ip_order, port_order) = match self.details {
            Some(_) => (PortOrder::Network, PortOrder::Host),
            None => (order, order),
        };
        let ip = |ip: u32| match ip_order {
            PortOrder::Network => Ipv4Addr::from(ip.to_le_bytes()),
            PortOrder::Host => Ipv4Addr::from_bits(ip),
        };
        let port = |field, port: u32| {
            let number = u16::try_from(port).map_err(|_| bad(field, "at most 65535", port))?;
            Ok(match port_order {
                PortOrder::Network => number.swap_bytes(),
                PortOrder::Host => number,
            })
        };
        let (src, dst) = self
            .details
            .and_then(|d| d.addresses)
            .unwrap_or_else(|| (ip(self.src_ip).into(), ip(self.dst_ip).into()));
        let init_cwnd = if self.init_cwnd < self.mss && self.details.is_none() {
            Bytes::from_packets(u64::from(self.init_cwnd), self.mss)
        } else {
            Bytes(u64::from(self.init_cwnd))
        };
        let mut flow = FlowInfo::new(
            self.sock_id,
            SocketAddr::new(src, port("src_port", self.src_port)?),
            SocketAddr::new(dst, port("dst_port", self.dst_port)?),
            self.mss,
            init_cwnd,
        );
        flow.requested.clone_from(&self.cong_alg);
        if let Some(details) = &self.details {
            flow.origin = details.origin;
            flow.state = details.state;
            flow.path = self.path;
            flow.attributes = self.attributes.clone();
        }
        Ok(flow)
    }

    /// Which announcement of the flow this is; 0 from datapaths that do not count.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.details.map_or(0, |d| d.generation)
    }

    /// How many invocations of its program had no effect since the announcement before.
    #[must_use]
    pub fn faults(&self) -> u16 {
        self.details.map_or(0, |d| d.faults)
    }

    pub(crate) fn read(sock_id: SockId, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut create = Self {
            sock_id,
            init_cwnd: r.u32("init_cwnd")?,
            mss: r.u32("mss")?,
            src_ip: r.u32("src_ip")?,
            src_port: r.u32("src_port")?,
            dst_ip: r.u32("dst_ip")?,
            dst_port: r.u32("dst_port")?,
            cong_alg: cong_alg(r)?,
            details: None,
            path: None,
            attributes: Attributes::default(),
        };
        if r.left() >= CreateDetails::WIRE_LEN {
            create.details = Some(CreateDetails::read(r)?);
            if r.left() >= PATH_LEN {
                let path = PathId {
                    connection: r.u32("connection")?,
                    path: r.u32("path")?,
                };
                create.path = (path != NO_PATH).then_some(path);
                create.attributes = attributes(r)?;
            }
        }
        Ok(create)
    }
}

/// What `PathId` takes.
const PATH_LEN: usize = 8;
/// Stands where attributes follow and the flow is no way of a connection with several.
const NO_PATH: PathId = PathId {
    connection: u32::MAX,
    path: u32::MAX,
};

impl Encode for Create {
    fn encode(&self, dst: &mut BytesMut) -> Result<(), EncodeError> {
        write::frame(dst, Kind::Create, self.sock_id, MAX_FRAME, |dst| {
            for number in [
                self.init_cwnd,
                self.mss,
                self.src_ip,
                self.src_port,
                self.dst_ip,
                self.dst_port,
            ] {
                dst.put_u32_le(number);
            }
            put_cong_alg(dst, self.cong_alg.as_deref())?;
            let Some(details) = &self.details else {
                return Ok(());
            };
            details.write(dst)?;
            if self.path == Some(NO_PATH) {
                return Err(EncodeError::BadText {
                    kind: Kind::Create,
                    field: "path",
                    problem: "stands for none if all its bits are set",
                });
            }
            let none = (!self.attributes.is_empty()).then_some(NO_PATH);
            if let Some(path) = self.path.or(none) {
                dst.put_u32_le(path.connection);
                dst.put_u32_le(path.path);
            }
            put_attributes(dst, &self.attributes)
        })
    }
}

impl CreateDetails {
    /// Its length in bytes.
    pub const WIRE_LEN: usize = 64;

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let family = r.u8("family")?;
        let origin = match r.u8("origin")? {
            0 => Origin::New,
            1 => Origin::Adopted,
            2 => Origin::Resumed,
            other => {
                return Err(r.bad(
                    "origin",
                    "0 (new), 1 (adopted) or 2 (resumed)",
                    u64::from(other),
                ));
            }
        };
        let faults = r.u16("faults")?;
        let src: [u8; 16] = r.array("src")?;
        let dst: [u8; 16] = r.array("dst")?;
        let v4 = |[a, b, c, d, ..]: [u8; 16]| IpAddr::from([a, b, c, d]);
        let addresses = match family {
            0 => None,
            4 => Some((v4(src), v4(dst))),
            6 => Some((
                IpAddr::V6(Ipv6Addr::from(src)),
                IpAddr::V6(Ipv6Addr::from(dst)),
            )),
            other => return Err(r.bad("family", "0 (none), 4 or 6", u64::from(other))),
        };
        Ok(Self {
            addresses,
            origin,
            faults,
            generation: r.u32("generation")?,
            state: FlowState {
                cwnd: Bytes(r.u64("cwnd")?),
                rate: Rate(r.u64("rate")?),
                srtt: Micros(u64::from(r.u32("srtt_us")?)),
                min_rtt: Micros(u64::from(r.u32("min_rtt_us")?)),
            },
        })
    }

    fn write(&self, dst: &mut BytesMut) -> Result<(), EncodeError> {
        let (family, src, dst_ip) = match self.addresses {
            None => (0, [0; 16], [0; 16]),
            Some((IpAddr::V4(src), IpAddr::V4(dst))) => (4, wide(src), wide(dst)),
            Some((IpAddr::V6(src), IpAddr::V6(dst))) => (6, src.octets(), dst.octets()),
            Some((src, _)) => {
                return Err(EncodeError::BadText {
                    kind: Kind::Create,
                    field: "addresses",
                    problem: if src.is_ipv4() {
                        "are IPv4 at the local and IPv6 at the remote end"
                    } else {
                        "are IPv6 at the local and IPv4 at the remote end"
                    },
                });
            }
        };
        let micros = |span: Micros| u32::try_from(span.0).unwrap_or(u32::MAX);
        dst.put_u8(family);
        dst.put_u8(match self.origin {
            Origin::New => 0,
            Origin::Adopted => 1,
            Origin::Resumed => 2,
        });
        dst.put_u16_le(self.faults);
        dst.put_slice(&src);
        dst.put_slice(&dst_ip);
        dst.put_u32_le(self.generation);
        dst.put_u64_le(self.state.cwnd.0);
        dst.put_u64_le(self.state.rate.0);
        dst.put_u32_le(micros(self.state.srtt));
        dst.put_u32_le(micros(self.state.min_rtt));
        Ok(())
    }
}

fn wide(ip: Ipv4Addr) -> [u8; 16] {
    let [a, b, c, d] = ip.octets();
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// How attributes begin.
const ATTRIBUTE_LEN: usize = 4;
const NUMBER: u8 = 0;
const TEXT: u8 = 1;

fn attributes(r: &mut Reader<'_>) -> Result<Attributes, DecodeError> {
    let mut all = Vec::new();
    let mut seen = 0;
    while r.left() >= ATTRIBUTE_LEN {
        let name_len = r.u8("attribute")?;
        let kind = r.u8("attribute")?;
        let len = r.u16("attribute")?;
        if name_len == 0 {
            break;
        }
        seen += 1;
        if seen > MOST_ATTRIBUTES {
            return Err(r.bad("attributes", "at most 32", seen as u64));
        }
        let name = text(r, "attribute's name", name_len.into())?;
        let value = match kind {
            NUMBER if usize::from(len) == size_of::<u64>() => {
                AttributeValue::Number(r.u64("attribute's value")?)
            }
            NUMBER => return Err(r.bad("attribute's length", "8 for a number", len.into())),
            TEXT => AttributeValue::Text(text(r, "attribute's value", len.into())?.into()),
            _ => {
                r.bytes("attribute's value", len.into())?;
                continue;
            }
        };
        // Those that everybody knows cost no memory.
        let known = [
            Attribute::CGROUP,
            Attribute::NETNS,
            Attribute::UID,
            Attribute::MARK,
        ];
        let known = known.into_iter().find(|known| *known == name);
        let name = known.map_or_else(|| Cow::Owned(name.to_owned()), Cow::Borrowed);
        all.push(Attribute { name, value });
    }
    Ok(all.into_iter().collect())
}

fn text<'a>(r: &mut Reader<'a>, field: &'static str, len: usize) -> Result<&'a str, DecodeError> {
    str::from_utf8(r.bytes(field, len)?).map_err(|_| r.bad_text(field, "is not UTF-8"))
}

fn put_attributes(dst: &mut BytesMut, attributes: &Attributes) -> Result<(), EncodeError> {
    let bad = |problem| EncodeError::BadText {
        kind: Kind::Create,
        field: "attributes",
        problem,
    };
    if attributes.iter().len() > MOST_ATTRIBUTES {
        return Err(bad("are more than 32"));
    }
    for attribute in attributes {
        let name_len = u8::try_from(attribute.name.len())
            .ok()
            .filter(|len| *len > 0)
            .ok_or_else(|| bad("have a name that is empty or longer than 255 bytes"))?;
        let (kind, len) = match &attribute.value {
            AttributeValue::Number(_) => (NUMBER, 8),
            AttributeValue::Text(text) => (
                TEXT,
                u16::try_from(text.len())
                    .map_err(|_| bad("have a text that is longer than 65,535 bytes"))?,
            ),
        };
        dst.put_u8(name_len);
        dst.put_u8(kind);
        dst.put_u16_le(len);
        dst.put_slice(attribute.name.as_bytes());
        match &attribute.value {
            AttributeValue::Number(number) => dst.put_u64_le(*number),
            AttributeValue::Text(text) => dst.put_slice(text.as_bytes()),
        }
    }
    Ok(())
}

fn cong_alg(r: &mut Reader<'_>) -> Result<Option<String>, DecodeError> {
    let bytes = r.bytes("cong_alg", CONG_ALG_LEN)?;
    let Some(name) = bytes
        .split(|b| *b == 0)
        .next()
        .filter(|n| n.len() < CONG_ALG_LEN)
    else {
        return Err(r.bad_text("cong_alg", "does not end with a NUL"));
    };
    match str::from_utf8(name) {
        Ok("") => Ok(None),
        Ok(name) => Ok(Some(name.to_owned())),
        Err(_) => Err(r.bad_text("cong_alg", "is not UTF-8")),
    }
}

fn put_cong_alg(dst: &mut BytesMut, name: Option<&str>) -> Result<(), EncodeError> {
    let name = name.unwrap_or("");
    let bad = |problem| EncodeError::BadText {
        kind: Kind::Create,
        field: "cong_alg",
        problem,
    };
    let padding = CONG_ALG_LEN
        .checked_sub(name.len())
        .filter(|room| *room > 0)
        .ok_or_else(|| bad("is longer than 63 bytes"))?;
    if name.contains('\0') {
        return Err(bad("has a NUL in it"));
    }
    dst.put_slice(name.as_bytes());
    dst.put_bytes(0, padding);
    Ok(())
}

#[cfg(test)]
mod tests;
