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
    TcpActiveOpens TcpPassiveOpens TcpAttemptFails TcpEstabResets TcpCurrEstab TcpInSegs TcpOutSegs TcpRetransSegs
    TcpInErrs TcpOutRsts TcpInCsumErrors
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
    TcpExtSyncookiesSent TcpExtSyncookiesRecv TcpExtSyncookiesFailed TcpExtEmbryonicRsts TcpExtPruneCalled
    TcpExtRcvPruned TcpExtOfoPruned TcpExtOutOfWindowIcmps TcpExtLockDroppedIcmps TcpExtArpFilter TcpExtTW
    TcpExtTWRecycled TcpExtTWKilled TcpExtPAWSPassive TcpExtPAWSActive TcpExtPAWSEstab TcpExtBeyondWindow TcpExtTSEcrRejected
    TcpExtPAWSOldAck TcpExtPAWSTimewait TcpExtDelayedACKs TcpExtDelayedACKLocked TcpExtDelayedACKLost
    TcpExtListenOverflows TcpExtListenDrops TcpExtTCPHPHits TcpExtTCPPureAcks TcpExtTCPHPAcks
    TcpExtTCPRenoRecovery TcpExtTCPSackRecovery TcpExtTCPSACKReneging TcpExtTCPSACKReorder
    TcpExtTCPRenoReorder TcpExtTCPTSReorder TcpExtTCPFullUndo TcpExtTCPPartialUndo TcpExtTCPDSACKUndo
    TcpExtTCPLossUndo TcpExtTCPLostRetransmit TcpExtTCPRenoFailures TcpExtTCPSackFailures
    TcpExtTCPLossFailures TcpExtTCPFastRetrans TcpExtTCPSlowStartRetrans TcpExtTCPTimeouts
    TcpExtTCPLossProbes TcpExtTCPLossProbeRecovery TcpExtTCPRenoRecoveryFail TcpExtTCPSackRecoveryFail
    TcpExtTCPRcvCollapsed TcpExtTCPDSACKOldSent TcpExtTCPDSACKOfoSent TcpExtTCPDSACKRecv
    TcpExtTCPDSACKOfoRecv TcpExtTCPAbortOnData TcpExtTCPAbortOnClose TcpExtTCPAbortOnMemory
    TcpExtTCPAbortOnTimeout TcpExtTCPAbortOnLinger TcpExtTCPAbortFailed TcpExtTCPMemoryPressures
    TcpExtTCPMemoryPressuresChrono TcpExtTCPSACKDiscard
    TcpExtTCPDSACKIgnoredOld TcpExtTCPDSACKIgnoredNoUndo TcpExtTCPSpuriousRTOs TcpExtTCPDeferAcceptDrop
    TcpExtIPReversePathFilter TcpExtTCPTimeWaitOverflow TcpExtTCPReqQFullDoCookies TcpExtTCPReqQFullDrop
    TcpExtTCPRetransFail TcpExtTCPRcvCoalesce TcpExtTCPOFOQueue TcpExtTCPOFODrop TcpExtTCPOFOMerge
    TcpExtTCPChallengeACK TcpExtTCPSYNChallenge TcpExtTCPFastOpenActive TcpExtTCPFastOpenActiveFail
    TcpExtTCPFastOpenPassive TcpExtTCPFastOpenPassiveFail TcpExtTCPFastOpenListenOverflow
    TcpExtTCPFastOpenCookieReqd TcpExtTCPFastOpenBlackhole TcpExtTCPAutoCorking TcpExtTCPFromZeroWindowAdv
    TcpExtTCPToZeroWindowAdv TcpExtTCPWantZeroWindowAdv TcpExtTCPSynRetrans TcpExtTCPOrigDataSent
    TcpExtTCPHystartTrainDetect TcpExtTCPHystartTrainCwnd TcpExtTCPHystartDelayDetect
    TcpExtTCPHystartDelayCwnd TcpExtTCPACKSkippedSynRecv TcpExtTCPACKSkippedPAWS TcpExtTCPACKSkippedSeq
    TcpExtTCPACKSkippedFinWait2 TcpExtTCPACKSkippedTimeWait TcpExtTCPACKSkippedChallenge TcpExtTCPWinProbe
    TcpExtTCPKeepAlive TcpExtTCPMTUPFail TcpExtTCPMTUPSuccess TcpExtTCPDelivered TcpExtTCPDeliveredCE
    TcpExtTCPAckCompressed TcpExtTCPZeroWindowDrop TcpExtTCPRcvQDrop TcpExtTCPWqueueTooBig
    TcpExtTcpTimeoutRehash TcpExtTcpDuplicateDataRehash TcpExtTCPDSACKRecvSegs TcpExtTCPDSACKIgnoredDubious
    TcpExtTCPFastOpenPassiveAltKey TcpExtTCPMigrateReqSuccess TcpExtTCPMigrateReqFailure
    TcpExtTCPMD5Unexpected
    IpExtInNoRoutes IpExtInTruncatedPkts IpExtInMcastPkts IpExtOutMcastPkts IpExtInBcastPkts IpExtOutBcastPkts
    IpExtInOctets IpExtOutOctets IpExtInMcastOctets IpExtOutMcastOctets IpExtInBcastOctets IpExtOutBcastOctets
    IpExtInCsumErrors IpExtInNoECTPkts IpExtInECT1Pkts IpExtInECT0Pkts IpExtInCEPkts IpExtReasmOverlaps
}

