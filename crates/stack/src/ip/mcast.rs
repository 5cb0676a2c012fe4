//! Which groups an interface is a member of, and when it says so: the host side of IGMP (RFC 1112, 2236, 3376)
//! and MLD (RFC 2710, 3810). Linux: net/ipv4/igmp.c, net/ipv6/mcast.c. What the messages look like:
//! `igmp.rs` and `mld.rs`.
//!
//! Memberships are counted and without source lists: every group is in the mode "exclude nobody".

use core::time::Duration;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::Instant;

use super::TimerEvent;
use crate::record::IfIndex;
use crate::rng::Rng;
use crate::timer::TimerId;
use crate::{Stack, TimerKey};

/// `IGMP_QUERY_INTERVAL` and `MLD_QI`: until a querier says otherwise.
const QUERY_INTERVAL: Duration = Duration::from_secs(125);
/// Ticks that Linux adds to every random delay.
const TIMER_SLACK_TICKS: u32 = 2;
/// Groups that one interface can be a member of, as sockets and addresses ask for them.
const MAX_GROUPS: usize = 65_536;

/// Which membership protocol an interface speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Igmp,
    Mld,
}

impl Protocol {
    fn of(group: IpAddr) -> Protocol {
        if group.is_ipv4() { Protocol::Igmp } else { Protocol::Mld }
    }
}

/// How old the querier is: its version is spoken with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// IGMPv1.
    One,
    /// IGMPv2, MLDv1.
    Two,
    /// IGMPv3, MLDv2.
    Three,
}

/// When a report is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReportTimer {
    /// Changes of membership (`mr_ifc_timer`, `mc_ifc_work`).
    Change,
    /// The answer to a general query (`mr_gq_timer`, `mc_gq_work`).
    General,
    /// One group's (`im->timer`, `mca_work`).
    Group(IpAddr),
    /// The repetition after duplicate address detection (`mc_dad_work`).
    Dad,
}

/// One group on one interface (`struct ip_mc_list`, `struct ifmcaddr6`).
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) addr: IpAddr,
    users: u32,
    /// Change records still to be sent (`crcount`).
    changes: u32,
    timer: Option<TimerId>,
    /// Unsolicited reports still to be sent to an old querier.
    unsolicited: u32,
    /// We were the last to report it to an old querier, so we say when we leave.
    reporter: bool,
}

/// One interface's groups of one family. Newest first, as in Linux's lists: reports show the order.
#[derive(Clone, Debug, Default)]
struct Membership {
    groups: Vec<Group>,
    /// Groups left, and change records still to be sent about them.
    left: Vec<(IpAddr, u32)>,
    change_count: u32,
    change: Option<TimerId>,
    general: Option<TimerId>,
    /// Until when a querier of version 1 and 2 counts as present.
    old_querier: [Option<Instant>; 2],
    robustness: Option<u32>,
    query_interval: Option<Duration>,
    dad_count: u32,
}

/// All memberships of a host.
#[derive(Clone, Debug)]
pub(crate) struct Memberships {
    /// By interface and family (`true` is IPv6), sorted: a host has four of them.
    links: Vec<((IfIndex, bool), Membership)>,
    rng: Rng,
}

impl Memberships {
    pub(crate) fn new(rng: &Rng) -> Memberships {
        Memberships { links: Vec::new(), rng: rng.fork("membership") }
    }

    /// `ip_check_mc_rcu`, `ipv6_chk_mcast_addr`.
    pub(crate) fn is_member(&self, ifindex: IfIndex, group: IpAddr) -> bool {
        self.find(ifindex, group.is_ipv6())
            .is_ok_and(|at| self.links[at].1.groups.iter().any(|g| g.addr == group))
    }

    /// Where the link stands, or would.
    fn find(&self, ifindex: IfIndex, ipv6: bool) -> Result<usize, usize> {
        self.links.binary_search_by_key(&(ifindex, ipv6), |(key, _)| *key)
    }

    /// `ip maddr`: every group with its number of users.
    fn iter(&self) -> impl Iterator<Item = (IfIndex, IpAddr, u32)> + '_ {
        self.links
            .iter()
            .flat_map(|((ifindex, _), link)| link.groups.iter().map(|g| (*ifindex, g.addr, g.users)))
    }

    fn link(&mut self, ifindex: IfIndex, protocol: Protocol) -> &mut Membership {
        let ipv6 = protocol == Protocol::Mld;
        let at = self.find(ifindex, ipv6).unwrap_or_else(|at| {
            self.links.insert(at, ((ifindex, ipv6), Membership::default()));
            at
        });
        &mut self.links[at].1
    }
}

