//! Does a packet of the host fit the script's? What packetdrill compares, in its order and words.

use wire::tcp::Flags;

use super::live::{Live, LiveBody, LiveTcp};
use super::{icmp, options};
use crate::ast::Usecs;
use crate::ast::{Body, IpInfo, Packet, Tcp, TcpOption, Tos};

/// Why they differ.
pub(crate) type Mismatch = String;

fn field(name: &str, expected: impl Into<u64>, actual: impl Into<u64>) -> Result<(), Mismatch> {
    let (expected, actual) = (expected.into(), actual.into());
    if expected == actual {
        return Ok(());
    }
    Err(format!(
        "live packet field {name}: expected: {expected} ({expected:#x}) vs actual: {actual} ({actual:#x})"
    ))
}

fn bit(flags: u16, flag: Flags) -> u8 {
    u8::from(flags & flag.0 != 0)
}

fn ace(flags: u16) -> u8 {
    bit(flags, Flags::AE) << 2 | bit(flags, Flags::CWR) << 1 | bit(flags, Flags::ECE)
}

fn check_ip(info: IpInfo, actual: &Live) -> Result<(), Mismatch> {
    if !actual.checksum_ok {
        return Err("bad outbound IP checksum".into());
    }
    if actual.src.is_ipv4() {
        field("ipv4_header_length", 5_u8, actual.header_len as u64 / 4)?;
    }
    match info.tos {
        Tos::Unsaid => {}
        Tos::Ecn(bits) => field("ip_ecn", bits, actual.tos & 3)?,
        Tos::Ect01 => {
            if !matches!(actual.tos & 3, 1 | 2) {
                let got = actual.tos & 3;
                return Err(format!("live packet field ip_ecn: expected: 0x1 or 0x2 vs actual: {got:#x}"));
            }
        }
        Tos::Byte(tos) => field("tos", tos, actual.tos)?,
    }
    if info.ttl != 0 {
        field("ttl", info.ttl, actual.ttl)?;
    }
    Ok(())
}

fn check_tcp(script: &Tcp, actual: &LiveTcp) -> Result<(), Mismatch> {
    if let Some(options) = &script.options {
        let len: usize = options.iter().map(TcpOption::wire_len).sum();
        field("tcp_data_offset", (20 + len) as u64 / 4, (20 + actual.options.len()) as u64 / 4)?;
    }
    let single = |name: &str, flag: Flags| field(name, bit(script.flags, flag), bit(actual.flags, flag));
    single("tcp_fin", Flags::FIN)?;
    single("tcp_syn", Flags::SYN)?;
    single("tcp_rst", Flags::RST)?;
    single("tcp_psh", Flags::PSH)?;
    single("tcp_ack", Flags::ACK)?;
    single("tcp_urg", Flags::URG)?;
    if script.ace {
        field("tcp_ace", ace(script.flags), ace(actual.flags))?;
    } else {
        single("tcp_ece", Flags::ECE)?;
        single("tcp_cwr", Flags::CWR)?;
        single("tcp_ae", Flags::AE)?;
    }
    field("tcp_reserved_bits", 0_u8, actual.flags >> 9)?;
    field("tcp_seq", script.seq, actual.seq)?;
    field("tcp_ack_seq", script.ack, actual.ack)?;
    if let Some(window) = script.window {
        field("tcp_window", window, actual.window)?;
    }
    field("tcp_urg_ptr", script.urgent, actual.urgent)
}

