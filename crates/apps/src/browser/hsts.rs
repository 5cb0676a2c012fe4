//! HTTP Strict Transport Security (RFC 6797): hosts that are only ever asked over https, because they said so or because the
//! browser was shipped knowing it.

use core::time::Duration;
use std::collections::BTreeMap;
use std::time::SystemTime;

use url::Url;

use super::site::is_address;

/// Domains that a browser knows, until when, and whether their subdomains count.
#[derive(Clone, Debug, Default)]
pub struct Hsts {
    known: BTreeMap<String, Policy>,
}

#[derive(Clone, Debug)]
struct Policy {
    /// `None`: preloaded.
    until: Option<SystemTime>,
    subdomains: bool,
}

/// Hosts that are remembered.
const HOSTS: usize = 10_000;

impl Hsts {
    /// Knows these domains and their subdomains from the beginning.
    pub fn preloaded<'a>(domains: impl IntoIterator<Item = &'a str>) -> Hsts {
        let policy = |domain: &str| (domain.to_ascii_lowercase(), Policy { until: None, subdomains: true });
        Hsts { known: domains.into_iter().map(policy).collect() }
    }

    /// Takes the `Strict-Transport-Security` field of an answer. Over http it counts for nothing (RFC 6797 §8.1).
    pub fn note(&mut self, url: &Url, field: &str, now: SystemTime) {
        let host = url.host_str().unwrap_or_default();
        if url.scheme() != "https" || is_address(host) {
            return;
        }
        let Some((age, subdomains)) = read(field) else { return };
        let preloaded = self.known.get(host).is_some_and(|policy| policy.until.is_none());
        if preloaded {
            return;
        }
        if age.is_zero() {
            self.known.remove(host);
        } else if self.known.len() < HOSTS || self.known.contains_key(host) {
            self.known.insert(host.into(), Policy { until: Some(now + age), subdomains });
        }
    }

    /// The URL that is asked instead: https, and port 443 for port 80 (RFC 6797 §8.3). `None` when it stays.
    pub fn upgraded(&self, url: &Url, now: SystemTime) -> Option<Url> {
        let host = url.host_str()?;
        if url.scheme() != "http" || is_address(host) || !self.covers(host, now) {
            return None;
        }
        let mut url = url.clone();
        url.set_scheme("https").ok()?;
        Some(url)
    }

    fn covers(&self, host: &str, now: SystemTime) -> bool {
        let suffixes = host.match_indices('.').map(|(at, _)| &host[at + 1..]);
        let alive = |policy: &Policy| policy.until.is_none_or(|end| end > now);
        let own = self.known.get(host).is_some_and(alive);
        own || suffixes
            .filter_map(|above| self.known.get(above))
            .any(|policy| policy.subdomains && alive(policy))
    }
}

/// `max-age` and `includeSubDomains` (RFC 6797 §6.1); said twice, or without max-age, the field counts for nothing.
fn read(field: &str) -> Option<(Duration, bool)> {
    let (mut age, mut subdomains) = (None, false);
    for part in field.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "max-age" if age.is_some() => return None,
            "max-age" => {
                let seconds = value.trim().trim_matches('"').parse::<u64>().ok()?;
                // A thousand years are enough, and can be added to a date.
                age = Some(Duration::from_secs(seconds.min(1000 * 366 * 86_400)));
            }
            "includesubdomains" if subdomains => return None,
            "includesubdomains" => subdomains = true,
            _ => {}
        }
    }
    age.map(|age| (age, subdomains))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    fn asked(hsts: &Hsts, text: &str, seconds: u64) -> String {
        let url = url(text);
        hsts.upgraded(&url, NOW + Duration::from_secs(seconds)).unwrap_or(url).into()
    }

    #[test]
    fn what_a_host_says_over_https_holds_until_it_is_over() {
        let mut hsts = Hsts::default();
        hsts.note(&url("https://s.example/"), "max-age=100", NOW);
        assert_eq!(asked(&hsts, "http://s.example/x?y", 99), "https://s.example/x?y");
        assert_eq!(asked(&hsts, "http://s.example/", 100), "http://s.example/");
        assert_eq!(
            asked(&hsts, "http://www.s.example/", 1),
            "http://www.s.example/",
            "only with includeSubDomains"
        );
        assert_eq!(asked(&hsts, "http://s.example:8080/", 1), "https://s.example:8080/", "other ports stay");
        hsts.note(&url("https://s.example/"), "max-age=0", NOW);
        assert_eq!(asked(&hsts, "http://s.example/", 1), "http://s.example/");
    }

    #[test]
    fn over_http_or_malformed_it_counts_for_nothing() {
        let rows = [
            ("http://s.example/", "max-age=100"),
            ("https://192.0.2.1/", "max-age=100"),
            ("https://s.example/", "includeSubDomains"),
            ("https://s.example/", "max-age=100; max-age=200"),
            ("https://s.example/", "max-age=soon"),
        ];
        for (from, field) in rows {
            let mut hsts = Hsts::default();
            hsts.note(&url(from), field, NOW);
            assert!(hsts.known.is_empty(), "{from} {field}");
        }
    }

    #[test]
    fn subdomains_are_included_when_said() {
        let mut hsts = Hsts::default();
        hsts.note(&url("https://s.example/"), "Max-Age=\"100\" ; IncludeSubDomains; preload", NOW);
        assert_eq!(asked(&hsts, "http://a.b.s.example/", 1), "https://a.b.s.example/");
        assert_eq!(asked(&hsts, "http://notess.example/", 1), "http://notess.example/");
    }

    #[test]
    fn preloaded_domains_need_no_first_visit_and_cannot_be_unsaid() {
        let mut hsts = Hsts::preloaded(["bank.example"]);
        hsts.note(&url("https://bank.example/"), "max-age=0", NOW);
        assert_eq!(asked(&hsts, "http://www.bank.example/", 0), "https://www.bank.example/");
    }
}
