//! What root does to a host: `ip link|addr|route|neigh` and `sysctl -w`, as data and as text.
//!
//! One vocabulary for building a topology, for scenario steps and for hosts on the real kernel (which get the
//! same text as real `ip` commands). iproute2: ip/iplink.c, ip/ipaddress.c, ip/iproute.c, ip/ipneigh.c.

mod apply;
mod parse;
#[cfg(test)]
mod tests;
mod text;

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};
use std::net::IpAddr;

use wire::MacAddr;

use crate::Errno;
use crate::iface::{Scope, TunnelMode};
use crate::neigh::NudState;
use crate::route::{Metrics, RouteChange, RouteKind, RouteProtocol, Table};

/// One command.
///
/// ```
/// use stack::admin::Admin;
/// let command = Admin::parse("ip addr add 192.0.2.1/24 dev eth0").unwrap();
/// assert_eq!(command.to_string(), "ip addr add 192.0.2.1/24 dev eth0");
/// let error = Admin::parse("ip addr xx 192.0.2.1/24").unwrap_err();
/// assert_eq!((error.offset, error.len), (8, 2));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admin {
    /// `ip link set dev X …`
    LinkSet {
        /// The interface's name.
        dev: String,
        /// Changes, in order.
        changes: Vec<LinkChange>,
    },
    /// `ip link add NAME type …`
    LinkAdd {
        /// The new interface's name.
        name: String,
        /// What it is.
        kind: NewLink,
    },
    /// `ip link del X`
    LinkDel {
        /// The interface's name.
        dev: String,
    },
    /// `ip addr add|replace|del …`
    Addr(AddrCommand),
    /// `ip addr flush dev X`
    AddrFlush {
        /// The interface's name.
        dev: String,
        /// `-4` or `-6`: only this family.
        ipv6: Option<bool>,
    },
    /// `ip route add|replace|change|append|prepend …`
    Route {
        /// Which.
        change: RouteChange,
        /// The route.
        route: RouteSpec,
    },
    /// `ip route del …`
    RouteDel(RouteSpec),
    /// `ip route flush cache`
    RouteFlushCache,
    /// `ip neigh add|replace|change|del …`
    Neigh(NeighCommand),
    /// `ip neigh flush …`
    NeighFlush {
        /// The interface's name; any when `None`.
        dev: Option<String>,
        /// `-4` or `-6`: only this family.
        ipv6: Option<bool>,
        /// `all`, or permanent and noarp entries stay.
        all: bool,
    },
    /// `ip tcp_metrics flush all|ADDRESS`, `ip tcp_metrics delete ADDRESS`
    TcpMetricsFlush {
        /// What is remembered of this peer; of all when `None`.
        remote: Option<IpAddr>,
    },
    /// `sysctl -w NAME=VALUE`
    Sysctl {
        /// As written, with dots or slashes.
        name: String,
        /// The value.
        value: String,
    },
    /// `ra dev X prefix P/64 …`: this router answers router solicitations. On Linux this is radvd's job and
    /// no command of iproute2.
    RouterAdvert {
        /// The interface's name.
        dev: String,
        /// What is advertised; `None` to stop (`ra dev X off`).
        advertise: Option<crate::iface::Advertise>,
    },
}

/// One change of `ip link set`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// `up` or `down`
    Up(bool),
    /// `mtu N`
    Mtu(u32),
    /// `address MAC`
    Address(MacAddr),
    /// `arp on` or `arp off`
    Arp(bool),
    /// `carrier on` or `carrier off`: the cable, which on Linux only some devices let root pull.
    Carrier(bool),
}

/// What `ip link add` makes, with the names of other interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewLink {
    /// `link L name N type vlan id I`
    Vlan {
        /// The interface below.
        link: String,
        /// 1 to 4094.
        id: u16,
    },
    /// `type ipip|gre|gretap|sit|ip6tnl|ip6gre …`
    Tunnel {
        /// Which kind.
        mode: TunnelMode,
        /// `local`
        local: Option<IpAddr>,
        /// `remote`
        remote: Option<IpAddr>,
        /// `ttl`; `None` is `inherit`, and the default for IPv4.
        ttl: Option<u8>,
        /// `tos`; `None` is `inherit`.
        tos: Option<u8>,
        /// `pmtudisc`, on unless `nopmtudisc`
        pmtudisc: bool,
        /// `key`, for both directions
        key: Option<u32>,
        /// `csum`
        csum: bool,
        /// `seq`
        seq: bool,
        /// `dev`
        dev: Option<String>,
    },
    /// `type vxlan id V …`
    Vxlan {
        /// `id`
        vni: u32,
        /// `local`
        local: Option<IpAddr>,
        /// `remote` or `group`
        remote: Option<IpAddr>,
        /// `dstport`; Linux's default is 8472
        dstport: u16,
        /// `dev`
        dev: Option<String>,
        /// `ttl`; 0 is the host's default
        ttl: u8,
        /// `learning`, on unless `nolearning`
        learning: bool,
    },
}

