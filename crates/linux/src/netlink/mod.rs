//! Reads rtnetlink messages: neighbours, addresses, links, routes. Linux: rtnetlink(7), netlink(7).

mod route;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use stack::neigh::NudState;
use stack::record::{AddrChange, IfIndex};
use wire::MacAddr;

pub(crate) use route::Route;

/// `struct nlmsghdr`
const HEADER: usize = 16;

const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_GETLINK: u16 = 18;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_GETNEIGH: u16 = 30;

/// `NLM_F_REQUEST | NLM_F_DUMP`
const DUMP: u16 = 0x1 | 0x300;

/// One message, as far as we care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// A neighbour entry is so, or is gone (`state` is `None`).
    Neigh { ifindex: IfIndex, addr: IpAddr, lladdr: Option<MacAddr>, state: Option<NudState> },
    /// An address is so, or is gone.
    Addr { ifindex: IfIndex, addr: IpAddr, prefix: u8, change: AddrChange },
    /// An interface is so, or is gone.
    Link { ifindex: IfIndex, name: String, up: bool, carrier: bool, gone: bool },
    /// A route came or went.
    Route { route: Route, added: bool },
    /// The end of a dump.
    Done,
}

/// What can be dumped.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Table {
    Neigh,
    Addr,
    Link,
}

/// The request that makes the kernel send a whole table.
pub(crate) fn dump_request(table: Table, seq: u32) -> Vec<u8> {
    let (ty, body) = match table {
        Table::Neigh => (RTM_GETNEIGH, 12),
        Table::Addr => (RTM_GETADDR, 8),
        Table::Link => (RTM_GETLINK, 16),
    };
    let len = HEADER + body;
    let mut out = Vec::with_capacity(len);
    out.extend_from_slice(&u32::try_from(len).expect("28 fits").to_ne_bytes());
    out.extend_from_slice(&ty.to_ne_bytes());
    out.extend_from_slice(&DUMP.to_ne_bytes());
    out.extend_from_slice(&seq.to_ne_bytes());
    // Port 0 and an all-zero body: any family, any interface.
    out.resize(len, 0);
    out
}

