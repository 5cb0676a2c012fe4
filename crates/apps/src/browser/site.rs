//! Who a page is: origins (RFC 6454), sites (the registrable domain of the Public Suffix List, with its scheme) and what counts
//! as secure (W3C Secure Contexts §3.1).

use std::net::IpAddr;

use url::{Host, Url};

/// A site: cookies with `SameSite` ask for it, caches are split by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// The scheme: http and https are two sites ("schemeful same-site").
    pub scheme: String,
    /// The registrable domain, or the whole host when it has none.
    pub domain: String,
}

impl Site {
    /// The site of a URL.
    pub fn of(url: &Url) -> Site {
        let host = url.host_str().unwrap_or_default();
        Site { scheme: url.scheme().into(), domain: registrable(host).unwrap_or(host).into() }
    }
}

impl core::fmt::Display for Site {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}://{}", self.scheme, self.domain)
    }
}

/// The domain that somebody could register: one label below a public suffix. `None` for addresses and for suffixes themselves.
pub fn registrable(host: &str) -> Option<&str> {
    if is_address(host) {
        return None;
    }
    psl::domain_str(host)
}

/// Whether nobody may set cookies for all of this domain (RFC 6265bis §5.7, step on public suffixes).
pub fn is_public_suffix(domain: &str) -> bool {
    !is_address(domain) && psl::suffix_str(domain) == Some(domain)
}

/// Whether a host is an address: such hosts have no domains above them.
pub fn is_address(host: &str) -> bool {
    host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}

/// Scheme, host and port are equal (RFC 6454 §5).
pub fn same_origin(a: &Url, b: &Url) -> bool {
    a.origin() == b.origin() && a.origin().is_tuple()
}

/// As the `Origin` header writes it; `null` for what has none.
pub fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Whether nobody on the way can have changed what comes from there.
pub fn is_trustworthy(url: &Url) -> bool {
    let local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    url.scheme() == "https" || url.scheme() == "wss" || url.scheme() == "data" || local
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    #[test]
    fn sites_are_registrable_domains_with_their_scheme() {
        let same = |a: &str, b: &str| Site::of(&url(a)) == Site::of(&url(b));
        assert!(same("https://www.shop.example/", "https://api.shop.example:8443/x"));
        assert!(!same("https://shop.example/", "http://shop.example/"), "another scheme");
        assert!(!same("https://a.co.uk/", "https://b.co.uk/"), "co.uk is a public suffix");
        assert!(!same("https://alice.github.io/", "https://bob.github.io/"), "so is github.io");
        assert!(!same("https://192.0.2.1/", "https://192.0.2.2/"));
    }

    #[test]
    fn nobody_registers_a_public_suffix_or_an_address() {
        let rows = [
            ("co.uk", true),
            ("example", true),
            ("shop.example", false),
            ("192.0.2.1", false),
            ("[2001:db8::1]", false),
        ];
        for (domain, wanted) in rows {
            assert_eq!(is_public_suffix(domain), wanted, "{domain}");
        }
        assert_eq!(registrable("a.b.shop.example"), Some("shop.example"));
        assert_eq!(registrable("192.0.2.1"), None);
    }

    #[test]
    fn another_port_is_another_origin_and_the_default_port_is_not() {
        assert!(same_origin(&url("https://a.example/"), &url("https://a.example:443/x")));
        assert!(!same_origin(&url("https://a.example/"), &url("https://a.example:8443/")));
        assert!(
            !same_origin(&url("data:text/html,x"), &url("data:text/html,x")),
            "opaque origins equal nothing"
        );
        assert_eq!(origin(&url("http://a.example:8080/x?y")), "http://a.example:8080");
    }

    #[test]
    fn loopback_counts_as_secure() {
        for (text, wanted) in
            [("https://a.example", true), ("http://a.example", false), ("http://127.0.0.1:80", true)]
        {
            assert_eq!(is_trustworthy(&url(text)), wanted, "{text}");
        }
    }
}
