//! A zone: master-file text (RFC 1035 §5) to records, and the answer to a question (RFC 1034 §4.3.2; wildcards RFC 4592;
//! negative answers RFC 2308). Sections are as BIND with `minimal-responses` and NSD fill them: no NS records beside an answer.

use std::collections::{BTreeMap, BTreeSet};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordSet, RecordType};
use hickory_proto::serialize::txt::{LexerError, ParseError, Parser};

use super::message::negative_ttl;

/// The longest zone text.
const LONGEST_TEXT: usize = 1 << 20;
/// CNAMEs followed for one question; BIND's `max-query-restarts` is 11 since 2024, was 16.
const CNAMES: usize = 11;

/// A zone, ready to answer.
#[derive(Debug)]
pub(crate) struct Zone {
    origin: LowerName,
    nodes: BTreeMap<LowerName, Node>,
    /// Names above nodes that have no records themselves.
    empty: BTreeSet<LowerName>,
    soa: Record,
}

type Node = BTreeMap<RecordType, Vec<Record>>;

/// What is wrong with a zone's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ZoneError {
    /// The line of the text, from 1; `None` when it is the zone as a whole.
    pub(crate) line: Option<usize>,
    pub(crate) message: String,
}

impl core::fmt::Display for ZoneError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line} of the zone: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

fn whole(message: impl Into<String>) -> ZoneError {
    ZoneError { line: None, message: message.into() }
}

/// Reads records; they may lack what makes them a zone (root hints).
pub(crate) fn records(origin: &Name, text: &str) -> Result<Vec<Record>, ZoneError> {
    if text.len() > LONGEST_TEXT {
        return Err(whole(format!("the text is longer than {LONGEST_TEXT} bytes")));
    }
    // The scenario is all there is: it reads no files of the machine.
    if let Some(line) = text.lines().position(|line| line.to_ascii_uppercase().starts_with("$INCLUDE")) {
        return Err(ZoneError {
            line: Some(line + 1),
            message: "$INCLUDE is not supported: write the records here".into(),
        });
    }
    let parse = |text: &str| Parser::new(text.to_string(), None, Some(origin.clone())).parse();
    let sets = match parse(text) {
        Ok((_, sets)) => sets,
        Err(error) => return Err(located(text, &error, parse)),
    };
    let of_set = |set: RecordSet| set.into_parts().records;
    Ok(sets.into_values().flat_map(of_set).collect())
}

/// hickory's errors have no line: it is the last one of the shortest beginning that fails in the same way. An entry in
/// parentheses that is only cut short does not count as failing.
fn located<T>(text: &str, error: &ParseError, parse: impl Fn(&str) -> Result<T, ParseError>) -> ZoneError {
    let open = |error: &ParseError| {
        matches!(
            error,
            ParseError::Lexer(LexerError::UnclosedList | LexerError::UnclosedQuotedString | LexerError::EOF)
        )
    };
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let fails = |n: usize| parse(&lines[..n].concat()).is_err_and(|error| !open(&error));
    // `fails` holds from some line on.
    let (mut below, mut above) = (0, lines.len());
    if open(error) {
        let opened = lines.iter().rposition(|line| line.contains(['(', '"']));
        return ZoneError { line: opened.map(|line| line + 1), message: error.to_string() };
    }
    while above - below > 1 {
        let middle = below.midpoint(above);
        if fails(middle) { above = middle } else { below = middle }
    }
    let message = match error {
        ParseError::UnexpectedToken(token) => format!("{token:?} has no place here"),
        ParseError::Proto(error) => error.to_string().replace("decoding error: ", ""),
        other => other.to_string(),
    };
    ZoneError { line: Some(above), message }
}

impl Zone {
    /// Reads a zone as `named-checkzone` would: with one SOA and NS records at its top, CNAMEs alone, nothing foreign.
    pub(crate) fn parse(origin: &Name, text: &str) -> Result<Zone, ZoneError> {
        let top = LowerName::new(origin);
        let mut nodes: BTreeMap<LowerName, Node> = BTreeMap::new();
        for record in records(origin, text)? {
            let name = LowerName::new(&record.name);
            if !top.zone_of(&name) {
                return Err(whole(format!("{name} is not in the zone {top}")));
            }
            nodes.entry(name).or_default().entry(record.record_type()).or_default().push(record);
        }
        let soa =
            nodes.get(&top).and_then(|node| node.get(&RecordType::SOA)).and_then(|set| set.first()).cloned();
        let soa = soa.ok_or_else(|| whole(format!("the zone {top} has no SOA record at its top")))?;
        if !nodes.get(&top).is_some_and(|node| node.contains_key(&RecordType::NS)) {
            return Err(whole(format!("the zone {top} has no NS records at its top")));
        }
        if let Some((name, _)) =
            nodes.iter().find(|(_, node)| node.contains_key(&RecordType::CNAME) && node.len() > 1)
        {
            return Err(whole(format!("{name}: CNAME and other data")));
        }
        let several = |node: &Node| node.get(&RecordType::CNAME).is_some_and(|set| set.len() > 1);
        if let Some((name, _)) = nodes.iter().find(|(_, node)| several(node)) {
            return Err(whole(format!("{name}: multiple CNAME records")));
        }
        let mut empty = BTreeSet::new();
        for name in nodes.keys() {
            let mut above = name.base_name();
            while top.zone_of(&above)
                && above != top
                && !nodes.contains_key(&above)
                && empty.insert(above.clone())
            {
                above = above.base_name();
            }
        }
        Ok(Zone { origin: top, nodes, empty, soa })
    }