/// Counters that are made together when one of them first counts: most hosts never use most of them.
const BLOCK: usize = 16;

/// A host's counters; all start at 0.
#[derive(Clone, Debug, Default)]
pub struct Mib([Option<Box<[u64; BLOCK]>>; COUNTERS.len().div_ceil(BLOCK)]);

#[cold]
fn first_count(block: &mut Option<Box<[u64; BLOCK]>>, at: usize, n: u64) {
    block.get_or_insert_default()[at] = n;
}

impl Mib {
    /// Adds one.
    #[inline]
    pub(crate) fn inc(&mut self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Adds `n`.
    #[inline]
    pub(crate) fn add(&mut self, counter: Counter, n: u64) {
        let at = counter as usize; // an enum without values counts from 0
        match &mut self.0[at / BLOCK] {
            Some(block) => block[at % BLOCK] += n,
            none => first_count(none, at % BLOCK, n),
        }
    }

    /// Takes one off a gauge (`TcpCurrEstab`).
    pub(crate) fn sub(&mut self, counter: Counter) {
        let at = counter as usize; // as above
        let block = self.0[at / BLOCK].as_mut().expect("what goes down went up before");
        block[at % BLOCK] -= 1;
    }

    /// The value of one counter.
    pub fn value(&self, counter: Counter) -> u64 {
        let at = counter as usize; // as above
        self.0[at / BLOCK].as_ref().map_or(0, |block| block[at % BLOCK])
    }

    /// Every counter that is not 0, with its name.
    pub fn non_zero(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        COUNTERS.iter().map(|(c, name)| (*name, self.value(*c))).filter(|(_, v)| *v != 0)
    }
}

/// `IcmpMsg*`: counters by ICMP type, which `nstat` shows besides those with names.
const ICMP_MSG: &[(&str, Counter)] = &[
    ("IcmpMsgInType0", Counter::IcmpInEchoReps),
    ("IcmpMsgInType3", Counter::IcmpInDestUnreachs),
    ("IcmpMsgInType4", Counter::IcmpInSrcQuenchs),
    ("IcmpMsgInType5", Counter::IcmpInRedirects),
    ("IcmpMsgInType8", Counter::IcmpInEchos),
    ("IcmpMsgInType11", Counter::IcmpInTimeExcds),
    ("IcmpMsgInType12", Counter::IcmpInParmProbs),
    ("IcmpMsgInType13", Counter::IcmpInTimestamps),
    ("IcmpMsgInType14", Counter::IcmpInTimestampReps),
    ("IcmpMsgOutType0", Counter::IcmpOutEchoReps),
    ("IcmpMsgOutType3", Counter::IcmpOutDestUnreachs),
    ("IcmpMsgOutType5", Counter::IcmpOutRedirects),
    ("IcmpMsgOutType8", Counter::IcmpOutEchos),
    ("IcmpMsgOutType11", Counter::IcmpOutTimeExcds),
    ("IcmpMsgOutType12", Counter::IcmpOutParmProbs),
    ("IcmpMsgOutType13", Counter::IcmpOutTimestamps),
    ("IcmpMsgOutType14", Counter::IcmpOutTimestampReps),
];

/// Which group of /proc/net/snmp a counter's name begins with.
const SNMP_GROUPS: &[&str] = &["Icmp", "Udp", "Ip"];

impl Mib {
    /// `nstat -as`: a line for each counter that is not 0, with the name, the value and a rate of 0.0 (`nstat`
    /// needs its daemon for rates).
    pub fn nstat(&self) -> String {
        use core::fmt::Write;
        let mut text = String::from("#kernel\n");
        let line = |text: &mut String, name: &str, value: u64| {
            writeln!(text, "{name:<32}{value:<16}   0.0").expect("a String takes everything");
        };
        let mut msgs_done = false;
        for (name, value) in self.non_zero() {
            if !msgs_done && (name.starts_with("Udp") || name.starts_with("Ip6") || name.starts_with("IpExt"))
            {
                msgs_done = true;
                self.icmp_msgs(&mut text, line);
            }
            line(&mut text, name, value);
        }
        if !msgs_done {
            self.icmp_msgs(&mut text, line);
        }
        text
    }

