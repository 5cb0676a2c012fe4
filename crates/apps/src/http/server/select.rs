//! What of a page is sent: nothing new (304, 412), a part (206, 416), or a compressed form (RFC 9110 §8.4, §13, §14).

use std::io::Write;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
    LAST_MODIFIED, RANGE, VARY,
};
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use super::pages::Page;
use crate::http::front::{Answer, AnswerBody, Exchange};

/// A content coding.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952.
    #[serde(rename = "gzip")]
    Gzip,
    /// RFC 7932.
    #[serde(rename = "br")]
    Brotli,
}

impl Coding {
    fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Brotli => "br",
        }
    }

    fn encode(self, body: &[u8]) -> Bytes {
        const INTO_MEMORY: &str = "memory takes whatever is written";
        match self {
            Coding::Gzip => {
                // nginx's gzip_comp_level is 1; 6 is everybody else's.
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
                encoder.write_all(body).expect(INTO_MEMORY);
                encoder.finish().expect(INTO_MEMORY).into()
            }
            Coding::Brotli => {
                let mut out = Vec::new();
                let mut encoder = brotli::CompressorWriter::new(&mut out, 4096, 6, 22);
                encoder.write_all(body).expect(INTO_MEMORY);
                drop(encoder);
                out.into()
            }
        }
    }
}

/// nginx's `gzip_min_length`.
const MIN_LENGTH: usize = 20;
/// More ranges than that are ignored (RFC 9110 §14.2 lets a server do so).
const MAX_RANGES: usize = 16;

/// Chooses.
pub(super) fn select(mut answer: Answer, exchange: &Exchange, codings: &[Coding], page: &Page) -> Answer {
    let reads = matches!(exchange.method, Method::GET | Method::HEAD);
    if answer.status != StatusCode::OK {
        return answer;
    }
    if let Some(status) = condition(&answer, exchange, reads) {
        return if status == StatusCode::NOT_MODIFIED { not_modified(answer) } else { Answer::error(status) };
    }
    if !reads || page.chunk.is_some() {
        return answer;
    }
    let AnswerBody::Whole(body) = &answer.body else { return answer };
    let body = body.clone();
    if page.handler.is_none() {
        answer.headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if let Some(ranges) = exchange.header(RANGE).filter(|_| exchange.method == Method::GET)
            && if_range(&answer, exchange)
            && let Some(ranges) = parse_ranges(ranges, body.len())
        {
            return partial(answer, &body, &ranges);
        }
    }
    compress(answer, exchange, codings, &body)
}

fn text(answer: &Answer, name: HeaderName) -> Option<&str> {
    answer.headers.get(name)?.to_str().ok()
}

fn date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

/// The order of RFC 9110 §13.2.2.
fn condition(answer: &Answer, exchange: &Exchange, reads: bool) -> Option<StatusCode> {
    let tag = text(answer, ETAG);
    let modified = text(answer, LAST_MODIFIED).and_then(date);
    if let Some(wanted) = exchange.header(IF_MATCH) {
        if !matches_tag(wanted, tag, Comparison::Strong) {
            return Some(StatusCode::PRECONDITION_FAILED);
        }
    } else if let (Some(since), Some(modified)) =
        (exchange.header(IF_UNMODIFIED_SINCE).and_then(date), modified)
        && modified > since
    {
        return Some(StatusCode::PRECONDITION_FAILED);
    }
    if let Some(known) = exchange.header(IF_NONE_MATCH) {
        if matches_tag(known, tag, Comparison::Weak) {
            let status = if reads { StatusCode::NOT_MODIFIED } else { StatusCode::PRECONDITION_FAILED };
            return Some(status);
        }
    } else if let (true, Some(since), Some(modified)) =
        (reads, exchange.header(IF_MODIFIED_SINCE).and_then(date), modified)
        && modified <= since
    {
        return Some(StatusCode::NOT_MODIFIED);
    }
    None
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// RFC 9110 §8.8.3.2.
fn matches_tag(list: &str, tag: Option<&str>, comparison: Comparison) -> bool {
    let Some(tag) = tag else { return false };
    if list.trim() == "*" {
        return true;
    }
    let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_string();
    list.split(',').map(str::trim).any(|other| match comparison {
        Comparison::Strong => other == tag && !tag.starts_with("W/"),
        Comparison::Weak => opaque(other) == opaque(tag),
    })
}

/// Without what describes the content that is not sent (RFC 9110 §15.4.5).
fn not_modified(mut answer: Answer) -> Answer {
    answer.status = StatusCode::NOT_MODIFIED;
    for name in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING] {
        answer.headers.remove(name);
    }
    answer.push.clear();
    answer.body = AnswerBody::Whole(Bytes::new());
    answer
}

