//! Names of ICMP types and codes (RFC 792, RFC 4443 and the IANA registries) as scripts write them.

use crate::ast::Icmp;

type Codes = &'static [(u8, &'static str)];
type Types = &'static [(u8, &'static str, Codes)];

const UNREACHABLE4: Codes = &[
    (0, "net_unreachable"),
    (1, "host_unreachable"),
    (2, "protocol_unreachable"),
    (3, "port_unreachable"),
    (4, "frag_needed"),
    (5, "source_route_failed"),
    (6, "net_unknown"),
    (7, "host_unknown"),
    (8, "source_host_isolated"),
    (9, "net_prohibited"),
    (10, "host_prohibited"),
    (11, "net_unreachable_for_tos"),
    (12, "host_unreachable_for_tos"),
    (13, "packet_filtered"),
    (14, "precedence_violation"),
    (15, "precedence_cutoff"),
];

const TYPES4: Types = &[
    (0, "echo_reply", &[]),
    (3, "unreachable", UNREACHABLE4),
    (4, "source_quench", &[]),
    (5, "redirect", &[]),
    (8, "echo_request", &[]),
    (11, "time_exceeded", &[]),
    (12, "parameter_problem", &[]),
    (13, "timestamp_request", &[]),
    (14, "timestamp_reply", &[]),
    (15, "information_request", &[]),
    (16, "information_reply", &[]),
    (17, "address_mask_request", &[]),
    (18, "address_mask_reply", &[]),
];

const UNREACHABLE6: Codes = &[
    (0, "net_unreachable"),
    (0, "no_route"),
    (1, "admin_prohibited"),
    (2, "not_neighbour"),
    (3, "address_unreachable"),
    (4, "port_unreachable"),
];

const TYPES6: Types = &[
    (1, "unreachable", UNREACHABLE6),
    (2, "packet_too_big", &[]),
    (3, "time_exceeded", &[(0, "exceeded_hop_limit"), (1, "exceeded_frag_time")]),
    (4, "parameter_problem", &[(0, "header_field"), (1, "unknown_next_header"), (2, "unknown_option")]),
    (128, "echo_request", &[]),
    (129, "echo_reply", &[]),
];

/// Type and code of a script's message. `Err` says which name is unknown.
pub fn numbers(icmp: &Icmp, v6: bool) -> Result<(u8, u8), String> {
    let types = if v6 { TYPES6 } else { TYPES4 };
    let Some((ty, _, codes)) = types.iter().find(|(_, name, _)| *name == icmp.kind) else {
        return Err(format!("unknown ICMP{} type {}", if v6 { "v6" } else { "" }, icmp.kind));
    };
    let Some(code) = &icmp.code else { return Ok((*ty, 0)) };
    match codes.iter().find(|(_, name)| name == code) {
        Some((code, _)) => Ok((*ty, *code)),
        None => Err(format!("unknown code {code} of ICMP type {}", icmp.kind)),
    }
}

/// A message's type and code in a script's words.
pub fn show(ty: u8, code: u8, v6: bool) -> String {
    let types = if v6 { TYPES6 } else { TYPES4 };
    let Some((_, name, codes)) = types.iter().find(|(n, _, _)| *n == ty) else {
        return format!("type {ty} code {code}");
    };
    match codes.iter().find(|(n, _)| *n == code) {
        Some((_, code)) => format!("{name} {code}"),
        None if code == 0 => (*name).to_owned(),
        None => format!("{name} code {code}"),
    }
}
