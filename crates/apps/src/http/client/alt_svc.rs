//! `Alt-Svc` (RFC 7838): what servers say of other ways to the same pages, and for how long it is believed. Of all ways there is
//! one here: HTTP/3 on a UDP port of the same host.

use core::time::Duration;
use std::collections::BTreeMap;

use http::HeaderMap;
use http::header::ALT_SVC;
use tokio::time::Instant;

use super::Origin;

/// Origins that are remembered.
const REMEMBERED: usize = 1024;
/// How long it holds when the server does not say (RFC 7838 §3.1).
const DEFAULT_AGE: Duration = Duration::from_secs(86_400);
/// The longest that is believed.
const LONGEST_AGE: Duration = Duration::from_secs(366 * 86_400);
/// How long a way that failed is not tried again, as in Chromium.
const BROKEN: Duration = Duration::from_secs(300);
/// How long HTTP/3 is waited for where TCP would do as well; browsers let both race instead.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// Another way to an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    port: u16,
    until: Instant,
    broken_until: Option<Instant>,
}

/// What is known of all origins.
#[derive(Debug, Default)]
pub(super) struct Ways(BTreeMap<Origin, Way>);

/// What a field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// Nothing of what was said before holds.
    Clear,
    /// HTTP/3 is there, for so long.
    Http3(u16, Duration),
}

impl Ways {
    /// Takes what an answer of this origin says.
    pub(super) fn learn(&mut self, origin: &Origin, headers: &HeaderMap, now: Instant) {
        let fields = headers.get_all(ALT_SVC).iter().filter_map(|value| value.to_str().ok());
        match fields.into_iter().find_map(|field| said(field, &origin.host)) {
            None => {}
            Some(Said::Clear) => drop(self.0.remove(origin)),
            Some(Said::Http3(port, age)) => {
                let broken_until = self.0.get(origin).and_then(|way| way.broken_until);
                if self.0.len() < REMEMBERED || self.0.contains_key(origin) {
                    self.0.insert(origin.clone(), Way { port, until: now + age, broken_until });
                }
            }
        }
    }

    /// The UDP port of an origin, when it is to be tried.
    pub(super) fn port(&self, origin: &Origin, now: Instant) -> Option<u16> {
        let way = self.0.get(origin)?;
        let usable = way.until > now && way.broken_until.is_none_or(|until| until <= now);
        usable.then_some(way.port)
    }

    /// It did not work.
    pub(super) fn broken(&mut self, origin: &Origin, now: Instant) {
        if let Some(way) = self.0.get_mut(origin) {
            way.broken_until = Some(now + BROKEN);
        }
    }
}

/// `clear`, or `h3=":443"; ma=86400, h2="…"`: the first way that can be gone.
fn said(field: &str, host: &str) -> Option<Said> {
    if field.trim() == "clear" {
        return Some(Said::Clear);
    }
    field.split(',').find_map(|way| {
        let mut parts = way.split(';').map(str::trim);
        let (protocol, authority) = parts.next()?.split_once('=')?;
        let (alternative, port) = authority.trim_matches('"').rsplit_once(':')?;
        if protocol != "h3" || !(alternative.is_empty() || alternative.eq_ignore_ascii_case(host)) {
            return None;
        }
        let age = parts.filter_map(|part| part.split_once('=')).find(|(name, _)| *name == "ma");
        let age = age.and_then(|(_, seconds)| seconds.trim_matches('"').parse().ok());
        let age = age.map_or(DEFAULT_AGE, Duration::from_secs).min(LONGEST_AGE);
        Some(Said::Http3(port.parse().ok().filter(|port| *port > 0)?, age))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_say_where_http3_is() {
        let day = Duration::from_secs(86_400);
        let rows = [
            (r#"h3=":443""#, Some(Said::Http3(443, day))),
            (r#"h3=":8443"; ma=60; persist=1"#, Some(Said::Http3(8443, Duration::from_secs(60)))),
            (r#"h3-29=":443"; ma=60, h2=":444", h3=":445""#, Some(Said::Http3(445, day))),
            (r#"h3="shop.example:443""#, Some(Said::Http3(443, day))),
            (r#"h3="other.example:443""#, None),
            ("clear", Some(Said::Clear)),
            (r#"h3=":0""#, None),
            (r#"h3=":65536""#, None),
            ("h3", None),
            ("", None),
            (r#"h3=":443"; ma=99999999999999999"#, Some(Said::Http3(443, LONGEST_AGE))),
        ];
        for (field, wanted) in rows {
            assert_eq!(said(field, "shop.example"), wanted, "{field}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_way_ends_is_broken_and_is_cleared() {
        let origin = Origin { secure: true, host: "shop.example".into(), port: 443 };
        let field = |text: &str| HeaderMap::from_iter([(ALT_SVC, text.parse().expect("a value"))]);
        let (mut ways, now) = (Ways::default(), Instant::now());
        ways.learn(&origin, &field(r#"h3=":443"; ma=600"#), now);
        assert_eq!(ways.port(&origin, now), Some(443));
        assert_eq!(ways.port(&origin, now + Duration::from_secs(600)), None);
        ways.broken(&origin, now);
        ways.learn(&origin, &field(r#"h3=":443"; ma=600"#), now);
        assert_eq!(ways.port(&origin, now + Duration::from_secs(299)), None, "hearing of it mends nothing");
        assert_eq!(ways.port(&origin, now + BROKEN), Some(443));
        ways.learn(&origin, &field("clear"), now);
        assert_eq!(ways.port(&origin, now + BROKEN), None);
    }
}
