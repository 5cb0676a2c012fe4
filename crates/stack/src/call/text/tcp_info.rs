//! `struct tcp_info` in strace's words: which field stands where (Linux: include/uapi/linux/tcp.h), so that scripts can
//! expect single fields and readers see the ones that tell most.

use core::fmt::Write as _;

/// Shortest and longest `struct tcp_info` that is read: kernel 4.4's to 6.18's. No other modelled option is as long.
const LENGTHS: core::ops::RangeInclusive<usize> = 104..=400;

/// Every field that is no bit field: name, offset, bytes. Values are the host's byte order, as the kernel writes them; ours
/// are little-endian.
pub const FIELDS: &[(&str, usize, usize)] = &[
    ("tcpi_state", 0, 1),
    ("tcpi_ca_state", 1, 1),
    ("tcpi_retransmits", 2, 1),
    ("tcpi_probes", 3, 1),
    ("tcpi_backoff", 4, 1),
    ("tcpi_options", 5, 1),
    ("tcpi_rto", 8, 4),
    ("tcpi_ato", 12, 4),
    ("tcpi_snd_mss", 16, 4),
    ("tcpi_rcv_mss", 20, 4),
    ("tcpi_unacked", 24, 4),
    ("tcpi_sacked", 28, 4),
    ("tcpi_lost", 32, 4),
    ("tcpi_retrans", 36, 4),
    ("tcpi_fackets", 40, 4),
    ("tcpi_last_data_sent", 44, 4),
    ("tcpi_last_ack_sent", 48, 4),
    ("tcpi_last_data_recv", 52, 4),
    ("tcpi_last_ack_recv", 56, 4),
    ("tcpi_pmtu", 60, 4),
    ("tcpi_rcv_ssthresh", 64, 4),
    ("tcpi_rtt", 68, 4),
    ("tcpi_rttvar", 72, 4),
    ("tcpi_snd_ssthresh", 76, 4),
    ("tcpi_snd_cwnd", 80, 4),
    ("tcpi_advmss", 84, 4),
    ("tcpi_reordering", 88, 4),
    ("tcpi_rcv_rtt", 92, 4),
    ("tcpi_rcv_space", 96, 4),
    ("tcpi_total_retrans", 100, 4),
    ("tcpi_pacing_rate", 104, 8),
    ("tcpi_max_pacing_rate", 112, 8),
    ("tcpi_bytes_acked", 120, 8),
    ("tcpi_bytes_received", 128, 8),
    ("tcpi_segs_out", 136, 4),
    ("tcpi_segs_in", 140, 4),
    ("tcpi_notsent_bytes", 144, 4),
    ("tcpi_min_rtt", 148, 4),
    ("tcpi_data_segs_in", 152, 4),
    ("tcpi_data_segs_out", 156, 4),
    ("tcpi_delivery_rate", 160, 8),
    ("tcpi_busy_time", 168, 8),
    ("tcpi_rwnd_limited", 176, 8),
    ("tcpi_sndbuf_limited", 184, 8),
    ("tcpi_delivered", 192, 4),
    ("tcpi_delivered_ce", 196, 4),
    ("tcpi_bytes_sent", 200, 8),
    ("tcpi_bytes_retrans", 208, 8),
    ("tcpi_dsack_dups", 216, 4),
    ("tcpi_reord_seen", 220, 4),
    ("tcpi_rcv_ooopack", 224, 4),
    ("tcpi_snd_wnd", 228, 4),
    ("tcpi_rcv_wnd", 232, 4),
    ("tcpi_rehash", 236, 4),
    ("tcpi_total_rto", 240, 2),
    ("tcpi_total_rto_recoveries", 242, 2),
    ("tcpi_total_rto_time", 244, 4),
    ("tcpi_received_ce", 248, 4),
    ("tcpi_delivered_e1_bytes", 252, 4),
    ("tcpi_delivered_e0_bytes", 256, 4),
    ("tcpi_delivered_ce_bytes", 260, 4),
    ("tcpi_received_e1_bytes", 264, 4),
    ("tcpi_received_e0_bytes", 268, 4),
    ("tcpi_received_ce_bytes", 272, 4),
];

/// What a reader of a ladder wants of it; `--json` has the rest.
const TOLD: &[&str] = &[
    "tcpi_rto",
    "tcpi_unacked",
    "tcpi_lost",
    "tcpi_retrans",
    "tcpi_rtt",
    "tcpi_snd_ssthresh",
    "tcpi_snd_cwnd",
];

/// The names of the fields.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FIELDS.iter().map(|f| f.0)
}

/// A field's value; `None` when it is none of a `struct tcp_info`, or this kernel's is too short to have it.
pub(super) fn field(info: &[u8], name: &str) -> Option<u64> {
    let (_, at, len) = *FIELDS.iter().find(|f| f.0 == name)?;
    let bytes = info.get(at..at + len).filter(|_| LENGTHS.contains(&info.len()))?;
    Some(bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
}

/// `{tcpi_rto=204000, …, ...}` as strace would print it; `None` when these bytes are no `struct tcp_info`.
pub(super) fn text(info: &[u8]) -> Option<String> {
    let mut text = String::from("{");
    for name in TOLD {
        let _ = write!(text, "{name}={}, ", field(info, name)?);
    }
    text.push_str("...}");
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::super::{Expect, result_text};
    use super::*;
    use crate::call::{OptValue, Ret};

    /// A structure as long as 6.18's in which every field has its own value.
    fn info() -> Vec<u8> {
        let mut bytes = vec![0; 280];
        for (n, (_, at, len)) in FIELDS.iter().enumerate() {
            bytes[*at..at + len].copy_from_slice(&(n as u64 + 1).to_le_bytes()[..*len]);
        }
        bytes
    }

    #[test]
    fn every_field_is_read_from_its_own_place() {
        let info = info();
        for (n, name) in names().enumerate() {
            assert_eq!(field(&info, name), Some(n as u64 + 1), "{name}");
        }
        assert_eq!(field(&info[..96], "tcpi_state"), None, "too short for a tcp_info");
    }

    #[test]
    fn expectations_compare_fields_and_results_show_the_telling_ones() {
        let result = Ok(Ret::Opt(OptValue::Bytes(info().into())));
        let cwnd = field(&info(), "tcpi_snd_cwnd").expect("there");
        let holds = |text: &str| Expect::parse(text, &()).expect("it reads").matches(&result).is_ok();
        assert!(
            holds(&format!("tcpi_snd_cwnd {cwnd}"))
                && holds(&format!("tcpi_snd_cwnd >= {cwnd}, tcpi_state = 1"))
        );
        assert!(!holds(&format!("tcpi_snd_cwnd > {cwnd}")));
        let wrong = Expect::parse("tcpi_snd_cwmd 10", &()).expect_err("no such field");
        assert_eq!(wrong.hint.as_deref(), Some("did you mean 'tcpi_snd_cwnd'?"));
        assert!(
            result_text(&result).contains(&format!("tcpi_snd_cwnd={cwnd}, ...}}")),
            "{}",
            result_text(&result)
        );
    }
}
