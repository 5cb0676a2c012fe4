//! `-w`: variables of a transfer, as curl names them.

use core::fmt::Write;
use core::time::Duration;

/// What a transfer came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) exit: i32,
    pub(super) error: String,
    pub(super) url: String,
    pub(super) method: String,
    pub(super) status: u16,
    pub(super) version: &'static str,
    pub(super) scheme: String,
    pub(super) content_type: String,
    pub(super) redirect_url: String,
    pub(super) local: (String, u16),
    pub(super) remote: (String, u16),
    pub(super) connects: usize,
    pub(super) redirects: u32,
    pub(super) downloaded: usize,
    pub(super) uploaded: usize,
    pub(super) header_bytes: usize,
    pub(super) request_bytes: usize,
    /// Since the beginning of the last request.
    pub(super) names: Duration,
    pub(super) connect: Duration,
    pub(super) tls: Duration,
    pub(super) pretransfer: Duration,
    pub(super) first_byte: Duration,
    /// Before the last request.
    pub(super) redirect: Duration,
    pub(super) total: Duration,
}

fn seconds(time: Duration) -> String {
    format!("{}.{:06}", time.as_secs(), time.subsec_micros())
}

/// Fills a format in.
pub(super) fn fill(format: &str, outcome: &Outcome) -> String {
    let mut out = String::new();
    let mut rest = format;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        if let ('%', Some(inner)) = (c, after.strip_prefix('{'))
            && let Some((name, behind)) = inner.split_once('}')
        {
            match variable(name, outcome) {
                Some(value) => out.push_str(&value),
                None => {
                    writeln!(out, "curl: unknown --write-out variable: '{name}'").expect("memory takes it")
                }
            }
            rest = behind;
            continue;
        }
        let escaped = match (c, after.chars().next()) {
            ('%', Some('%')) => Some('%'),
            ('\\', Some('n')) => Some('\n'),
            ('\\', Some('r')) => Some('\r'),
            ('\\', Some('t')) => Some('\t'),
            _ => None,
        };
        out.push(escaped.unwrap_or(c));
        rest = if escaped.is_some() { &after[1..] } else { after };
    }
    out
}

fn variable(name: &str, o: &Outcome) -> Option<String> {
    Some(match name {
        "http_code" | "response_code" => format!("{:03}", o.status),
        "http_version" => o.version.into(),
        "scheme" => o.scheme.to_ascii_uppercase(),
        "method" => o.method.clone(),
        "url_effective" | "url" => o.url.clone(),
        "content_type" => o.content_type.clone(),
        "redirect_url" => o.redirect_url.clone(),
        "errormsg" => o.error.clone(),
        "exitcode" => o.exit.to_string(),
        "local_ip" => o.local.0.clone(),
        "local_port" => o.local.1.to_string(),
        "remote_ip" => o.remote.0.clone(),
        "remote_port" => o.remote.1.to_string(),
        "num_connects" => o.connects.to_string(),
        "num_redirects" => o.redirects.to_string(),
        "size_download" => o.downloaded.to_string(),
        "size_upload" => o.uploaded.to_string(),
        "size_header" => o.header_bytes.to_string(),
        "size_request" => o.request_bytes.to_string(),
        "speed_download" => {
            let us = o.total.as_micros().max(1);
            (o.downloaded as u128 * 1_000_000 / us).to_string()
        }
        "time_namelookup" => seconds(o.redirect + o.names),
        "time_connect" => seconds(o.redirect + o.connect),
        "time_appconnect" => seconds(if o.tls.is_zero() { Duration::ZERO } else { o.redirect + o.tls }),
        "time_pretransfer" => seconds(o.redirect + o.pretransfer),
        "time_starttransfer" => seconds(o.redirect + o.first_byte),
        "time_redirect" => seconds(o.redirect),
        "time_total" => seconds(o.total),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_filled_as_curl_fills_them() {
        let outcome = Outcome { status: 200, total: Duration::from_micros(1_040_000), ..Outcome::default() };
        assert_eq!(fill(r"%{http_code} %{time_total}\n", &outcome), "200 1.040000\n");
        assert_eq!(fill("100%% %{", &outcome), "100% %{");
        assert_eq!(fill("%{nope}", &outcome), "curl: unknown --write-out variable: 'nope'\n");
        assert_eq!(fill("%{http_code}", &Outcome::default()), "000");
    }
}