/// Headers and payload of a packet that is in the script's numbers already.
pub(crate) fn check_headers(script: &Packet, actual: &Live) -> Result<(), Mismatch> {
    check_ip(script.ip, actual)?;
    match (&script.body, &actual.body) {
        (Body::Tcp(script), LiveBody::Tcp(actual)) => {
            check_tcp(script, actual)?;
            zero_payload(&actual.payload)
        }
        (Body::Udp { len }, LiveBody::Udp { len: actual, payload, .. }) => {
            field("udp_len", len.saturating_add(8), *actual)?;
            zero_payload(payload)
        }
        (Body::Icmp(script), LiveBody::Icmp { ty, code, .. }) => {
            let (want_ty, want_code) = icmp::numbers(script, actual.src.is_ipv6())?;
            field("icmp_type", want_ty, *ty)?;
            field("icmp_code", want_code, *code)
        }
        (script, actual) => {
            let number = |body: &Body| match body {
                Body::Tcp(_) => 6_u8,
                Body::Udp { .. } => 17,
                Body::Icmp(_) => 1,
            };
            let got = match actual {
                LiveBody::Tcp(_) => 6_u8,
                LiveBody::Udp { .. } => 17,
                LiveBody::Icmp { .. } => 1,
                LiveBody::Other(n) => *n,
            };
            field("ip_protocol", number(script), got)
        }
    }
}

/// All data of scripts are zero bytes.
fn zero_payload(payload: &[u8]) -> Result<(), Mismatch> {
    if payload.iter().any(|b| *b != 0) {
        return Err("incorrect outbound data payload".into());
    }
    Ok(())
}

/// Can the later packet be glued to the earlier one? Both in live numbers; `left` payload bytes are still
/// missing.
pub(crate) fn check_fragment(previous: &Live, current: &Live, left: usize) -> Result<(), Mismatch> {
    if let (LiveBody::Tcp(before), LiveBody::Tcp(now)) = (&previous.body, &current.body) {
        field(
            "tcp_data_offset",
            (20 + before.options.len()) as u64 / 4,
            (20 + now.options.len()) as u64 / 4,
        )?;
        let single = |name: &str, flag: Flags| field(name, bit(before.flags, flag), bit(now.flags, flag));
        single("tcp_syn", Flags::SYN)?;
        single("tcp_rst", Flags::RST)?;
        single("tcp_ack", Flags::ACK)?;
        single("tcp_urg", Flags::URG)?;
        single("tcp_ece", Flags::ECE)?;
        single("tcp_ae", Flags::AE)?;
        let len = u32::try_from(before.payload.len()).expect("a segment's length");
        field("tcp_seq", before.seq.wrapping_add(len), now.seq)?;
        field("tcp_ack_seq", before.ack, now.ack)?;
        field("tcp_window", before.window, now.window)?;
        field("tcp_urg_ptr", before.urgent, now.urgent)?;
    }
    let (have, before) = (current.payload_len(), previous.payload_len());
    if have < left && have != before {
        return Err(format!("fragment payload: expected {before} bytes vs actual {have} bytes"));
    }
    Ok(())
}

/// Options in exact order; TSval within the tolerance when its tick is known.
pub(crate) fn check_options(
    script: &Tcp,
    actual: &LiveTcp,
    ts_tick: Usecs,
    tolerance: Usecs,
) -> Result<(), Mismatch> {
    let Some(expected) = &script.options else { return Ok(()) };
    let found = options::split(&actual.options)?;
    if found.len() != expected.len() || found.iter().zip(expected).any(|(f, e)| f.0 != e.kind()) {
        return Err("bad outbound TCP options".into());
    }
    for (found, expected) in found.into_iter().zip(expected) {
        if let TcpOption::Timestamps { val, .. } = expected {
            let Some((actual_val, _)) = actual.timestamps() else { continue };
            let off = i64::from(actual_val.wrapping_sub(*val).cast_signed()).abs() * ts_tick;
            if ts_tick != 0 && off > tolerance {
                return Err(format!("bad outbound TCP timestamp value, tolerance {tolerance}"));
            }
            continue;
        }
        let mut bytes = Vec::new();
        expected.emit(&mut bytes);
        let data = bytes.get(2..).unwrap_or_default();
        if data != found.1 {
            let what = if data.len() == found.1.len() { "bad value" } else { "bad length" };
            let (want, got) = (options::show((expected.kind(), data)), options::show(found));
            let kind = expected.kind();
            return Err(format!(
                "{what} in outbound TCP option (kind={kind}): expected: {want} actual: {got}"
            ));
        }
    }
    Ok(())
}
