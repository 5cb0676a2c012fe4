//! Multicast membership of sockets. Linux: net/ipv4/igmp.c `ip_mc_join_group`, net/ipv6/mcast.c `ipv6_sock_mc_join`.

use std::net::{IpAddr, Ipv4Addr};

use wire::Instant;

use crate::call::OptValue;
use crate::record::IfIndex;
use crate::route::Flow;
use crate::{Errno, Stack};

/// A group that a socket has joined on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) group: IpAddr,
    pub(crate) ifindex: IfIndex,
}

impl Stack {
    /// `ip_mc_find_dev`: by number, by address, by the route to the group.
    fn membership_dev(
        &self,
        now: Instant,
        group: IpAddr,
        addr: Option<Ipv4Addr>,
        ifindex: u32,
    ) -> Option<IfIndex> {
        if ifindex != 0 {
            return self.ifaces.get(ifindex).map(|iface| iface.ifindex);
        }
        if let Some(addr) = addr.filter(|a| !a.is_unspecified()) {
            return self.ifaces.owner(addr.into()).map(|iface| iface.ifindex);
        }
        let src = if group.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            std::net::Ipv6Addr::UNSPECIFIED.into()
        };
        self.route_output(now, &Flow { dst: group, src, oif: 0, tos: 0 }).ok().map(|dst| dst.ifindex)
    }

    pub(super) fn join_group(
        &mut self,
        now: Instant,
        sock: u32,
        value: &OptValue,
        ipv6: bool,
    ) -> Result<(), Errno> {
        let (group, dev) = self.membership_args(now, value, ipv6)?;
        let ifindex = dev.ok_or(Errno::ENODEV)?;
        let membership = Membership { group, ifindex };
        let limit = usize::try_from(self.sysctl.ns.igmp_max_memberships).unwrap_or(0);
        let joined = &mut self.sockets.dgrams[sock].memberships;
        if joined.contains(&membership) {
            return Err(Errno::EADDRINUSE);
        }
        if !ipv6 && joined.iter().filter(|m| m.group.is_ipv4()).count() >= limit {
            return Err(Errno::ENOBUFS);
        }
        joined.push(membership);
        self.mcast_join(now, ifindex, group);
        Ok(())
    }

    pub(super) fn leave_group(
        &mut self,
        now: Instant,
        sock: u32,
        value: &OptValue,
        ipv6: bool,
    ) -> Result<(), Errno> {
        let (group, dev) = self.membership_args(now, value, ipv6)?;
        let OptValue::Membership(_, addr, ifindex) = value else { return Err(Errno::EINVAL) };
        let named = *ifindex != 0 || addr.is_some_and(|a| !a.is_unspecified());
        if dev.is_none() {
            return Err(Errno::ENODEV);
        }
        let joined = &mut self.sockets.dgrams[sock].memberships;
        let at = joined.iter().position(|m| m.group == group && (!named || Some(m.ifindex) == dev));
        let left = joined.remove(at.ok_or(Errno::EADDRNOTAVAIL)?);
        self.mcast_leave(now, left.ifindex, left.group);
        Ok(())
    }

    fn membership_args(
        &self,
        now: Instant,
        value: &OptValue,
        ipv6: bool,
    ) -> Result<(IpAddr, Option<IfIndex>), Errno> {
        let OptValue::Membership(group, addr, ifindex) = value else { return Err(Errno::EINVAL) };
        if !group.is_multicast() || group.is_ipv6() != ipv6 {
            return Err(Errno::EINVAL);
        }
        Ok((*group, self.membership_dev(now, *group, *addr, *ifindex)))
    }

    /// The socket is closed: it leaves its groups.
    pub(crate) fn leave_all_groups(&mut self, now: Instant, memberships: Vec<Membership>) {
        for m in memberships {
            self.mcast_leave(now, m.ifindex, m.group);
        }
    }
}