/// Groups that every member has without saying so.
fn never_reported(group: IpAddr, link_local_reports: bool) -> bool {
    match group {
        IpAddr::V4(g) => {
            g == Ipv4Addr::new(224, 0, 0, 1) || (!link_local_reports && g.octets()[..3] == [224, 0, 0])
        }
        IpAddr::V6(g) => g == Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1) || g.octets()[1] & 0x0f < 2,
    }
}

/// The group whose membership says that the interface is up.
fn is_all_nodes(group: IpAddr) -> bool {
    group == IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1))
        || group == IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1))
}

impl Stack {
    /// `ip maddr show`: interface, group and users of each membership.
    pub fn memberships(&self) -> Vec<(IfIndex, IpAddr, u32)> {
        self.ip.mcast.iter().collect()
    }

    /// Joins `group` on the interface once more (counted): what IGMP and MLD report and input lets in. The
    /// all-nodes groups are joined when an interface goes up; then the others are reported, too.
    pub(crate) fn mcast_join(&mut self, now: Instant, ifindex: IfIndex, group: IpAddr) {
        let protocol = Protocol::of(group);
        let link = self.ip.mcast.link(ifindex, protocol);
        if let Some(known) = link.groups.iter_mut().find(|g| g.addr == group) {
            known.users += 1;
            return;
        }
        if link.groups.len() >= MAX_GROUPS {
            return;
        }
        let new = Group { addr: group, users: 1, changes: 0, timer: None, unsolicited: 0, reporter: false };
        crate::socket::slab::grow_by_one(&mut link.groups);
        link.groups.insert(0, new);
        if is_all_nodes(group) {
            let others: Vec<IpAddr> = link.groups.iter().skip(1).map(|g| g.addr).collect();
            for other in others.into_iter().rev() {
                self.group_added(now, ifindex, other);
            }
        } else {
            self.group_added(now, ifindex, group);
        }
    }

    /// Undoes one [`Stack::mcast_join`].
    pub(crate) fn mcast_leave(&mut self, now: Instant, ifindex: IfIndex, group: IpAddr) {
        let protocol = Protocol::of(group);
        let link = self.ip.mcast.link(ifindex, protocol);
        let Some(at) = link.groups.iter().position(|g| g.addr == group) else { return };
        link.groups[at].users -= 1;
        if link.groups[at].users > 0 {
            return;
        }
        let gone = link.groups.remove(at);
        if is_all_nodes(group) {
            self.membership_down(ifindex, protocol);
        } else {
            self.group_dropped(now, ifindex, &gone);
        }
        if let Some(timer) = gone.timer {
            self.timers.cancel(timer);
        }
    }

    /// `igmp_group_added`, `igmp6_group_added`.
    fn group_added(&mut self, now: Instant, ifindex: IfIndex, group: IpAddr) {
        if !self.reports_on(ifindex, group) {
            return;
        }
        let protocol = Protocol::of(group);
        let robustness = self.robustness(ifindex, protocol);
        let version = self.membership_version(now, ifindex, protocol);
        let link = self.ip.mcast.link(ifindex, protocol);
        link.left.retain(|(left, _)| *left != group);
        let Some(member) = link.groups.iter_mut().find(|g| g.addr == group) else { return };
        if version == Version::Three {
            member.changes = robustness;
            self.change_event(now, ifindex, protocol);
        } else {
            member.unsolicited = robustness;
            self.arm_report(now, ifindex, protocol, ReportTimer::Group(group), Duration::ZERO);
        }
    }

    /// `igmp_group_dropped`, `igmp6_group_dropped`.
    fn group_dropped(&mut self, now: Instant, ifindex: IfIndex, gone: &Group) {
        let group = gone.addr;
        if !self.reports_on(ifindex, group) {
            return;
        }
        let protocol = Protocol::of(group);
        match self.membership_version(now, ifindex, protocol) {
            Version::One => {}
            Version::Two => {
                if gone.reporter {
                    self.send_leave(now, ifindex, group);
                }
            }
            Version::Three => {
                let robustness = self.robustness(ifindex, protocol);
                self.ip.mcast.link(ifindex, protocol).left.insert(0, (group, robustness));
                self.change_event(now, ifindex, protocol);
            }
        }
    }