/// Whether a range may be answered (RFC 9110 §13.1.5).
fn if_range(answer: &Answer, exchange: &Exchange) -> bool {
    let Some(condition) = exchange.header(IF_RANGE) else { return true };
    match date(condition) {
        Some(since) => text(answer, LAST_MODIFIED).and_then(date) == Some(since),
        None => matches_tag(condition, text(answer, ETAG), Comparison::Strong),
    }
}

/// First and last byte of each range that can be sent; `None` when the field is to be ignored.
fn parse_ranges(field: &str, len: usize) -> Option<Vec<(usize, usize)>> {
    let list = field.strip_prefix("bytes=")?;
    if list.split(',').count() > MAX_RANGES {
        return None;
    }
    let mut ranges = Vec::new();
    for range in list.split(',').map(str::trim) {
        let (first, last) = range.split_once('-')?;
        let number = |text: &str| {
            text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<usize>().unwrap_or(usize::MAX))
        };
        match (first.is_empty(), last.is_empty()) {
            (true, true) => return None,
            (true, false) => {
                let n = number(last)?.min(len);
                if n > 0 {
                    ranges.push((len - n, len - 1));
                }
            }
            (false, open) => {
                let first = number(first)?;
                let last = if open { usize::MAX } else { number(last)? };
                if last < first {
                    return None;
                }
                if first < len {
                    ranges.push((first, last.min(len - 1)));
                }
            }
        }
    }
    Some(ranges)
}

/// Between the parts of a `multipart/byteranges`; in no page but by chance.
const BOUNDARY: &str = "wirelab-3d6b6a416f9b5";

fn partial(mut answer: Answer, body: &Bytes, ranges: &[(usize, usize)]) -> Answer {
    let len = body.len();
    match *ranges {
        [] => Answer::error(StatusCode::RANGE_NOT_SATISFIABLE).with(CONTENT_RANGE, &format!("bytes */{len}")),
        [(first, last)] => {
            answer.status = StatusCode::PARTIAL_CONTENT;
            answer.body = AnswerBody::Whole(body.slice(first..=last));
            answer.with(CONTENT_RANGE, &format!("bytes {first}-{last}/{len}"))
        }
        _ => {
            let kind = text(&answer, CONTENT_TYPE).unwrap_or("application/octet-stream").to_string();
            let mut parts = BytesMut::new();
            for (first, last) in ranges {
                let head = format!(
                    "\r\n--{BOUNDARY}\r\nContent-Type: {kind}\r\nContent-Range: bytes {first}-{last}/{len}\r\n\r\n"
                );
                parts.extend_from_slice(head.as_bytes());
                parts.extend_from_slice(&body[*first..=*last]);
            }
            parts.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
            answer.status = StatusCode::PARTIAL_CONTENT;
            answer.body = AnswerBody::Whole(parts.freeze());
            answer.with(CONTENT_TYPE, &format!("multipart/byteranges; boundary={BOUNDARY}"))
        }
    }
}

