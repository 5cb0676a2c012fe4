//! The counters of `nstat`: SNMP MIB and Linux's extensions, by their kernel names.
//!
//! Linux: net/ipv4/proc.c, net/ipv6/proc.c (tables of names), include/uapi/linux/snmp.h.

/// Counter variants in `nstat -az` order, with their names.
macro_rules! counters {
    ($($variant:ident)*) => {
        /// One counter; its `Debug` form is `nstat`'s name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the names are nstat's and their meaning is the kernel's")]
        pub enum Counter { $($variant,)* }
        /// All counters with their names, in order.
        pub const COUNTERS: &[(Counter, &str)] = &[$((Counter::$variant, stringify!($variant)),)*];
    };
}

counters! {
    IpInReceives IpInHdrErrors IpInAddrErrors IpForwDatagrams IpInUnknownProtos IpInDiscards IpInDelivers
    IpOutRequests IpOutDiscards IpOutNoRoutes IpReasmTimeout IpReasmReqds IpReasmOKs IpReasmFails IpFragOKs
    IpFragFails IpFragCreates IpOutTransmits
    IcmpInMsgs IcmpInErrors IcmpInCsumErrors IcmpInDestUnreachs IcmpInTimeExcds IcmpInParmProbs IcmpInSrcQuenchs
    IcmpInRedirects IcmpInEchos IcmpInEchoReps IcmpInTimestamps IcmpInTimestampReps IcmpInAddrMasks
    IcmpInAddrMaskReps IcmpOutMsgs IcmpOutErrors IcmpOutRateLimitGlobal IcmpOutRateLimitHost IcmpOutDestUnreachs
    IcmpOutTimeExcds IcmpOutParmProbs IcmpOutSrcQuenchs IcmpOutRedirects IcmpOutEchos IcmpOutEchoReps
    IcmpOutTimestamps IcmpOutTimestampReps IcmpOutAddrMasks IcmpOutAddrMaskReps
    UdpInDatagrams UdpNoPorts UdpInErrors UdpOutDatagrams UdpRcvbufErrors UdpSndbufErrors UdpInCsumErrors
    UdpIgnoredMulti UdpMemErrors
    Ip6InReceives Ip6InHdrErrors Ip6InTooBigErrors Ip6InNoRoutes Ip6InAddrErrors Ip6InUnknownProtos
    Ip6InTruncatedPkts Ip6InDiscards Ip6InDelivers Ip6OutForwDatagrams Ip6OutRequests Ip6OutDiscards
    Ip6OutNoRoutes Ip6ReasmTimeout Ip6ReasmReqds Ip6ReasmOKs Ip6ReasmFails Ip6FragOKs Ip6FragFails
    Ip6FragCreates Ip6InMcastPkts Ip6OutMcastPkts Ip6InOctets Ip6OutOctets Ip6InMcastOctets Ip6OutMcastOctets
    Ip6InBcastOctets Ip6OutBcastOctets Ip6InNoECTPkts Ip6InECT1Pkts Ip6InECT0Pkts Ip6InCEPkts Ip6OutTransmits
    Icmp6InMsgs Icmp6InErrors Icmp6OutMsgs Icmp6OutErrors Icmp6InCsumErrors Icmp6OutRateLimitHost
    Icmp6InDestUnreachs Icmp6InPktTooBigs Icmp6InTimeExcds Icmp6InParmProblems Icmp6InEchos Icmp6InEchoReplies
    Icmp6InGroupMembQueries Icmp6InGroupMembResponses Icmp6InGroupMembReductions Icmp6InRouterSolicits
    Icmp6InRouterAdvertisements Icmp6InNeighborSolicits Icmp6InNeighborAdvertisements Icmp6InRedirects
    Icmp6InMLDv2Reports Icmp6OutDestUnreachs Icmp6OutPktTooBigs Icmp6OutTimeExcds Icmp6OutParmProblems
    Icmp6OutEchos Icmp6OutEchoReplies Icmp6OutGroupMembQueries Icmp6OutGroupMembResponses
    Icmp6OutGroupMembReductions Icmp6OutRouterSolicits Icmp6OutRouterAdvertisements Icmp6OutNeighborSolicits
    Icmp6OutNeighborAdvertisements Icmp6OutRedirects Icmp6OutMLDv2Reports
    Udp6InDatagrams Udp6NoPorts Udp6InErrors Udp6OutDatagrams Udp6RcvbufErrors Udp6SndbufErrors Udp6InCsumErrors
    Udp6IgnoredMulti Udp6MemErrors
    IpExtInNoRoutes IpExtInTruncatedPkts IpExtInMcastPkts IpExtOutMcastPkts IpExtInBcastPkts IpExtOutBcastPkts
    IpExtInOctets IpExtOutOctets IpExtInMcastOctets IpExtOutMcastOctets IpExtInBcastOctets IpExtOutBcastOctets
    IpExtInCsumErrors IpExtInNoECTPkts IpExtInECT1Pkts IpExtInECT0Pkts IpExtInCEPkts IpExtReasmOverlaps
    TcpExtIPReversePathFilter TcpExtLockDroppedIcmps TcpExtArpFilter
}

/// A host's counters; all start at 0.
#[derive(Clone, Debug)]
pub struct Mib(Box<[u64; COUNTERS.len()]>);

impl Default for Mib {
    fn default() -> Self {
        Mib(Box::new([0; COUNTERS.len()]))
    }
}

impl Mib {
    /// Adds one.
    pub(crate) fn inc(&mut self, counter: Counter) {
        self.0[counter as usize] += 1; // an enum without values counts from 0
    }

    /// Adds `n`.
    pub(crate) fn add(&mut self, counter: Counter, n: u64) {
        self.0[counter as usize] += n; // as above
    }

    /// The value of one counter.
    pub fn value(&self, counter: Counter) -> u64 {
        self.0[counter as usize] // as above
    }

    /// Every counter that is not 0, with its name.
    pub fn non_zero(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        COUNTERS.iter().map(|(c, name)| (*name, self.value(*c))).filter(|(_, v)| *v != 0)
    }
}
