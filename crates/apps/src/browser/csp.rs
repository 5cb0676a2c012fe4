//! Content Security Policy (W3C CSP 3 §2.3, §6.7): what a page's policy lets it load, run and send to. Done: fetch directives with
//! their fallbacks, schemes, hosts with wildcards, ports and paths, nonces, SHA-256 hashes, `unsafe-inline`, `form-action`,
//! `base-uri`, report-only. Not done: `strict-dynamic`, sandboxing, reports.

use url::Url;

use super::site::{origin, same_origin};

/// The policies of one document; all of them must agree.
#[derive(Clone, Debug, Default)]
pub struct Policies(Vec<Policy>);

/// One policy.
#[derive(Clone, Debug)]
struct Policy {
    directives: Vec<(String, Vec<String>)>,
    report_only: bool,
}

/// A policy that was against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The directive that decided, as written.
    pub directive: String,
    /// It only reports: the thing happens all the same.
    pub report_only: bool,
}

impl core::fmt::Display for Violation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mode = if self.report_only { " (report only)" } else { "" };
        write!(f, "CSP {}{mode}", self.directive)
    }
}

/// Something inline that wants to run.
#[derive(Clone, Copy, Debug)]
pub enum Inline<'a> {
    /// A `<script>` with its `nonce` and its text.
    Script(Option<&'a str>, &'a str),
    /// An attribute such as `onerror`.
    Handler,
}

impl Policies {
    /// Those of header fields, each of which may hold several.
    pub fn from_headers(headers: &http::HeaderMap) -> Policies {
        let mut all = Policies::default();
        for (name, report_only) in
            [("content-security-policy", false), ("content-security-policy-report-only", true)]
        {
            for line in headers.get_all(name).iter().filter_map(|line| line.to_str().ok()) {
                line.split(',').for_each(|text| all.add(text, report_only));
            }
        }
        all
    }

    /// One more, of a `<meta>` for example.
    pub fn add(&mut self, text: &str, report_only: bool) {
        let mut directives: Vec<(String, Vec<String>)> = Vec::new();
        for part in text.split(';') {
            let mut words = part.split_ascii_whitespace();
            let Some(name) = words.next().map(str::to_ascii_lowercase) else { continue };
            // The first of a name counts (CSP 3 §2.2.1).
            if !directives.iter().any(|(has, _)| *has == name) {
                directives.push((name, words.map(str::to_string).collect()));
            }
        }
        if !directives.is_empty() {
            self.0.push(Policy { directives, report_only });
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is against loading `target` for a directive such as `img-src`, `script-src-elem`, `connect-src`, with the nonce of
    /// the element.
    pub fn against_fetch(
        &self,
        directive: &str,
        page: &Url,
        target: &Url,
        nonce: Option<&str>,
    ) -> Vec<Violation> {
        self.ask(directive, |sources| {
            let nonce =
                nonce.filter(|_| directive.starts_with("script-src") || directive.starts_with("style-src"));
            nonce.is_some_and(|nonce| has_nonce(sources, nonce))
                || sources.iter().any(|source| allows(source, page, target))
        })
    }

    /// What is against running something inline.
    pub fn against_inline(&self, inline: Inline<'_>) -> Vec<Violation> {
        let directive = match inline {
            Inline::Script(..) => "script-src-elem",
            Inline::Handler => "script-src-attr",
        };
        self.ask(directive, |sources| {
            let (nonce, text) = match inline {
                Inline::Script(nonce, text) => (nonce, Some(text)),
                Inline::Handler => (None, None),
            };
            nonce.is_some_and(|nonce| has_nonce(sources, nonce))
                || text.is_some_and(|text| has_hash(sources, text))
                || says(sources, "'unsafe-inline'") && !sources.iter().any(|source| is_nonce_or_hash(source))
        })
    }

    fn ask(&self, directive: &str, allowed: impl Fn(&[String]) -> bool) -> Vec<Violation> {
        let deciding = self.0.iter().filter_map(|policy| Some((policy, policy.deciding(directive)?)));
        deciding
            .filter(|(_, (_, sources))| !allowed(sources))
            .map(|(policy, (name, sources))| Violation {
                directive: [core::slice::from_ref(name), sources].concat().join(" "),
                report_only: policy.report_only,
            })
            .collect()
    }
}

impl Policy {
    /// The directive that counts: itself or what it falls back to (CSP 3 §6.8.3).
    fn deciding(&self, directive: &str) -> Option<&(String, Vec<String>)> {
        let chain: &[&str] = match directive {
            "script-src-elem" | "script-src-attr" => &["script-src", "default-src"],
            "style-src-elem" | "style-src-attr" => &["style-src", "default-src"],
            "worker-src" => &["child-src", "script-src", "default-src"],
            "frame-src" => &["child-src", "default-src"],
            // These are no fetch directives: they say something only when they are there.
            "form-action" | "base-uri" | "frame-ancestors" => &[],
            _ => &["default-src"],
        };
        let names = [directive].into_iter().chain(chain.iter().copied());
        names.into_iter().find_map(|name| self.directives.iter().find(|(has, _)| has == name))
    }
}

fn says(sources: &[String], word: &str) -> bool {
    sources.iter().any(|source| source.eq_ignore_ascii_case(word))
}

fn is_nonce_or_hash(source: &str) -> bool {
    let lower = source.to_ascii_lowercase();
    ["'nonce-", "'sha256-", "'sha384-", "'sha512-"].iter().any(|prefix| lower.starts_with(prefix))
}

fn has_nonce(sources: &[String], nonce: &str) -> bool {
    let value = |source: &'_ String| {
        let inner = source.strip_prefix('\'')?.strip_suffix('\'')?;
        let (kind, value) = inner.split_at_checked("nonce-".len())?;
        kind.eq_ignore_ascii_case("nonce-").then(|| value.to_string())
    };
    !nonce.is_empty() && sources.iter().filter_map(value).any(|value| value == nonce)
}

fn has_hash(sources: &[String], text: &str) -> bool {
    let mut values = sources.iter().filter_map(|source| {
        let (kind, value) = source.strip_prefix('\'')?.strip_suffix('\'')?.split_once('-')?;
        kind.eq_ignore_ascii_case("sha256").then_some(value)
    });
    let digest = super::digest::sha256_base64(text.as_bytes());
    // Both alphabets of base64 count (CSP 3 §2.3.1).
    values.any(|value| value.replace('-', "+").replace('_', "/") == digest)
}

/// A source expression and a URL (CSP 3 §6.7.2.8).
fn allows(source: &str, page: &Url, target: &Url) -> bool {
    match source.to_ascii_lowercase().as_str() {
        "'self'" => {
            let upgraded = page.scheme() == "http"
                && target.scheme() == "https"
                && page.host() == target.host()
                && page.port().is_none()
                && target.port().is_none();
            return same_origin(page, target) || upgraded;
        }
        "*" => {
            return ["http", "https", "ws", "wss"].contains(&target.scheme())
                || target.scheme() == page.scheme();
        }
        quoted if quoted.starts_with('\'') => return false,
        _ => {}
    }
    if let Some(scheme) = source.strip_suffix(':').filter(|scheme| !scheme.contains(['/', '.'])) {
        return scheme_matches(scheme, target.scheme());
    }
    let (scheme, rest) = match source.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, source),
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => (&rest[..at], &rest[at..]),
        None => (rest, ""),
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    scheme_matches(scheme.unwrap_or(page.scheme()), target.scheme())
        && host_matches(host, target.host_str().unwrap_or_default())
        && port_matches(port, target)
        && path_matches(path, target.path())
}