    /// The interface went down: nothing more is sent.
    fn membership_down(&mut self, ifindex: IfIndex, protocol: Protocol) {
        let link = self.ip.mcast.link(ifindex, protocol);
        link.left.clear();
        link.change_count = 0;
        link.old_querier = [None; 2];
        let mut timers = vec![link.change.take(), link.general.take()];
        timers.extend(link.groups.iter_mut().map(|g| g.timer.take()));
        for timer in timers.into_iter().flatten() {
            self.timers.cancel(timer);
        }
    }

    /// `igmp_ifc_event`: change records go out soon, and once more for each lost one that robustness expects.
    fn change_event(&mut self, now: Instant, ifindex: IfIndex, protocol: Protocol) {
        let robustness = self.robustness(ifindex, protocol);
        self.ip.mcast.link(ifindex, protocol).change_count = robustness;
        self.arm_report(now, ifindex, protocol, ReportTimer::Change, Duration::ZERO);
    }

    /// Arms a report timer at a random time within `most`, in place of an earlier one of the same kind.
    fn arm_report(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        protocol: Protocol,
        timer: ReportTimer,
        most: Duration,
    ) {
        let most_ns = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        let random = if most_ns == 0 { 0 } else { self.ip.mcast.rng.below(most_ns) };
        let delay = Duration::from_nanos(random) + self.config.granularity.tick() * TIMER_SLACK_TICKS;
        let key = TimerKey::Ip(TimerEvent::Report { ifindex, protocol, timer });
        let id = self.arm(now, delay, key);
        let link = self.ip.mcast.link(ifindex, protocol);
        let old = match timer {
            ReportTimer::Change => link.change.replace(id),
            ReportTimer::General => link.general.replace(id),
            ReportTimer::Group(group) => match link.groups.iter_mut().find(|g| g.addr == group) {
                Some(member) => member.timer.replace(id),
                None => Some(id),
            },
            ReportTimer::Dad => None,
        };
        if let Some(old) = old {
            self.timers.cancel(old);
        }
    }

    /// A report is due.
    pub(super) fn report_timeout(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        protocol: Protocol,
        timer: ReportTimer,
    ) {
        match timer {
            ReportTimer::Change => {
                self.ip.mcast.link(ifindex, protocol).change = None;
                self.send_changes(now, ifindex, protocol);
                let link = self.ip.mcast.link(ifindex, protocol);
                if link.change_count > 0 {
                    link.change_count -= 1;
                    if link.change_count > 0 {
                        let interval = self.unsolicited_interval(now, ifindex, protocol);
                        self.arm_report(now, ifindex, protocol, ReportTimer::Change, interval);
                    }
                }
            }
            ReportTimer::General => {
                self.ip.mcast.link(ifindex, protocol).general = None;
                let groups = self.reported_groups(ifindex, protocol);
                self.send_report_v3(now, ifindex, protocol, RECORD_IS_EXCLUDE, &groups);
            }
            ReportTimer::Group(group) => self.group_report(now, ifindex, protocol, group),
            ReportTimer::Dad => self.initial_report(now, ifindex),
        }
    }

    /// `igmp_timer_expire`, `mld_mca_work`.
    fn group_report(&mut self, now: Instant, ifindex: IfIndex, protocol: Protocol, group: IpAddr) {
        let version = self.membership_version(now, ifindex, protocol);
        let link = self.ip.mcast.link(ifindex, protocol);
        let Some(member) = link.groups.iter_mut().find(|g| g.addr == group) else { return };
        member.timer = None;
        member.reporter = true;
        let again = member.unsolicited > 1;
        member.unsolicited = member.unsolicited.saturating_sub(1);
        if version == Version::Three {
            self.send_report_v3(now, ifindex, protocol, RECORD_IS_EXCLUDE, &[group]);
        } else {
            self.send_report_old(now, ifindex, group, version);
        }
        if again {
            let interval = self.unsolicited_interval(now, ifindex, protocol);
            self.arm_report(now, ifindex, protocol, ReportTimer::Group(group), interval);
        }
    }

