//! The error queue (`IP_RECVERR`, `MSG_ERRQUEUE`). Linux: net/ipv4/ip_sockglue.c `ip_icmp_error`, `ip_local_error`,
//! `ip_recv_error`; net/core/skbuff.c `sock_dequeue_err_skb`.

use std::net::{IpAddr, SocketAddr};

use wire::Bytes;

use crate::Errno;
use crate::call::Cmsg;

/// `SO_EE_ORIGIN_LOCAL`
pub(crate) const LOCAL: u8 = 1;
/// `SO_EE_ORIGIN_ICMP`
pub(crate) const ICMP: u8 = 2;
/// `SO_EE_ORIGIN_ICMP6`
pub(crate) const ICMP6: u8 = 3;

/// `SO_EE_ORIGIN_TIMESTAMPING`
pub(crate) const TIMESTAMPING: u8 = 4;
/// `SO_EE_ORIGIN_ZEROCOPY`
pub(crate) const ZEROCOPY: u8 = 5;

/// One error that waits to be fetched.
#[derive(Clone, Debug)]
pub(crate) struct QueuedError {
    pub(crate) errno: Errno,
    pub(crate) origin: u8,
    pub(crate) ty: u8,
    pub(crate) code: u8,
    pub(crate) info: u32,
    pub(crate) data: u32,
    /// Who sent it.
    pub(crate) offender: Option<IpAddr>,
    /// Where the packet that it is about was going.
    pub(crate) dst: SocketAddr,
    /// What it quotes of that packet's payload.
    pub(crate) payload: Bytes,
    /// Memory it costs.
    pub(crate) truesize: u32,
    /// When it happened (`SCM_TIMESTAMPING`).
    pub(crate) stamp: Option<wire::Instant>,
}

impl QueuedError {
    /// `is_icmp_err_skb`
    pub(crate) fn is_icmp(&self) -> bool {
        self.origin == ICMP || self.origin == ICMP6
    }

    pub(crate) fn cmsg(&self) -> Cmsg {
        Cmsg::ExtendedErr {
            errno: self.errno,
            origin: self.origin,
            ty: self.ty,
            code: self.code,
            info: self.info,
            data: self.data,
            offender: self.offender,
        }
    }
}
