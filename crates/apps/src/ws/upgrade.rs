//! The opening handshake (RFC 6455 §4): what a server asks of a request before it answers 101, and what a client asks of that
//! answer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    ALLOW, CONNECTION, HeaderMap, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Method, StatusCode, Version};

use crate::http::front::{Answer, Exchange};

/// What the key is hashed with (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// `Sec-WebSocket-Accept` for a key.
pub(crate) fn accept_key(key: &str) -> String {
    let whole = [key.as_bytes(), GUID].concat();
    STANDARD.encode(ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &whole))
}

/// What a server asks of whoever wants to upgrade.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    /// Subprotocols, most wanted first.
    pub(crate) protocols: Vec<String>,
    /// Origins of pages that may connect; all when empty, as browsers do not ask a server before they connect.
    pub(crate) origins: Vec<String>,
}

/// Whether a list field such as `Connection: keep-alive, Upgrade` has this word.
fn has_token(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
}

/// A refusal that says what would be right (RFC 9110 §15.5.22, RFC 6455 §4.4).
fn upgrade_required() -> Answer {
    Answer::error(StatusCode::UPGRADE_REQUIRED)
        .with(UPGRADE, "websocket")
        .with(CONNECTION, "Upgrade")
        .with(SEC_WEBSOCKET_VERSION, "13")
}

fn bad_request(why: &str) -> Answer {
    Answer::text(StatusCode::BAD_REQUEST, format!("{why}\n"))
}

/// The 101 for a request, with the subprotocol that was chosen, or the refusal (RFC 6455 §4.2).
#[expect(clippy::result_large_err, reason = "once a connection")]
pub(crate) fn accept(exchange: &Exchange, terms: &Terms) -> Result<(Answer, Option<String>), Answer> {
    let headers = &exchange.headers;
    if exchange.method != Method::GET {
        return Err(Answer::error(StatusCode::METHOD_NOT_ALLOWED).with(ALLOW, "GET"));
    }
    // HTTP/2 and 3 know no Upgrade; their way (RFC 8441) is not spoken here.
    if exchange.version != Version::HTTP_11 || !has_token(headers, &UPGRADE, "websocket") {
        return Err(upgrade_required());
    }
    if !has_token(headers, &CONNECTION, "upgrade") {
        return Err(bad_request("Connection must name Upgrade"));
    }
    match exchange.header(SEC_WEBSOCKET_VERSION) {
        Some("13") => {}
        None => return Err(bad_request("Sec-WebSocket-Version is missing")),
        Some(_) => return Err(upgrade_required()),
    }
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next().and_then(|key| key.to_str().ok()), keys.next()) else {
        return Err(bad_request("there must be one Sec-WebSocket-Key"));
    };
    if STANDARD.decode(key).map(|bytes| bytes.len()) != Ok(16) {
        return Err(bad_request("Sec-WebSocket-Key must be 16 bytes in base 64"));
    }
    if let Some(origin) = exchange.header(ORIGIN)
        && !terms.origins.is_empty()
        && !terms.origins.iter().any(|allowed| allowed == origin)
    {
        return Err(Answer::text(StatusCode::FORBIDDEN, format!("not from {origin}\n")));
    }
    let offered: Vec<&str> = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(str::trim))
        .collect();
    let protocol = terms.protocols.iter().find(|name| offered.contains(&name.as_str()));
    let mut answer = Answer::new(StatusCode::SWITCHING_PROTOCOLS)
        .with(UPGRADE, "websocket")
        .with(CONNECTION, "Upgrade")
        .with(SEC_WEBSOCKET_ACCEPT, &accept_key(key));
    if let Some(protocol) = protocol {
        answer = answer.with(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Ok((answer, protocol.cloned()))
}

/// The fields of a client's request.
pub(super) fn request_fields(key: &str, protocols: &[String]) -> Vec<(HeaderName, HeaderValue)> {
    let mut fields = vec![
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (UPGRADE, HeaderValue::from_static("websocket")),
        (SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
    ];
    let more = [(SEC_WEBSOCKET_KEY, key.to_string()), (SEC_WEBSOCKET_PROTOCOL, protocols.join(", "))];
    for (name, text) in more {
        if let (false, Ok(value)) = (text.is_empty(), HeaderValue::from_str(&text)) {
            fields.push((name, value));
        }
    }
    fields
}

/// What is wrong with a 101 (RFC 6455 §4.1), or the subprotocol that it chose.
pub(super) fn check(headers: &HeaderMap, key: &str, offered: &[String]) -> Result<Option<String>, String> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if !has_token(headers, &UPGRADE, "websocket") || !has_token(headers, &CONNECTION, "upgrade") {
        return Err("the server switched to something else than WebSocket".into());
    }
    if text(&SEC_WEBSOCKET_ACCEPT) != Some(accept_key(key).as_str()) {
        return Err("Sec-WebSocket-Accept does not fit the key: whoever answers has not understood".into());
    }
    if let Some(extension) = text(&SEC_WEBSOCKET_EXTENSIONS) {
        return Err(format!("the server uses {extension}, which was not offered"));
    }
    match text(&SEC_WEBSOCKET_PROTOCOL) {
        Some(chosen) if !offered.iter().any(|name| name == chosen) => {
            Err(format!("the server chose the protocol {chosen}, which was not offered"))
        }
        chosen => Ok(chosen.map(str::to_string)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_rfc_is_accepted_as_the_rfc_says() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn an_answer_that_nobody_asked_for_is_not_taken() {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let good = [
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ];
        let judge = |change: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in good.iter().chain(change) {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            check(&headers, key, &["chat".into()])
        };
        assert_eq!(judge(&[]), Ok(None));
        assert_eq!(judge(&[("sec-websocket-protocol", "chat")]), Ok(Some("chat".into())));
        for (name, value) in [
            ("upgrade", "h2c"),
            ("connection", "close"),
            ("sec-websocket-accept", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-extensions", "permessage-deflate"),
            ("sec-websocket-protocol", "other"),
        ] {
            assert!(judge(&[(name, value)]).is_err(), "{name}: {value}");
        }
    }
}
