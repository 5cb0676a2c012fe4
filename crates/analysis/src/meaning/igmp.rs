//! IGMP in words (tcpdump: print-igmp.c), and the group records that MLDv2 shares with IGMPv3.

use std::net::IpAddr;

use wire::igmp::{Message, RecordKind, igmp_records};

use super::Words;

pub(super) fn words(message: &Message, payload: &[u8]) -> Words {
    let short = match *message {
        Message::Query { group, v3, max_response_code } => {
            let version = match (v3, max_response_code) {
                (Some(_), _) => 3,
                (None, 0) => 1,
                (None, _) => 2,
            };
            let group = if group.is_unspecified() { "all groups".to_string() } else { group.to_string() };
            format!("IGMPv{version} query {group}")
        }
        Message::ReportV1 { group } => format!("IGMPv1 report {group}"),
        Message::ReportV2 { group } => format!("IGMPv2 report {group}"),
        Message::Leave { group } => format!("IGMPv2 leave {group}"),
        Message::ReportV3 { records } => {
            let groups: Vec<String> = igmp_records(payload, records)
                .map_while(Result::ok)
                .map(|r| record_words(r.kind, r.group.into(), r.sources.len()))
                .collect();
            format!("IGMPv3 report {}", groups.join(", "))
        }
        Message::Unknown { kind, .. } => format!("IGMP type {kind:#04x}"),
    };
    Words { long: short.clone(), short }
}

/// `239.1.1.1 to_ex`: a change to "exclude nothing" is a join, one to "include nothing" a leave.
pub(super) fn record_words(kind: RecordKind, group: IpAddr, sources: usize) -> String {
    let name = match kind {
        RecordKind::IS_INCLUDE => "is_in",
        RecordKind::IS_EXCLUDE => "is_ex",
        RecordKind::TO_INCLUDE if sources == 0 => "leave",
        RecordKind::TO_INCLUDE => "to_in",
        RecordKind::TO_EXCLUDE if sources == 0 => "join",
        RecordKind::TO_EXCLUDE => "to_ex",
        RecordKind::ALLOW => "allow",
        RecordKind::BLOCK => "block",
        RecordKind(_) => "record",
    };
    if sources == 0 { format!("{group} {name}") } else { format!("{group} {name} {sources} sources") }
}