/// Every message in what one `read` returned; unknown kinds are skipped.
pub(crate) fn parse(mut bytes: &[u8]) -> Vec<Message> {
    let mut out = Vec::new();
    while let (Some(len), Some(ty)) = (u32_at(bytes, 0), u16_at(bytes, 4)) {
        let len = len as usize;
        let Some(body) = bytes.get(HEADER..len) else { break };
        out.extend(match ty {
            NLMSG_DONE => Some(Message::Done),
            RTM_NEWNEIGH | RTM_DELNEIGH => neigh(body, ty == RTM_DELNEIGH),
            RTM_NEWADDR | RTM_DELADDR => addr(body, ty == RTM_DELADDR),
            RTM_NEWLINK | RTM_DELLINK => link(body, ty == RTM_DELLINK),
            RTM_NEWROUTE | RTM_DELROUTE => {
                Route::parse(body).map(|route| Message::Route { route, added: ty == RTM_NEWROUTE })
            }
            _ => None,
        });
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    out
}

/// `struct ndmsg`, `NDA_DST` 1, `NDA_LLADDR` 2.
fn neigh(body: &[u8], gone: bool) -> Option<Message> {
    // Bridges and VXLAN announce their forwarding tables as neighbours of the family AF_BRIDGE.
    if !matches!(i32::from(*body.first()?), libc::AF_INET | libc::AF_INET6) {
        return None;
    }
    let ifindex = u32_at(body, 4)?;
    let state = nud_state(u16_at(body, 8)?);
    let attrs = Attributes(body.get(12..)?);
    let addr = attrs.find(1).and_then(ip)?;
    let lladdr = attrs.find(2).and_then(|b| b.first_chunk().copied()).map(MacAddr);
    Some(Message::Neigh { ifindex, addr, lladdr, state: if gone { None } else { Some(state?) } })
}

/// `NUD_*`; `NUD_NONE` (0) is an entry about to be used, not a state that `ip neigh` shows.
fn nud_state(bits: u16) -> Option<NudState> {
    Some(match bits {
        0x01 => NudState::Incomplete,
        0x02 => NudState::Reachable,
        0x04 => NudState::Stale,
        0x08 => NudState::Delay,
        0x10 => NudState::Probe,
        0x20 => NudState::Failed,
        0x40 => NudState::Noarp,
        0x80 => NudState::Permanent,
        _ => return None,
    })
}

/// `struct ifaddrmsg`, `IFA_ADDRESS` 1, `IFA_LOCAL` 2 (the own end of a point-to-point link), `IFA_FLAGS` 8.
fn addr(body: &[u8], gone: bool) -> Option<Message> {
    const DADFAILED: u32 = 0x08;
    const DEPRECATED: u32 = 0x20;
    const TENTATIVE: u32 = 0x40;
    let prefix = *body.get(1)?;
    let ifindex = u32_at(body, 4)?;
    let attrs = Attributes(body.get(8..)?);
    let addr = attrs.find(2).or_else(|| attrs.find(1)).and_then(ip)?;
    let flags = attrs.find(8).and_then(|b| u32_at(b, 0)).unwrap_or_else(|| body[2].into());
    let change = if gone {
        AddrChange::Removed
    } else if flags & DADFAILED != 0 {
        AddrChange::DadFailed
    } else if flags & TENTATIVE != 0 {
        AddrChange::Tentative
    } else if flags & DEPRECATED != 0 {
        AddrChange::Deprecated
    } else {
        AddrChange::Preferred
    };
    Some(Message::Addr { ifindex, addr, prefix, change })
}

/// `struct ifinfomsg`, `IFLA_IFNAME` 3.
fn link(body: &[u8], gone: bool) -> Option<Message> {
    const IFF_UP: u32 = 0x1;
    const IFF_LOWER_UP: u32 = 0x1_0000;
    let ifindex = u32_at(body, 4)?;
    let flags = u32_at(body, 8)?;
    let name = Attributes(body.get(16..)?).find(3).map(text)?;
    Some(Message::Link { ifindex, name, up: flags & IFF_UP != 0, carrier: flags & IFF_LOWER_UP != 0, gone })
}

/// A run of `struct rtattr`.
#[derive(Clone, Copy)]
struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The payload of the first attribute of that type.
    fn find(self, wanted: u16) -> Option<&'a [u8]> {
        let mut rest = self.0;
        while let (Some(len), Some(ty)) = (u16_at(rest, 0), u16_at(rest, 2)) {
            let len = usize::from(len);
            let payload = rest.get(4..len)?;
            // The two upper bits are NLA_F_NESTED and NLA_F_NET_BYTEORDER.
            if ty & 0x3fff == wanted {
                return Some(payload);
            }
            rest = rest.get(len.next_multiple_of(4)..)?;
        }
        None
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk::<4>().map(|b| Ipv4Addr::from(*b).into()),
        16 => bytes.first_chunk::<16>().map(|b| Ipv6Addr::from(*b).into()),
        _ => None,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(ty: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&u16::try_from(4 + payload.len()).unwrap().to_ne_bytes());
        out.extend_from_slice(&ty.to_ne_bytes());
        out.extend_from_slice(payload);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    fn message(ty: u16, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&u32::try_from(HEADER + body.len()).unwrap().to_ne_bytes());
        out.extend_from_slice(&ty.to_ne_bytes());
        out.resize(HEADER, 0);
        out.extend_from_slice(body);
        out
    }

    #[test]
    fn a_neighbour_message_is_read_whole() {
        let mut body = vec![2, 0, 0, 0, 2, 0, 0, 0, 0x08, 0, 0, 1];
        body.extend(attribute(1, &[192, 0, 2, 2]));
        body.extend(attribute(2, &[2, 0, 0, 0, 0, 2]));
        let mut bridge = body.clone();
        bridge[0] = 7;
        assert_eq!(parse(&message(RTM_NEWNEIGH, &bridge)), [], "a VXLAN's forwarding entry is no neighbour");
        let mut bytes = message(RTM_NEWNEIGH, &body);
        bytes.extend(message(RTM_DELNEIGH, &body));
        bytes.extend(message(NLMSG_DONE, &[0; 4]));
        let addr = "192.0.2.2".parse().unwrap();
        let lladdr = Some(MacAddr([2, 0, 0, 0, 0, 2]));
        assert_eq!(
            parse(&bytes),
            [
                Message::Neigh { ifindex: 2, addr, lladdr, state: Some(NudState::Delay) },
                Message::Neigh { ifindex: 2, addr, lladdr, state: None },
                Message::Done,
            ]
        );
        for n in 0..bytes.len() {
            parse(&bytes[..n]);
        }
    }

    #[test]
    fn a_tentative_address_is_told_by_its_flags_attribute() {
        let mut body = vec![10, 64, 0, 0, 2, 0, 0, 0];
        body.extend(attribute(1, &Ipv6Addr::LOCALHOST.octets()));
        body.extend(attribute(8, &0x40_u32.to_ne_bytes()));
        let addr = Ipv6Addr::LOCALHOST.into();
        let change = AddrChange::Tentative;
        assert_eq!(
            parse(&message(RTM_NEWADDR, &body)),
            [Message::Addr { ifindex: 2, addr, prefix: 64, change }]
        );
    }
}
