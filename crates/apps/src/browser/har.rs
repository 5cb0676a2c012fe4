//! HAR 1.2 files (the W3C draft "HTTP Archive format"): what a browser noted, for other people's tools.

use serde_json::{Value, json};

use super::entry::{Entry, Source};

/// One visit.
#[derive(Clone, Debug)]
pub struct Visit<'a> {
    /// The number that its entries have.
    pub number: usize,
    /// Its URL.
    pub title: &'a str,
    /// Milliseconds from its beginning until everything was there.
    pub on_load: f64,
}

/// The file.
pub fn har(visits: &[Visit<'_>], entries: &[Entry]) -> Value {
    let first = |number: usize| {
        entries.iter().filter(|e| e.visit == number).map(|e| e.started).fold(f64::INFINITY, f64::min)
    };
    let pages: Vec<Value> = visits
        .iter()
        .filter(|visit| first(visit.number).is_finite())
        .map(|visit| {
            json!({
                "startedDateTime": iso8601(first(visit.number)),
                "id": page_id(visit.number),
                "title": visit.title,
                "pageTimings": { "onContentLoad": -1, "onLoad": visit.on_load },
            })
        })
        .collect();
    let entries: Vec<Value> = entries.iter().map(entry).collect();
    json!({ "log": {
        "version": "1.2",
        "creator": { "name": "wirelab", "version": env!("CARGO_PKG_VERSION") },
        "pages": pages,
        "entries": entries,
    } })
}

fn page_id(number: usize) -> String {
    format!("page_{number}")
}

fn entry(entry: &Entry) -> Value {
    let phase = |time: Option<f64>| time.map_or(json!(-1), |time| json!(time));
    let connect = entry.connect.map(|tcp| tcp + entry.ssl.unwrap_or(0.0));
    let parts =
        [Some(entry.blocked), entry.dns, connect, Some(entry.send), Some(entry.wait), Some(entry.receive)];
    let time: f64 = parts.iter().flatten().sum();
    let mut value = json!({
        "pageref": page_id(entry.visit),
        "startedDateTime": iso8601(entry.started),
        "time": time,
        "request": request(entry),
        "response": response(entry),
        "cache": {},
        "timings": {
            "blocked": entry.blocked,
            "dns": phase(entry.dns),
            // As the format wants it, the handshake of TLS counts here too.
            "connect": phase(connect),
            "ssl": phase(entry.ssl),
            "send": entry.send,
            "wait": entry.wait,
            "receive": entry.receive,
        },
    });
    if let Some(server) = &entry.server {
        value["serverIPAddress"] =
            json!(server.rsplit_once(':').map_or(server.as_str(), |(ip, _)| ip.trim_matches(['[', ']'])));
    }
    if let Some(connection) = entry.connection {
        value["connection"] = json!(connection.to_string());
    }
    let remark = match (&entry.error, entry.source) {
        (Some(error), _) => Some(error.as_str()),
        (None, Source::Cache) => Some("from the cache"),
        (None, Source::Validated) => Some("304: from the cache"),
        (None, Source::Internal) => Some("HSTS"),
        (None, Source::Network | Source::Nowhere) => None,
    };
    if let Some(remark) = remark {
        value["comment"] = json!(remark);
    }
    value
}

fn version(entry: &Entry) -> &str {
    if entry.protocol.is_empty() { "unknown" } else { &entry.protocol }
}

fn fields(headers: &[(String, String)]) -> Vec<Value> {
    headers.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(has, _)| has.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn request(entry: &Entry) -> Value {
    let query = url::Url::parse(&entry.url).ok();
    let query: Vec<Value> = query
        .iter()
        .flat_map(|url| url.query_pairs())
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect();
    let cookies: Vec<Value> = find(&entry.request_headers, "cookie")
        .into_iter()
        .flat_map(|line| line.split("; "))
        .map(|pair| pair.split_once('=').unwrap_or(("", pair)))
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect();
    let mut value = json!({
        "method": entry.method,
        "url": entry.url,
        "httpVersion": version(entry),
        "cookies": cookies,
        "headers": fields(&entry.request_headers),
        "queryString": query,
        "headersSize": -1,
        "bodySize": entry.request_body.len(),
    });
    if !entry.request_body.is_empty() {
        let kind = find(&entry.request_headers, "content-type").unwrap_or_default();
        value["postData"] = json!({ "mimeType": kind, "params": [], "text": entry.request_body });
    }
    value
}

fn response(entry: &Entry) -> Value {
    let cookies: Vec<Value> = entry
        .response_headers
        .iter()
        .filter(|(name, _)| name == "set-cookie")
        .filter_map(|(_, line)| line.split(';').next()?.split_once('='))
        .map(|(name, value)| json!({ "name": name.trim(), "value": value.trim() }))
        .collect();
    let status = http::StatusCode::from_u16(entry.status).ok();
    let networked = entry.source == Source::Network || entry.source == Source::Validated;
    json!({
        "status": entry.status,
        "statusText": status.and_then(|status| status.canonical_reason()).unwrap_or_default(),
        "httpVersion": version(entry),
        "cookies": cookies,
        "headers": fields(&entry.response_headers),
        "content": {
            "size": entry.size,
            "compression": i64::try_from(entry.size).unwrap_or(0) - i64::try_from(entry.wire).unwrap_or(0),
            "mimeType": find(&entry.response_headers, "content-type").unwrap_or("x-unknown"),
        },
        "redirectURL": find(&entry.response_headers, "location").unwrap_or_default(),
        "headersSize": if networked { json!(entry.head) } else { json!(-1) },
        "bodySize": if networked { json!(entry.wire) } else { json!(0) },
    })
}

/// RFC 3339 in UTC with milliseconds.
fn iso8601(ms: f64) -> String {
    // A date that a run can have fits by far; what is below the millisecond is left out.
    #[expect(clippy::cast_possible_truncation, reason = "far below 2^63")]
    let all = ms as i64;
    let (seconds, millis) = (all.div_euclid(1000), all.rem_euclid(1000));
    let date = time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    let (hour, minute, second) = (date.hour(), date.minute(), date.second());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use std::time::SystemTime;

    #[test]
    fn times_of_an_entry_are_the_sum_of_its_phases() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_123);
        let mut one = Entry::new(1, "GET", "https://a.example/x?q=1&r=", "document", now);
        one.request_headers = vec![("cookie".into(), "a=1; b=2".into())];
        one.response_headers =
            vec![("set-cookie".into(), "c=3; Path=/".into()), ("content-type".into(), "text/html".into())];
        (one.dns, one.connect, one.ssl, one.wait, one.receive) = (Some(1.0), Some(2.0), Some(3.0), 4.0, 5.0);
        let value = har(&[Visit { number: 1, title: "x", on_load: 15.0 }], &[one]);
        let entry = &value["log"]["entries"][0];
        assert_eq!(entry["time"], json!(15.0));
        assert_eq!(entry["timings"]["connect"], json!(5.0));
        assert_eq!(entry["startedDateTime"], json!("2027-01-15T08:00:00.123Z"));
        assert_eq!(
            entry["request"]["cookies"],
            json!([{ "name": "a", "value": "1" }, { "name": "b", "value": "2" }])
        );
        assert_eq!(entry["request"]["queryString"][1], json!({ "name": "r", "value": "" }));
        assert_eq!(entry["response"]["cookies"], json!([{ "name": "c", "value": "3" }]));
        assert_eq!(value["log"]["pages"][0]["id"], entry["pageref"]);
    }
}