/// A scheme also means its secure kin (CSP 3 §6.7.2.9).
fn scheme_matches(wanted: &str, scheme: &str) -> bool {
    let wanted = wanted.to_ascii_lowercase();
    wanted == scheme
        || matches!(
            (wanted.as_str(), scheme),
            ("http", "https") | ("ws", "wss" | "http" | "https") | ("wss", "https")
        )
}

fn host_matches(pattern: &str, host: &str) -> bool {
    let pattern = pattern.to_ascii_lowercase();
    match pattern.strip_prefix('*') {
        Some("") => true,
        Some(suffix) => suffix.starts_with('.') && host.len() > suffix.len() && host.ends_with(suffix),
        None => pattern == host,
    }
}

fn port_matches(port: Option<&str>, target: &Url) -> bool {
    match port {
        None => target.port().is_none(),
        Some("*") => true,
        Some(port) => {
            let actual = target.port_or_known_default();
            port.parse::<u16>().is_ok_and(|port| Some(port) == actual || port == 80 && actual == Some(443))
        }
    }
}

/// A path that ends in a slash allows all below it; another one is meant exactly.
fn path_matches(pattern: &str, path: &str) -> bool {
    match pattern {
        "" | "/" => true,
        _ if pattern.ends_with('/') => path.starts_with(pattern),
        _ => path == pattern,
    }
}

