//! Messages: the reply to a query, cutting it to what fits (RFC 2181 §9), the two bytes of length over TCP (RFC 1035 §4.2.2),
//! and how names and records are written down.

use std::io;

use hickory_proto::op::{Edns, Message, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What a UDP message may hold when the asker says nothing (RFC 1035 §2.3.4).
pub(crate) const PLAIN_UDP: u16 = 512;
/// What we announce and send at most over UDP: DNS flag day 2020; the default of BIND's `edns-udp-size` and of unbound's
/// `edns-buffer-size`.
pub(crate) const EDNS_UDP: u16 = 1232;
/// The longest message: its length has 16 bits over TCP.
pub(crate) const LONGEST: usize = 65_535;

/// A query for one question.
pub(crate) fn query(id: u16, name: Name, kind: RecordType, recursion_desired: bool) -> Message {
    let mut message = Message::new(id, hickory_proto::op::MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = recursion_desired;
    message.add_query(Query::query(name, kind));
    message
}

/// EDNS of ours with this payload size (RFC 6891).
pub(crate) fn edns(payload: u16) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(payload).set_version(0);
    edns
}

/// The reply to a query, still empty: its ID, question and, when the query had it, EDNS.
pub(crate) fn reply_to(query: &Message) -> Message {
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata = Metadata::response_from_request(&query.metadata);
    reply.add_queries(query.queries.iter().cloned());
    if query.edns.is_some() {
        reply.set_edns(edns(EDNS_UDP));
    }
    reply
}

/// A reply with nothing but a response code.
pub(crate) fn refusal(query: &Message, code: ResponseCode) -> Message {
    let mut reply = reply_to(query);
    reply.metadata.response_code = code;
    reply
}

/// The bytes of a reply in at most `limit`. What does not fit goes in this order: addresses that were added for
/// convenience (no harm, RFC 2181 §9), then everything, and TC says so.
pub(crate) fn fit(reply: &Message, limit: usize) -> Option<Vec<u8>> {
    let whole = reply.to_vec().ok()?;
    if whole.len() <= limit {
        return Some(whole);
    }
    let referral =
        reply.answers.is_empty() && reply.authorities.iter().any(|r| r.record_type() == RecordType::NS);
    if !referral {
        let mut less = reply.clone();
        less.additionals.clear();
        let bytes = less.to_vec().ok()?;
        if bytes.len() <= limit {
            return Some(bytes);
        }
    }
    reply.truncate().to_vec().ok()
}

/// How long a reply over UDP to this query may be, when we send no more than `own`.
pub(crate) fn udp_limit(query: &Message, own: u16) -> usize {
    let theirs = query.edns.as_ref().map_or(PLAIN_UDP, |edns| edns.max_payload().max(PLAIN_UDP));
    usize::from(theirs.min(own.max(PLAIN_UDP)))
}

/// Reads a message over TCP; `None` at the end of the stream.
pub(crate) async fn read_framed(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 2];
    match stream.read_exact(&mut length).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}

/// Writes a message over TCP: length and message in one write, so that they share a segment.
pub(crate) async fn write_framed(stream: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    let length =
        u16::try_from(message.len()).map_err(|_| io::Error::other("the message is longer than 65535"))?;
    let mut bytes = Vec::with_capacity(2 + message.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(message);
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// A name as dig and BIND's log have it in a question: without the last dot, but for the root.
pub(crate) fn bare(name: &Name) -> String {
    let text = name.to_ascii();
    match text.strip_suffix('.') {
        Some("") | None => text,
        Some(bare) => bare.into(),
    }
}

/// The response code as dig writes it.
pub(crate) fn rcode(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR".into(),
        ResponseCode::FormErr => "FORMERR".into(),
        ResponseCode::ServFail => "SERVFAIL".into(),
        ResponseCode::NXDomain => "NXDOMAIN".into(),
        ResponseCode::NotImp => "NOTIMP".into(),
        ResponseCode::Refused => "REFUSED".into(),
        ResponseCode::YXDomain => "YXDOMAIN".into(),
        ResponseCode::YXRRSet => "YXRRSET".into(),
        ResponseCode::NXRRSet => "NXRRSET".into(),
        ResponseCode::NotAuth => "NOTAUTH".into(),
        ResponseCode::NotZone => "NOTZONE".into(),
        ResponseCode::BADVERS => "BADVERS".into(),
        ResponseCode::BADCOOKIE => "BADCOOKIE".into(),
        other => format!("RESERVED{}", u16::from(other)),
    }
}

/// The content of a record as a master file has it.
pub(crate) fn rdata(data: &RData) -> String {
    match data {
        RData::TXT(txt) => {
            let strings = txt.txt_data.iter().map(|string| quoted(string));
            strings.collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

/// A character-string of RFC 1035 §5.1.
fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b' '..=b'~' => text.push(char::from(byte)),
            other => text.push_str(&format!("\\{other:03}")),
        }
    }
    text.push('"');
    text
}

/// The `minimum` and TTL of a SOA give the time that a negative answer holds (RFC 2308 §5).
pub(crate) fn negative_ttl(soa: &Record) -> Option<u32> {
    match &soa.data {
        RData::SOA(data) => Some(soa.ttl.min(data.minimum)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use hickory_proto::rr::rdata::{A, TXT};

    use super::*;

    fn reply(answers: u8, additionals: u8) -> Message {
        let name = Name::from_ascii("www.example.").unwrap();
        let mut message = reply_to(&query(1, name.clone(), RecordType::A, true));
        let a = |n| Record::from_rdata(name.clone(), 60, RData::A(A(Ipv4Addr::new(192, 0, 2, n))));
        message.add_answers((0..answers).map(a));
        message.add_additionals((0..additionals).map(a));
        message
    }

    #[test]
    fn what_does_not_fit_is_cut_and_says_so() {
        let whole = Message::from_vec(&fit(&reply(10, 10), 512).unwrap()).unwrap();
        assert_eq!(
            (whole.answers.len(), whole.additionals.len(), whole.metadata.truncation),
            (10, 10, false)
        );
        let less = Message::from_vec(&fit(&reply(20, 20), 512).unwrap()).unwrap();
        assert_eq!((less.answers.len(), less.additionals.len(), less.metadata.truncation), (20, 0, false));
        let cut = Message::from_vec(&fit(&reply(40, 0), 512).unwrap()).unwrap();
        assert_eq!((cut.answers.len(), cut.queries.len(), cut.metadata.truncation), (0, 1, true));
    }

    #[test]
    fn text_records_are_quoted_as_in_a_master_file() {
        let txt = TXT::from_bytes(vec![b"v=\"1\"", b"\x00a b"]);
        assert_eq!(rdata(&RData::TXT(txt)), r#""v=\"1\"" "\000a b""#);
    }
}