    /// `igmpv3_send_cr`, `mld_send_cr`: first what was left, then what was joined; one packet of each.
    fn send_changes(&mut self, now: Instant, ifindex: IfIndex, protocol: Protocol) {
        let link = self.ip.mcast.link(ifindex, protocol);
        let mut records = Vec::new();
        for (group, count) in &mut link.left {
            *count -= 1;
            records.push((RECORD_TO_INCLUDE, *group));
        }
        link.left.retain(|(_, count)| *count > 0);
        for group in link.groups.iter_mut().filter(|g| g.changes > 0) {
            group.changes -= 1;
            records.push((RECORD_TO_EXCLUDE, group.addr));
        }
        self.send_records(now, ifindex, protocol, &records);
    }

    /// `ipv6_mc_dad_complete`: the link-local address is ours now; what was reported from `::` is said again, twice.
    pub(crate) fn mld_dad_complete(&mut self, now: Instant, ifindex: IfIndex) {
        let robustness = self.robustness(ifindex, Protocol::Mld);
        self.ip.mcast.link(ifindex, Protocol::Mld).dad_count = robustness;
        self.initial_report(now, ifindex);
    }

    /// `mld_send_initial_cr`.
    fn initial_report(&mut self, now: Instant, ifindex: IfIndex) {
        if self.membership_version(now, ifindex, Protocol::Mld) != Version::Three {
            return;
        }
        let groups = self.reported_groups(ifindex, Protocol::Mld);
        self.send_report_v3(now, ifindex, Protocol::Mld, RECORD_TO_EXCLUDE, &groups);
        let link = self.ip.mcast.link(ifindex, Protocol::Mld);
        link.dad_count = link.dad_count.saturating_sub(1);
        if link.dad_count > 0 {
            let interval = self.unsolicited_interval(now, ifindex, Protocol::Mld);
            self.arm_report(now, ifindex, Protocol::Mld, ReportTimer::Dad, interval);
        }
    }

    fn send_report_v3(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        protocol: Protocol,
        kind: u8,
        groups: &[IpAddr],
    ) {
        let records: Vec<(u8, IpAddr)> = groups.iter().map(|g| (kind, *g)).collect();
        self.send_records(now, ifindex, protocol, &records);
    }

    fn send_records(&mut self, now: Instant, ifindex: IfIndex, protocol: Protocol, records: &[(u8, IpAddr)]) {
        if records.is_empty() {
            return;
        }
        match protocol {
            Protocol::Igmp => self.igmp_send_records(now, ifindex, records),
            Protocol::Mld => self.mld_send_records(now, ifindex, records),
        }
    }

    fn reported_groups(&mut self, ifindex: IfIndex, protocol: Protocol) -> Vec<IpAddr> {
        let link_local = self.sysctl.ns.igmp_link_local_mcast_reports != 0;
        let link = self.ip.mcast.link(ifindex, protocol);
        link.groups.iter().map(|g| g.addr).filter(|g| !never_reported(*g, link_local)).collect()
    }

    fn reports_on(&self, ifindex: IfIndex, group: IpAddr) -> bool {
        let Some(dev) = self.net_device(ifindex) else { return false };
        dev.up
            && !dev.is_loopback()
            && !never_reported(group, self.sysctl.ns.igmp_link_local_mcast_reports != 0)
    }

    /// `mr_qrv`, `mc_qrv`: what the querier says, else the host's own.
    fn robustness(&mut self, ifindex: IfIndex, protocol: Protocol) -> u32 {
        let own = match protocol {
            Protocol::Igmp => self.sysctl.ns.igmp_qrv,
            Protocol::Mld => self.sysctl.ns.mld_qrv,
        };
        let link = self.ip.mcast.link(ifindex, protocol);
        link.robustness.unwrap_or(u32::try_from(own).unwrap_or(2))
    }

    /// `IGMP_V1_SEEN`, `IGMP_V2_SEEN`, `mld_in_v1_mode`.
    pub(super) fn membership_version(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        protocol: Protocol,
    ) -> Version {
        match (protocol, self.forced_membership_version(ifindex, protocol)) {
            (Protocol::Igmp, 1) => return Version::One,
            (Protocol::Igmp, 2) | (Protocol::Mld, 1) => return Version::Two,
            (Protocol::Igmp, 3) | (Protocol::Mld, 2) => return Version::Three,
            _ => {}
        }
        let [one, two] = self.ip.mcast.link(ifindex, protocol).old_querier;
        if one.is_some_and(|until| now < until) {
            Version::One
        } else if two.is_some_and(|until| now < until) {
            Version::Two
        } else {
            Version::Three
        }
    }