/// What messages call a blocked target.
pub fn described(target: &Url) -> String {
    match target.scheme() {
        "http" | "https" => format!("{}{}", origin(target), target.path()),
        other => format!("{other}:"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "https://shop.example/cart";

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    fn policies(text: &str) -> Policies {
        let mut policies = Policies::default();
        policies.add(text, false);
        policies
    }

    fn loads(policy: &str, directive: &str, target: &str) -> bool {
        policies(policy).against_fetch(directive, &url(PAGE), &url(target), None).is_empty()
    }

    #[test]
    fn sources_match_as_the_standard_says() {
        let rows = [
            ("img-src 'self'", "https://shop.example/a.png", true),
            ("img-src 'self'", "https://cdn.shop.example/a.png", false),
            ("img-src 'none'", "https://shop.example/a.png", false),
            ("img-src", "https://shop.example/a.png", false),
            ("img-src *", "http://anywhere.example/a.png", true),
            ("img-src *", "data:image/png,x", false),
            ("img-src data:", "data:image/png,x", true),
            ("img-src https:", "https://anywhere.example/", true),
            ("img-src https:", "http://anywhere.example/", false),
            ("img-src http:", "https://anywhere.example/", true),
            ("img-src cdn.example", "https://cdn.example/a.png", true),
            ("img-src cdn.example", "http://cdn.example/a.png", false),
            ("img-src http://cdn.example", "https://cdn.example/a.png", true),
            ("img-src *.cdn.example", "https://a.b.cdn.example/", true),
            ("img-src *.cdn.example", "https://cdn.example/", false),
            ("img-src cdn.example:8443", "https://cdn.example:8443/", true),
            ("img-src cdn.example", "https://cdn.example:8443/", false),
            ("img-src cdn.example:*", "https://cdn.example:8443/", true),
            ("img-src https://cdn.example/i/", "https://cdn.example/i/a.png", true),
            ("img-src https://cdn.example/i/", "https://cdn.example/j/a.png", false),
            ("img-src https://cdn.example/i", "https://cdn.example/i/a.png", false),
            ("default-src 'self'", "https://evil.example/", false),
            ("default-src 'self'; img-src *", "https://evil.example/", true),
            ("script-src 'self'", "https://evil.example/", true),
            ("IMG-SRC 'SELF'; img-src *", "https://evil.example/", false),
        ];
        for (policy, target, wanted) in rows {
            assert_eq!(loads(policy, "img-src", target), wanted, "{policy} {target}");
        }
    }

    #[test]
    fn forms_and_bases_do_not_fall_back() {
        assert!(loads("default-src 'none'", "form-action", "https://evil.example/"));
        assert!(!loads("form-action 'self'", "form-action", "https://evil.example/"));
        assert!(!loads("base-uri 'none'", "base-uri", "https://evil.example/"));
    }

    #[test]
    fn inline_scripts_need_a_nonce_a_hash_or_unsafe_inline() {
        let runs = |policy: &str, nonce: Option<&str>| {
            policies(policy).against_inline(Inline::Script(nonce, "alert('Hello, world.');")).is_empty()
        };
        let rows = [
            ("default-src 'self'", None, false),
            ("script-src 'unsafe-inline'", None, true),
            ("script-src 'nonce-r4nd0m'", Some("r4nd0m"), true),
            ("script-src 'nonce-r4nd0m'", Some("R4ND0M"), false),
            ("script-src 'nonce-r4nd0m'", None, false),
            ("script-src 'nonce-'", Some(""), false),
            ("script-src 'unsafe-inline' 'nonce-r4nd0m'", None, false),
            // The example of the standard, §2.3.1.
            ("script-src 'sha256-qznLcsROx4GACP2dm0UCKCzCG-HiZ1guq6ZZDob_Tng='", None, true),
            ("script-src 'sha256-AAAAcsROx4GACP2dm0UCKCzCG-HiZ1guq6ZZDob_Tng='", None, false),
            ("img-src 'self'", None, true),
        ];
        for (policy, nonce, wanted) in rows {
            assert_eq!(runs(policy, nonce), wanted, "{policy} {nonce:?}");
        }
    }

    #[test]
    fn handlers_run_with_unsafe_inline_only() {
        let runs = |policy: &str| policies(policy).against_inline(Inline::Handler).is_empty();
        assert!(!runs("script-src 'nonce-x'") && !runs("default-src 'self'"));
        assert!(runs("script-src 'unsafe-inline'") && runs("img-src 'none'"));
    }

    #[test]
    fn all_policies_must_agree_and_report_only_stops_nothing() {
        let mut headers = http::HeaderMap::new();
        headers.append(
            "content-security-policy",
            http::HeaderValue::from_static("img-src *, default-src 'self'"),
        );
        let name = "content-security-policy-report-only";
        headers.append(name, http::HeaderValue::from_static("img-src 'none'"));
        let found = Policies::from_headers(&headers).against_fetch(
            "img-src",
            &url(PAGE),
            &url("https://evil.example/"),
            None,
        );
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["CSP default-src 'self'", "CSP img-src 'none' (report only)"]);
    }

    #[test]
    fn a_nonce_lets_an_external_script_load() {
        let against = |nonce| {
            policies("script-src 'nonce-a'")
                .against_fetch("script-src-elem", &url(PAGE), &url("https://cdn.example/x.js"), nonce)
                .len()
        };
        assert_eq!([against(Some("a")), against(None)], [0, 1]);
    }
}
