//! What the trace shows of the sockets beside each packet, against `ss` of our hosts.

use std::collections::BTreeMap;

/// `ss -tanoi` by local and remote port, in the trace's words: `ESTAB(rto210 wq5)`.
pub(crate) fn read_ss(text: &str) -> BTreeMap<(u16, u16), String> {
    let mut found = BTreeMap::new();
    let mut lines = text.lines().skip(1).peekable();
    while let Some(line) = lines.next() {
        let info = lines.next_if(|l| l.starts_with('\t')).unwrap_or("");
        let mut words = line.split_whitespace();
        let (Some(state), Some(rq), Some(wq), Some(local), Some(peer)) =
            (words.next(), words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let port = |a: &str| a.rsplit(':').next().and_then(|p| p.parse().ok()).unwrap_or(0);
        let name = match state {
            "SYN-SENT" => "SYN_SENT",
            "SYN-RECV" => "SYN_RECV",
            "FIN-WAIT-1" => "FIN_WAIT1",
            "FIN-WAIT-2" => "FIN_WAIT2",
            "CLOSE-WAIT" => "CLOSE_WAIT",
            "LAST-ACK" => "LAST_ACK",
            "TIME-WAIT" => "TIME_WAIT",
            other => other,
        };
        let value = |key: &str| {
            let word = info.split_whitespace().find_map(|w| w.strip_prefix(key));
            word.and_then(|v| v.parse::<u64>().ok()).unwrap_or(0)
        };
        let timer = line.split("timer:(").nth(1).and_then(|t| t.split(',').next()).unwrap_or("");
        let timer = match timer {
            "on" => "rto",
            "persist" => "persist",
            "keepalive" => "keep",
            "timewait" => "tw",
            _ => "",
        };
        let mut parts = Vec::new();
        if !timer.is_empty() {
            parts.push(format!("{timer}:"));
        }
        for (key, word) in [("backoff:", "bo"), ("rto:", "rto")] {
            if value(key) > 0 {
                parts.push(format!("{word}{}", value(key)));
            }
        }
        for (n, word) in [(wq, "wq"), (rq, "rq")] {
            if n != "0" {
                parts.push(format!("{word}{n}"));
            }
        }
        let key = (port(local), port(peer));
        found.insert(key, format!("{name}({})", parts.join(" ")));
    }
    found
}