    /// A query arrived from a querier of `version`. `group` is `None` for a general one.
    pub(super) fn membership_query(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        protocol: Protocol,
        query: &Query,
    ) {
        let mode = self.membership_version(now, ifindex, protocol);
        if query.version == Version::Three && mode == Version::Three {
            let link = self.ip.mcast.link(ifindex, protocol);
            link.robustness = Some(if query.robustness == 0 { 2 } else { u32::from(query.robustness) });
            if !query.interval.is_zero() {
                link.query_interval = Some(query.interval);
            }
            if query.group.is_none() {
                let random = query.max_response;
                self.arm_report(now, ifindex, protocol, ReportTimer::General, random);
                return;
            }
        } else if query.version != Version::Three {
            self.old_querier_seen(now, ifindex, protocol, query);
        }
        let wanted: Vec<IpAddr> = self
            .reported_groups(ifindex, protocol)
            .into_iter()
            .filter(|g| query.group.is_none_or(|asked| asked == *g))
            .collect();
        for group in wanted {
            self.arm_report(now, ifindex, protocol, ReportTimer::Group(group), query.max_response);
        }
    }

    /// RFC 3376 §7.2.1: an older querier is spoken to in its version until it has been silent for long.
    fn old_querier_seen(&mut self, now: Instant, ifindex: IfIndex, protocol: Protocol, query: &Query) {
        let robustness = self.robustness(ifindex, protocol);
        let link = self.ip.mcast.link(ifindex, protocol);
        let interval = link.query_interval.unwrap_or(QUERY_INTERVAL);
        let until = now + interval * robustness + query.max_response;
        link.old_querier[usize::from(query.version == Version::Two)] = Some(until);
        link.change_count = 0;
        link.left.clear();
        for timer in [link.change.take(), link.general.take()].into_iter().flatten() {
            self.timers.cancel(timer);
        }
    }

    /// `igmp_heard_report`: somebody else of the group spoke to the old querier; one is enough.
    pub(super) fn membership_heard(&mut self, ifindex: IfIndex, group: IpAddr) {
        let link = self.ip.mcast.link(ifindex, Protocol::of(group));
        let Some(member) = link.groups.iter_mut().find(|g| g.addr == group) else { return };
        member.reporter = false;
        member.unsolicited = 0;
        if let Some(timer) = member.timer.take() {
            self.timers.cancel(timer);
        }
    }

    fn send_report_old(&mut self, now: Instant, ifindex: IfIndex, group: IpAddr, version: Version) {
        match group {
            IpAddr::V4(g) => self.igmp_send_report(now, ifindex, g, version),
            IpAddr::V6(g) => self.mld_send_report(now, ifindex, g),
        }
    }

    fn send_leave(&mut self, now: Instant, ifindex: IfIndex, group: IpAddr) {
        match group {
            IpAddr::V4(g) => self.igmp_send_leave(now, ifindex, g),
            IpAddr::V6(g) => self.mld_send_done(now, ifindex, g),
        }
    }
}

/// MODE_IS_EXCLUDE, CHANGE_TO_INCLUDE_MODE, CHANGE_TO_EXCLUDE_MODE.
const RECORD_IS_EXCLUDE: u8 = 2;
const RECORD_TO_INCLUDE: u8 = 3;
const RECORD_TO_EXCLUDE: u8 = 4;

/// A membership query as both protocols see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query {
    pub(super) version: Version,
    /// `None`: all groups.
    pub(super) group: Option<IpAddr>,
    pub(super) max_response: Duration,
    pub(super) robustness: u8,
    pub(super) interval: Duration,
}

/// Codes of RFC 3376 §4.1.1 and §4.1.7: from 128 on a small floating-point number.
pub(super) fn float8(code: u8) -> u32 {
    let code = u32::from(code);
    if code < 128 { code } else { ((code & 15) | 16) << (((code >> 4) & 7) + 3) }
}

/// Codes of RFC 3810 §5.1.3.
pub(super) fn float16(code: u16) -> u32 {
    let code = u32::from(code);
    if code < 32_768 { code } else { ((code & 0xfff) | 0x1000) << (((code >> 12) & 7) + 3) }
}
