//! Why a packet ends here: every stop has Linux's own name for it.
//!
//! Names and meaning follow `enum skb_drop_reason` (include/net/dropreason-core.h), as `dropwatch` and
//! `perf trace -e skb:kfree_skb` print them.

use core::fmt;

/// Variant, kernel name, meaning.
macro_rules! drop_reasons {
    ($($variant:ident $name:literal $meaning:literal;)*) => {
        /// Why a packet was dropped, after `enum skb_drop_reason`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason {
            $(#[doc = $meaning] $variant,)*
        }
        impl DropReason {
            /// Every reason.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant,)*];
            /// The reason of that name.
            pub fn from_name(name: &str) -> Option<DropReason> {
                Self::ALL.iter().copied().find(|r| r.name() == name)
            }
            /// The kernel's name without `SKB_DROP_REASON_`, such as `NEIGH_QUEUEFULL`.
            pub fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name,)* }
            }
            /// One sentence that says what happened.
            pub fn meaning(self) -> &'static str {
                match self { $(DropReason::$variant => $meaning,)* }
            }
        }
    };
}

drop_reasons! {
    NotSpecified "NOT_SPECIFIED" "dropped for a reason without a name of its own";
    NoSocket "NO_SOCKET" "no socket is bound to the destination port";
    SocketRcvbuff "SOCKET_RCVBUFF" "the socket's receive buffer is full";
    SocketFilter "SOCKET_FILTER" "the connected socket does not take packets of this sender";
    ProtoMem "PROTO_MEM" "the protocol's memory limit is reached";
    PktTooSmall "PKT_TOO_SMALL" "shorter than its header says";
    PktTooBig "PKT_TOO_BIG" "larger than the MTU and may not be fragmented";
    TcpCsum "TCP_CSUM" "the TCP checksum is wrong";
    UdpCsum "UDP_CSUM" "the UDP checksum is wrong";
    IcmpCsum "ICMP_CSUM" "the ICMP checksum is wrong";
    IpCsum "IP_CSUM" "the IPv4 header checksum is wrong";
    IpInhdr "IP_INHDR" "the IP header is malformed";
    IpOthersHost "OTHERHOST" "the frame is for another MAC address";
    IpInAddrErrors "IP_INADDRERRORS" "the destination address is not ours and forwarding is off";
    IpInNoRoutes "IP_INNOROUTES" "no route to the destination";
    IpOutNoRoutes "IP_OUTNOROUTES" "no route for a packet of our own";
    IpRpfilter "IP_RPFILTER" "reverse path filtering: the source is not reachable by this interface";
    IpInvalidSource "IP_INVALID_SOURCE" "an address that must not be a source";
    IpLocalSource "IP_LOCAL_SOURCE" "the source address is one of ours";
    IpInvalidDest "IP_INVALID_DEST" "an address that must not be a destination";
    IpNoproto "IP_NOPROTO" "no handler for this IP protocol";
    IpTtlExceeded "IP_INHDR" "TTL or hop limit ran out";
    UnicastInL2Multicast "UNICAST_IN_L2_MULTICAST" "a unicast IP packet in a broadcast or multicast frame";
    NeighCreatefail "NEIGH_CREATEFAIL" "no neighbour entry could be made: the table is full";
    NeighFailed "NEIGH_FAILED" "the neighbour did not answer";
    NeighQueuefull "NEIGH_QUEUEFULL" "too many packets wait for this neighbour's address";
    NeighDead "NEIGH_DEAD" "the neighbour entry was removed";
    NeighHhFillfail "NEIGH_HH_FILLFAIL" "the link-layer header could not be built";
    DevReady "DEV_READY" "the interface is down";
    DevHdr "DEV_HDR" "no room for the link-layer header";
    FullRing "FULL_RING" "the interface's queue is full";
    QdiscDrop "QDISC_DROP" "the queueing discipline dropped it";
    NetfilterDrop "NETFILTER_DROP" "dropped by netfilter: a filter rule or address translation";
    CpuBacklog "CPU_BACKLOG" "netdev_max_backlog is reached";
    UnhandledProto "UNHANDLED_PROTO" "no handler for this ethertype";
    FragReasmTimeout "FRAG_REASM_TIMEOUT" "fragments of it did not arrive in time";
    FragTooFar "FRAG_TOO_FAR" "fragments too far apart (ipfrag_max_dist)";
    DuplicateFrag "DUPLICATE_FRAG" "the same fragment again";
    FragOverlap "FRAG_OVERLAP" "fragments overlap";
    FragMemory "FRAG_MEMORY" "the fragment memory limit is reached";
    IcmpRatelimit "ICMP_RATELIMIT" "the ICMP rate limit suppressed the error";
    InvalidProto "INVALID_PROTO" "malformed for its protocol";
    Ipv6disabled "IPV6DISABLED" "IPv6 is off on this interface";
    Ipv6BadExthdr "IPV6_BAD_EXTHDR" "a malformed IPv6 extension header";
    Ipv6NdiscFrag "IPV6_NDISC_FRAG" "a fragmented neighbour discovery packet";
    Ipv6NdiscHopLimit "IPV6_NDISC_HOP_LIMIT" "neighbour discovery from beyond the link: hop limit is not 255";
    Ipv6NdiscBadCode "IPV6_NDISC_BAD_CODE" "a neighbour discovery message with a bad code";
    Ipv6NdiscBadOptions "IPV6_NDISC_BAD_OPTIONS" "malformed neighbour discovery options";
    Ipv6NdiscNsOtherhost "IPV6_NDISC_NS_OTHERHOST" "a neighbour solicitation for somebody else";
    ArpInvalid "ARP_INVALID" "an ARP packet that must be ignored";
    Pfmemalloc "PFMEMALLOC" "memory pressure";
    TunnelUnknown "TUNNEL_UNKNOWN" "no tunnel for this outer header or key";
    TunnelRecursion "TUNNEL_RECURSION" "tunnels nested too deeply";
    TcpMd5unexpected "TCP_MD5UNEXPECTED" "signed (MD5), and no key is expected";
    TcpInvalidSequence "TCP_INVALID_SEQUENCE" "outside the receive window";
    TcpInvalidEndSequence "TCP_INVALID_END_SEQUENCE" "ends beyond the receive window while data waits to be read";
    TcpOldSequence "TCP_OLD_SEQUENCE" "an old sequence number: a duplicate";
    TcpOldAck "TCP_OLD_ACK" "acknowledges nothing new";
    TcpTooOldAck "TCP_TOO_OLD_ACK" "acknowledges what was acknowledged long ago";
    TcpAckUnsentData "TCP_ACK_UNSENT_DATA" "acknowledges what was never sent";
    TcpReset "TCP_RESET" "a RST";
    TcpInvalidSyn "TCP_INVALID_SYN" "a SYN within a connection";
    TcpClose "TCP_CLOSE" "the socket is closed";
    TcpOldData "TCP_OLD_DATA" "data that was received before";
    TcpOverwindow "TCP_OVERWINDOW" "data beyond the window";
    TcpZeroWindow "TCP_ZEROWINDOW" "data into a closed window";
    TcpOfomerge "TCP_OFOMERGE" "data that the out-of-order queue holds already";
    TcpRfc7323Paws "TCP_RFC7323_PAWS" "a timestamp from the past";
    TcpRfc7323Tsecr "TCP_RFC7323_TSECR" "echoes a timestamp that was never sent";
    TcpInvalidAckSequence "TCP_INVALID_ACK_SEQUENCE" "the ACK number is not within what was sent";
    TcpAbortOnData "TCP_ABORT_ON_DATA" "data for a socket that nobody reads any more";
    TcpListenOverflow "TCP_LISTEN_OVERFLOW" "the accept queue is full";
    TcpFastopen "TCP_FASTOPEN" "data of a fast-open SYN";
    TcpTimewait "TIMEWAIT" "for a connection in TIME_WAIT";
    TcpFlags "TCP_FLAGS" "a combination of flags that this state does not take";
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
