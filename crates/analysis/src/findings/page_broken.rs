//! A browser has no page: which of the usual causes it is, told by what was seen: the error, how long it took, and packets.

use stack::record::{NodeId, What};
use wire::Instant;

use super::{Case, Findings, about};
use crate::dissect::{Dissection, Message};
use crate::explain::Ref;
use crate::traffic::Transmission;

/// What each cause looks like, for comparison.
const TABLE: &str = "what tells causes apart: NXDOMAIN after one round trip, the name does not exist · questions to port 53 without an \
                     answer, the DNS server is silent · ENETUNREACH at once and no packet, no route · ARP requests without a reply and \
                     EHOSTUNREACH after 3 s, the host is down · a RST and ECONNREFUSED after one round trip, the port is closed · SYNs \
                     without an answer and ETIMEDOUT after a minute or two, a filter, or an accept queue that is full (then the server's \
                     TcpExtListenOverflows counts) · a TLS alert after the certificate, its name or dates · a page 502 at once or 504 \
                     late, a server behind the server";

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    let mut told = false;
    for (record, r) in case.journal.records.iter().enumerate() {
        let What::Output { line, .. } = &r.what else { continue };
        let Some(why) = symptom(line) else { continue };
        let seen = Seen { case, dissection: case.dissection(), host: r.node, until: r.at };
        let Some((cause, packets)) = seen.cause(why) else { continue };
        let began = seen.packets().map(|t| t.at).next();
        let after = began.map_or("without a packet".into(), |at| {
            format!(
                "{} after the first packet",
                about(u64::try_from((r.at - at).as_nanos()).unwrap_or(u64::MAX))
            )
        });
        let text = format!("{} has no page, {after} ({why}): {cause}", case.name(r.node));
        let packets = packets.into_iter().map(Ref::Packet);
        out.say("page-broken", text, packets.chain([Ref::Record(record)]));
        if !told {
            out.say("page-broken-table", TABLE.into(), [Ref::Record(record)]);
            told = true;
        }
    }
}

/// What the browser says of a page that did not come.
fn symptom(line: &str) -> Option<&str> {
    if let Some(rest) = line.strip_prefix("no page ") {
        return rest.split_once(": ").map(|(_, why)| why);
    }
    let rest = line.strip_prefix("page ")?;
    [" 502 ", " 504 "].iter().find(|status| rest.contains(**status)).map(|status| status.trim())
}

struct Seen<'a> {
    case: &'a Case<'a>,
    dissection: &'a Dissection,
    host: NodeId,
    until: Instant,
}

/// Packets that are cited.
const CITED: usize = 4;

impl<'a> Seen<'a> {
    /// Packets of the host up to the symptom.
    fn packets(&self) -> impl Iterator<Item = &'a Transmission> {
        let (host, until) = (self.host, self.until);
        let mine = move |t: &&Transmission| {
            t.at <= until && (t.from == host || t.arrivals.iter().any(|a| a.node == host))
        };
        self.case.packets().filter(mine)
    }

    fn with(&self, out: bool, wanted: impl Fn(&Transmission) -> bool) -> Vec<u32> {
        let right = |t: &&Transmission| (t.from == self.host) == out && wanted(t);
        self.packets().filter(right).map(|t| t.number).collect()
    }

    fn says(&self, t: &Transmission, wanted: impl Fn(&Message) -> bool) -> bool {
        self.dissection.packet(t.number).is_some_and(|p| p.layers.iter().any(|layer| wanted(&layer.message)))
    }

    fn cause(&self, why: &str) -> Option<(String, Vec<u32>)> {
        use wire::tcp::Flags;
        let flags =
            |t: &Transmission, wanted: Flags| t.view.tcp().is_some_and(|tcp| tcp.flags.contains(wanted));
        let some = |numbers: Vec<u32>| numbers.into_iter().take(CITED).collect::<Vec<u32>>();
        if why == "502" || why == "504" {
            let answers = self.with(false, |t| {
                self.says(
                    t,
                    |m| matches!(m, Message::HttpResponse { status, .. } if status.to_string() == why),
                )
            });
            let how = if why == "502" {
                "the server that answers is only in front: it got no usable answer from the one behind it"
            } else {
                "the server that answers is only in front: it waited in vain for the one behind it"
            };
            return Some((how.into(), some(answers)));
        }
        let alerts = self.with(true, |t| {
            self.says(t, |m| matches!(m, Message::TlsAlert { description, .. } if *description != 0))
        });
        if !alerts.is_empty() {
            return Some((
                "TCP stands and TLS does not: the browser refused the server's certificate with an alert"
                    .into(),
                some(alerts),
            ));
        }
        let syns = self.with(true, |t| flags(t, Flags::SYN));
        if let Some(syn) = syns.first() {
            let resets = self.with(false, |t| flags(t, Flags::RST));
            if let Some(reset) = resets.first() {
                return Some((
                    "the host is there and answers with a RST: nothing listens on that port".into(),
                    vec![*syn, *reset],
                ));
            }
            let full =
                self.case.nodes().find(|node| self.case.counter(*node, "TcpExtListenOverflows").is_some());
            let cause = match full {
                Some(node) => format!(
                    "{} SYNs without an answer look like a filter from here; {}'s counter TcpExtListenOverflows says that its accept queue is full",
                    syns.len(),
                    self.case.name(node)
                ),
                None => format!(
                    "{} SYNs without an answer, not even a refusal: something on the way drops them",
                    syns.len()
                ),
            };
            return Some((cause, some(syns)));
        }
        self.before_tcp(why)
    }

    /// No connection was even tried.
    fn before_tcp(&self, why: &str) -> Option<(String, Vec<u32>)> {
        let some = |numbers: Vec<u32>| numbers.into_iter().take(CITED).collect::<Vec<u32>>();
        let none = self.with(false, |t| self.says(t, |m| matches!(m, Message::DnsResponse { rcode, .. } if rcode.eq_ignore_ascii_case("nxdomain") || rcode == "No such name")));
        if !none.is_empty() {
            return Some(("the DNS server answers that there is no such name".into(), some(none)));
        }
        let questions = self.with(true, |t| self.says(t, |m| matches!(m, Message::DnsQuery { .. })));
        let answers = self.with(false, |t| self.says(t, |m| matches!(m, Message::DnsResponse { .. })));
        if !questions.is_empty() && answers.is_empty() {
            let text = format!(
                "{} questions to the DNS server and no answer: the name was never known, nothing else was tried",
                questions.len()
            );
            return Some((text, some(questions)));
        }
        let asked = self.with(true, |t| t.view.arp().is_some());
        let told = self.with(false, |t| t.view.arp().is_some());
        if asked.len() > told.len() {
            return Some((
                "nobody answers ARP for the address: the host is down or not on this network".into(),
                some(asked),
            ));
        }
        why.contains("unreachable").then(|| {
            ("no route leads there: the kernel refuses before any packet is made".into(), Vec::new())
        })
    }
}
