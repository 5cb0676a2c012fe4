//! `TCP_DEFER_ACCEPT`: a listener that wants data before it gives a connection to `accept()`, and what silent clients get
//! (Linux: tcp_minisocks.c `tcp_check_req`, inet_connection_sock.c `reqsk_timer_handler`; TRUTH 3e, 14.14).

use wire::tcp::Flags;

use super::{Life, Segment, who};
use crate::explain::Ref;
use crate::findings::{Case, Findings, about};

pub(super) fn find(case: &Case<'_>, segments: &[Segment<'_>], lives: &[Life], out: &mut Findings) {
    let results = case.results();
    for life in lives {
        let set = results.iter().rfind(|r| {
            r.node == life.node
                && r.call_name() == "setsockopt"
                && r.result == "0"
                && r.call_text.contains("TCP_DEFER_ACCEPT")
        });
        let value = set.and_then(|r| Some(r.call_text.rsplit_once(", ")?.1.trim_end_matches(')')));
        let (Some(value), Some((_, begun)), Some((record, done))) =
            (value.filter(|v| *v != "0"), life.when("SYN-RECV"), life.when("ESTAB"))
        else {
            continue;
        };
        if case.counter(life.node, "TcpExtTCPDeferAcceptDrop").unwrap_or(0) == 0 {
            continue;
        }
        let flow = (life.remote, life.local);
        // What came from the client while it was half open.
        let came = || {
            segments
                .iter()
                .filter(|s| s.flow == flow && !s.is(Flags::SYN))
                .filter_map(|s| Some((s, s.arrival(case)?)))
                .filter(|(_, at)| *at >= begun && *at <= done)
        };
        let Some((bare, since)) = came().find(|(s, at)| s.is_pure_ack() && *at < done) else { continue };
        let (host, client) = (case.name(life.node), who(case, life.remote.ip()));
        let waited = about(done.as_nanos() - since.as_nanos());
        let refs = [bare.number(), Ref::Record(record)];
        out.decides_option(host, "TCP_DEFER_ACCEPT", value);
        if came().any(|(s, _)| s.len > 0 || s.is(Flags::FIN)) {
            let text = format!(
                "{host} dropped {client}'s bare ACK and stayed in SYN-RECV until data came, {waited} later: TCP_DEFER_ACCEPT"
            );
            out.say("defer-accept", text, refs);
            continue;
        }
        let text = format!(
            "{host} dropped {client}'s bare ACK and waited for data (TCP_DEFER_ACCEPT); after {waited} it took the ACK of \
             one more SYN-ACK instead"
        );
        out.say("defer-accept", text, refs);
        let accepted = results.iter().find(|r| {
            r.node == life.node
                && r.call_name().starts_with("accept")
                && r.at >= done
                && !r.result.starts_with('-')
        });
        if let Some(r) = accepted {
            let fact = format!("{host}'s {}() returned the silent {client} after {waited}", r.call_name());
            out.folklore(
                "TCP_DEFER_ACCEPT drops clients that say nothing",
                fact,
                [refs[1], Ref::Record(r.record)],
            );
        }
    }
}