/// The weight of a coding in Accept-Encoding, in thousandths (RFC 9110 §12.5.3).
fn weight(field: &str, coding: Coding) -> u32 {
    let mut any = 0;
    for part in field.split(',') {
        let mut words = part.split(';').map(str::trim);
        let name = words.next().unwrap_or_default();
        let q = words.find_map(|word| word.strip_prefix("q=")).map_or(Some(1.0_f32), |q| q.parse().ok());
        let q = (q.unwrap_or(0.0).clamp(0.0, 1.0) * 1000.0).round();
        // Between 0 and 1000 after the clamp; NaN becomes 0.
        let q = q as u32;
        if name.eq_ignore_ascii_case(coding.name()) {
            return q;
        }
        if name == "*" {
            any = q;
        }
    }
    any
}

fn compress(mut answer: Answer, exchange: &Exchange, codings: &[Coding], body: &Bytes) -> Answer {
    let kind = text(&answer, CONTENT_TYPE).unwrap_or_default();
    let compressible = kind.starts_with("text/") || kind.contains("json") || kind.contains("javascript");
    if codings.is_empty()
        || !compressible
        || body.len() < MIN_LENGTH
        || answer.headers.contains_key(CONTENT_ENCODING)
    {
        return answer;
    }
    answer.headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    let accepted = exchange.header(ACCEPT_ENCODING).unwrap_or_default();
    let best =
        codings.iter().copied().map(|coding| (weight(accepted, coding), coding)).filter(|(q, _)| *q > 0);
    // The first of those that the client likes best.
    let Some((_, coding)) = best.rev().max_by_key(|(q, _)| *q) else { return answer };
    // The bytes differ, so the tag is weak now, as nginx does it.
    if let Some(tag) = text(&answer, ETAG).filter(|tag| !tag.starts_with("W/")).map(|tag| format!("W/{tag}"))
    {
        answer = answer.with(ETAG, &tag);
    }
    answer.headers.remove(ACCEPT_RANGES);
    answer.body = AnswerBody::Whole(coding.encode(body));
    answer.with(CONTENT_ENCODING, coding.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_page_or_ignored() {
        for (field, expected) in [
            ("bytes=0-4", Some(vec![(0, 4)])),
            ("bytes=5-", Some(vec![(5, 9)])),
            ("bytes=-3", Some(vec![(7, 9)])),
            ("bytes=-30", Some(vec![(0, 9)])),
            ("bytes=0-0, 9-100", Some(vec![(0, 0), (9, 9)])),
            ("bytes=10-", Some(vec![])),
            ("bytes=99999999999999999999999-", Some(vec![])),
            ("bytes=4-2", None),
            ("bytes=a-b", None),
            ("bytes=-", None),
            ("lines=1-2", None),
            ("bytes=+1-2", None),
        ] {
            assert_eq!(parse_ranges(field, 10), expected, "{field}");
        }
        assert_eq!(parse_ranges("bytes=-0", 10), Some(vec![]));
        assert_eq!(parse_ranges(&format!("bytes={}", ["0-1"; 17].join(",")), 10), None);
    }

    #[test]
    fn the_client_chooses_the_coding_by_its_weights() {
        for (field, gzip, br) in [
            ("gzip, br", 1000, 1000),
            ("gzip;q=0.5, br;q=0.8", 500, 800),
            ("*;q=0.1, gzip;q=0", 0, 100),
            ("identity", 0, 0),
            ("gzip;q=nonsense", 0, 0),
        ] {
            assert_eq!((weight(field, Coding::Gzip), weight(field, Coding::Brotli)), (gzip, br), "{field}");
        }
    }

    #[test]
    fn weak_tags_match_for_304_and_not_for_ranges() {
        assert!(matches_tag("\"a\", W/\"b\"", Some("\"b\""), Comparison::Weak));
        assert!(!matches_tag("W/\"b\"", Some("W/\"b\""), Comparison::Strong));
        assert!(matches_tag("*", Some("\"b\""), Comparison::Strong));
        assert!(!matches_tag("*", None, Comparison::Weak));
    }
}