    fn exists(&self, name: &LowerName) -> bool {
        self.nodes.contains_key(name) || self.empty.contains(name)
    }

    /// The SOA of a negative answer, with the time that it holds.
    fn negative(&self, reply: &mut Message) {
        let mut soa = self.soa.clone();
        soa.ttl = negative_ttl(&soa).unwrap_or(0);
        reply.add_authority(soa);
    }

    /// The delegation on the way from the top to this name, if any.
    fn delegation(&self, name: &LowerName, kind: RecordType) -> Option<&[Record]> {
        let full = Name::from(name);
        let depth = full.iter().count();
        let top = Name::from(&self.origin).iter().count();
        (top + 1..=depth).find_map(|labels| {
            // DS lives above the cut (RFC 4035 §3.1.4.1).
            if labels == depth && kind == RecordType::DS {
                return None;
            }
            let cut = LowerName::new(&full.trim_to(labels));
            self.nodes.get(&cut)?.get(&RecordType::NS).map(Vec::as_slice)
        })
    }

    /// The records that answer for a name, and whether a wildcard made them.
    fn node(&self, name: &LowerName) -> Option<(&Node, bool)> {
        if let Some(node) = self.nodes.get(name) {
            return Some((node, false));
        }
        if self.empty.contains(name) {
            return None;
        }
        let mut encloser = name.base_name();
        while !self.exists(&encloser) && encloser != self.origin && !encloser.is_root() {
            encloser = encloser.base_name();
        }
        let wildcard = Name::from(&encloser).prepend_label("*").ok()?;
        self.nodes.get(&LowerName::new(&wildcard)).map(|node| (node, true))
    }

    /// Addresses of the servers that records name, as far as the zone has them (glue included).
    fn additional(&self, records: &[Record], reply: &mut Message) {
        let targets = records.iter().filter_map(|record| match &record.data {
            RData::NS(ns) => Some(&ns.0),
            RData::MX(mx) => Some(&mx.exchange),
            RData::SRV(srv) => Some(&srv.target),
            _ => None,
        });
        for node in targets.filter_map(|target| self.nodes.get(&LowerName::new(target))) {
            let sets = [RecordType::A, RecordType::AAAA].into_iter().filter_map(|kind| node.get(&kind));
            reply.add_additionals(sets.flatten().cloned());
        }
    }
}

/// The zone that is the closest above a name.
fn closest<'a>(zones: &'a [Zone], name: &LowerName) -> Option<&'a Zone> {
    let over = zones.iter().filter(|zone| zone.origin.zone_of(name));
    over.max_by_key(|zone| zone.origin.num_labels())
}

/// Answers the question of `reply` from the zones; `REFUSED` for foreign names.
pub(crate) fn answer(zones: &[Zone], reply: &mut Message) {
    let Some(question) = reply.queries.first().cloned() else {
        reply.metadata.response_code = ResponseCode::FormErr;
        return;
    };
    let mut owner = question.name.clone();
    for step in 0..CNAMES {
        let name = LowerName::new(&owner);
        let Some(zone) = closest(zones, &name) else {
            // The target of a CNAME may be anybody's; the asker goes on from there.
            if step == 0 {
                reply.metadata.response_code = ResponseCode::Refused;
            }
            return;
        };
        match answer_one(zone, &owner, &name, question.query_type, step == 0, reply) {
            Some(target) => owner = target,
            None => return,
        }
    }
}

/// One name; the target of its CNAME is next.
fn answer_one(
    zone: &Zone,
    owner: &Name,
    name: &LowerName,
    kind: RecordType,
    first: bool,
    reply: &mut Message,
) -> Option<Name> {
    if let Some(servers) = zone.delegation(name, kind) {
        reply.add_authorities(servers.iter().cloned());
        zone.additional(servers, reply);
        return None;
    }
    if first {
        reply.metadata.authoritative = true;
    }
    let Some((node, _)) = zone.node(name) else {
        if !zone.exists(name) {
            reply.metadata.response_code = ResponseCode::NXDomain;
        }
        zone.negative(reply);
        return None;
    };
    let with_owner = |record: &Record| {
        // As asked for: a wildcard takes the name, and the case of the question is kept.
        let mut record = record.clone();
        record.name = owner.clone();
        record
    };
    if let Some(cname) =
        node.get(&RecordType::CNAME).filter(|_| !matches!(kind, RecordType::CNAME | RecordType::ANY))
    {
        reply.add_answers(cname.iter().map(with_owner));
        return cname.iter().find_map(|record| match &record.data {
            RData::CNAME(target) => Some(target.0.clone()),
            _ => None,
        });
    }
    let found: Vec<Record> = match kind {
        RecordType::ANY => node.values().flatten().map(with_owner).collect(),
        kind => node.get(&kind).into_iter().flatten().map(with_owner).collect(),
    };
    if found.is_empty() {
        zone.negative(reply);
        return None;
    }
    zone.additional(&found, reply);
    reply.add_answers(found);
    None
}

#[cfg(test)]
#[path = "zone/tests.rs"]
mod tests;