/// Verbs of `ip addr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddrVerb {
    /// `add`
    Add,
    /// `replace`
    Replace,
    /// `del`
    Del,
}

/// `brd`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broadcast {
    /// `brd +`: the network's last address.
    Auto,
    /// `brd A`
    Address(Ipv4Addr),
}

/// `ip addr add|replace|del …`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddrCommand {
    /// Which.
    pub verb: AddrVerb,
    /// The address.
    pub addr: IpAddr,
    /// Its prefix length; without one, `ip` takes the whole address.
    pub prefix_len: u8,
    /// `peer`, IPv4 only
    pub peer: Option<Ipv4Addr>,
    /// `brd`
    pub broadcast: Option<Broadcast>,
    /// `dev`
    pub dev: String,
    /// `scope`
    pub scope: Option<Scope>,
    /// `label`
    pub label: Option<String>,
    /// `nodad`
    pub nodad: bool,
    /// `noprefixroute`, IPv6 only
    pub noprefixroute: bool,
    /// `valid_lft`, in seconds; all ones is `forever`
    pub valid_lft: u32,
    /// `preferred_lft`
    pub preferred_lft: u32,
}

/// A route, with the names of interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSpec {
    /// Destination network; `default` is the unspecified address with length 0.
    pub dst: IpAddr,
    /// Its prefix length.
    pub prefix_len: u8,
    /// `unicast` unless named.
    pub kind: Option<RouteKind>,
    /// `via`
    pub via: Option<IpAddr>,
    /// `dev`
    pub dev: Option<String>,
    /// `src`
    pub src: Option<IpAddr>,
    /// `metric`
    pub metric: Option<u32>,
    /// `table main` or `table local`
    pub table: Option<Table>,
    /// `scope`
    pub scope: Option<Scope>,
    /// `proto`
    pub proto: Option<RouteProtocol>,
    /// `onlink`
    pub onlink: bool,
    /// `mtu`, `advmss` and so on
    pub metrics: Metrics,
    /// `pref high|medium|low`, IPv6 only
    pub pref: Option<u8>,
    /// `expires N`, in seconds, IPv6 only
    pub expires: Option<u32>,
}

impl RouteSpec {
    /// A route about which nothing but the destination is said.
    pub fn new(dst: IpAddr, prefix_len: u8) -> RouteSpec {
        RouteSpec {
            dst,
            prefix_len,
            kind: None,
            via: None,
            dev: None,
            src: None,
            metric: None,
            table: None,
            scope: None,
            proto: None,
            onlink: false,
            metrics: Metrics::default(),
            pref: None,
            expires: None,
        }
    }
}

/// Verbs of `ip neigh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighVerb {
    /// `add`
    Add,
    /// `replace`
    Replace,
    /// `change`
    Change,
    /// `del`
    Del,
}

/// `ip neigh add|replace|change|del …`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighCommand {
    /// Which.
    pub verb: NeighVerb,
    /// The neighbour's address.
    pub addr: IpAddr,
    /// `dev`
    pub dev: String,
    /// `lladdr`
    pub lladdr: Option<MacAddr>,
    /// `nud`; permanent unless given
    pub nud: Option<NudState>,
    /// `router`
    pub router: bool,
    /// `proxy`: answer for this address
    pub proxy: bool,
}

/// Why a text is not a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminError {
    /// Where the wrong word begins, in bytes.
    pub offset: usize,
    /// How long it is; 0 at the end of the text.
    pub len: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for AdminError {}

/// The host refused a command, in the words of `ip`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminFailure {
    /// The kernel's error, unless `ip` itself refuses.
    pub errno: Option<Errno>,
    /// What `ip` (or `sysctl`) prints: `RTNETLINK answers: File exists`.
    pub message: String,
}

impl AdminFailure {
    /// An error without words of its own.
    pub(crate) fn answer(errno: Errno) -> AdminFailure {
        AdminFailure { errno: Some(errno), message: format!("RTNETLINK answers: {}", errno.text()) }
    }

    /// An error with the kernel's explanation (`NL_SET_ERR_MSG`).
    pub(crate) fn explained(errno: Errno, text: &str) -> AdminFailure {
        AdminFailure { errno: Some(errno), message: format!("Error: {text}.") }
    }
}

impl fmt::Display for AdminFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl core::error::Error for AdminFailure {}

/// The unspecified address of a family.
pub(crate) fn any(ipv6: bool) -> IpAddr {
    if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}