    fn icmp_msgs(&self, text: &mut String, line: impl Fn(&mut String, &str, u64)) {
        for (name, counter) in ICMP_MSG {
            if self.value(*counter) != 0 {
                line(text, name, self.value(*counter));
            }
        }
    }

    /// `/proc/net/snmp` (and of `/proc/net/netstat` the `IpExt` group): two lines a group, names and values.
    pub fn proc_net_snmp(&self) -> String {
        use core::fmt::Write;
        let mut text = String::new();
        for group in ["Ip", "Icmp", "Udp", "IpExt"] {
            let (mut names, mut values) = (format!("{group}:"), format!("{group}:"));
            for (counter, name) in COUNTERS {
                if let Some(rest) = group_of(name).filter(|(g, _)| *g == group).map(|(_, rest)| rest) {
                    write!(names, " {rest}").expect("a String takes everything");
                    write!(values, " {}", self.value(*counter)).expect("a String takes everything");
                }
            }
            writeln!(text, "{names}\n{values}").expect("a String takes everything");
        }
        text
    }
}

/// A counter's IPv4 group and its name within it; `None` for IPv6 and TCP.
fn group_of(name: &'static str) -> Option<(&'static str, &'static str)> {
    if let Some(rest) = name.strip_prefix("IpExt") {
        return Some(("IpExt", rest));
    }
    let (group, rest) = SNMP_GROUPS.iter().find_map(|g| name.strip_prefix(g).map(|rest| (*g, rest)))?;
    (!rest.starts_with('6')).then_some((group, rest))
}

impl crate::Stack {
    /// The counters.
    pub fn mib(&self) -> &Mib {
        &self.mib
    }

    /// `nstat -as`: see [`Mib::nstat`].
    pub fn nstat(&self) -> String {
        self.mib.nstat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_nstats_order_with_icmp_types_after_icmp() {
        let mut mib = Mib::default();
        mib.add(Counter::IpInReceives, 7);
        mib.inc(Counter::IcmpInEchos);
        mib.inc(Counter::UdpNoPorts);
        let text = mib.nstat();
        let names: Vec<_> = text.lines().skip(1).map(|l| l.split_whitespace().next().unwrap()).collect();
        assert_eq!(names, ["IpInReceives", "IcmpInEchos", "IcmpMsgInType8", "UdpNoPorts"]);
        assert!(text.contains("IpInReceives                    7                  0.0\n"), "{text}");
    }

    #[test]
    fn proc_net_snmp_pairs_names_and_values() {
        let mut mib = Mib::default();
        mib.inc(Counter::UdpNoPorts);
        let text = mib.proc_net_snmp();
        assert!(text.contains("\nUdp: InDatagrams NoPorts InErrors"), "{text}");
        assert!(text.contains("\nUdp: 0 1 0"), "{text}");
        assert!(!text.contains("6InReceives"), "{text}");
    }
}
