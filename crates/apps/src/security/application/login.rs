//! Who a request is from: passwords (kept as PBKDF2 hashes), sessions that the server holds, tokens that it does not, and what of
//! them is still good.

use core::fmt;
use core::num::NonZeroU32;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Mutex;

use http::header::{AUTHORIZATION, COOKIE};
use ring::pbkdf2;
use schemars::JsonSchema;
use serde::Deserialize;

use super::token::{Delivery, Tokens, random_text, seconds};
use crate::http::client::locked;
use crate::http::front::Exchange;
use crate::units::Span;

/// How a login is remembered.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Login {
    /// By the server, under a random number that the client has in a cookie.
    #[default]
    Session,
    /// By the client, in a token that the server has signed.
    Token,
}

/// `SameSite` of a cookie.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum SameSiteWord {
    /// Never with another site's request.
    Strict,
    /// With another site's links only.
    Lax,
    /// Always.
    None,
}

/// The cookie of a login, with the attributes of RFC 6265bis §4.1.2.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CookieTable {
    /// Its name; "sid" unless given.
    pub name: String,
    /// `Strict`, `Lax` or `None`; not said unless given.
    pub same_site: Option<SameSiteWord>,
    /// Scripts do not see it; true unless given.
    pub http_only: bool,
    /// Only https carries it.
    pub secure: bool,
    /// All hosts below this domain get it; otherwise only the host itself.
    pub domain: Option<String>,
    /// Paths below this one get it; `/` unless given.
    pub path: String,
    /// How long it is kept; until the browser ends unless given.
    pub max_age: Option<Span>,
}

impl Default for CookieTable {
    fn default() -> CookieTable {
        CookieTable {
            name: "sid".into(),
            same_site: None,
            http_only: true,
            secure: false,
            domain: None,
            path: "/".into(),
            max_age: None,
        }
    }
}

impl CookieTable {
    /// The value of `Set-Cookie`. An empty value takes the cookie away.
    pub(super) fn line(&self, value: &str) -> String {
        let mut line = format!("{}={value}; Path={}", self.name, self.path);
        if let Some(domain) = &self.domain {
            line.push_str(&format!("; Domain={domain}"));
        }
        match self.max_age {
            _ if value.is_empty() => line.push_str("; Max-Age=0"),
            Some(age) => line.push_str(&format!("; Max-Age={}", age.0.as_secs())),
            None => {}
        }
        if self.secure {
            line.push_str("; Secure");
        }
        if self.http_only {
            line.push_str("; HttpOnly");
        }
        if let Some(same_site) = self.same_site {
            line.push_str(&format!("; SameSite={same_site:?}"));
        }
        line
    }
}

/// Rounds of PBKDF2. A real server wants 600,000 (OWASP's Password Storage sheet); here nobody steals the hashes, and a login is
/// made a thousand times over.
const ROUNDS: NonZeroU32 = NonZeroU32::new(1_000).expect("not zero");
/// Sessions that are held, and tokens that are refused.
const HELD: usize = 10_000;

/// Salt and hash.
type Hashed = ([u8; 16], [u8; 32]);

/// Passwords, sessions and tokens that were taken back.
pub(super) struct Logins {
    users: BTreeMap<String, Hashed>,
    sessions: Mutex<BTreeMap<String, Session>>,
    lifetime: Duration,
    /// `jti` of tokens that are refused, and until when.
    denied: Mutex<BTreeMap<String, u64>>,
}

/// What the server holds of one login.
#[derive(Clone, Debug)]
struct Session {
    user: String,
    /// What forms must bring.
    csrf: String,
    /// In seconds after 1970.
    ends: u64,
}

/// How a client proved itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// A cookie: the browser sends it whoever made the page.
    Cookie,
    /// `Authorization: Bearer`: only a script that has the token can send it.
    Bearer,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            By::Cookie => "cookie",
            By::Bearer => "bearer header",
        })
    }
}

/// A user who has proved himself.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) user: String,
    pub(super) by: By,
    /// What forms must bring.
    pub(super) csrf: Option<String>,
    /// The session's number or the token.
    pub(super) proof: String,
}

impl Logins {
    pub(super) fn new(users: &BTreeMap<String, String>, lifetime: Duration) -> Logins {
        let hashed = users.iter().map(|(user, password)| {
            let text = random_text(12);
            let salt: [u8; 16] = text.as_bytes().try_into().expect("twelve bytes are sixteen letters");
            let mut hash = [0; 32];
            pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, &salt, password.as_bytes(), &mut hash);
            (user.clone(), (salt, hash))
        });
        let users = hashed.collect();
        Logins { users, sessions: Mutex::default(), lifetime, denied: Mutex::default() }
    }

    /// Whether the password is the user's. A user who is not there takes as long as one who is.
    pub(super) fn password_is(&self, user: &str, password: &str) -> bool {
        let Some((salt, hash)) = self.users.get(user).or(self.users.values().next()) else { return false };
        let right = pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, salt, password.as_bytes(), hash);
        right.is_ok() && self.users.contains_key(user)
    }

    /// A new session, never one that the client proposed; `None` when too many are held.
    pub(super) fn open(&self, user: &str) -> Option<String> {
        let mut sessions = locked(&self.sessions);
        let now = seconds();
        sessions.retain(|_, session| session.ends > now);
        if sessions.len() >= HELD {
            return None;
        }
        let id = random_text(16);
        let ends = now + self.lifetime.as_secs();
        sessions.insert(id.clone(), Session { user: user.into(), csrf: random_text(16), ends });
        Some(id)
    }

    /// Forgets a session.
    pub(super) fn close(&self, id: &str) {
        locked(&self.sessions).remove(id);
    }

    /// Refuses a token from now on.
    pub(super) fn deny(&self, jti: &str, until: u64) {
        let mut denied = locked(&self.denied);
        let now = seconds();
        denied.retain(|_, until| *until > now);
        if denied.len() < HELD {
            denied.insert(jti.into(), until);
        }
    }

    /// What is held for all logins together.
    pub(super) fn held(&self) -> String {
        let sessions = locked(&self.sessions);
        let denied = locked(&self.denied);
        let bytes: usize = sessions
            .iter()
            .map(|(id, session)| id.len() + session.user.len() + session.csrf.len() + size_of::<u64>())
            .chain(denied.keys().map(|jti| jti.len() + size_of::<u64>()))
            .sum();
        let refused =
            if denied.is_empty() { String::new() } else { format!(", {} refused tokens", denied.len()) };
        format!("{} sessions{refused}, {bytes} bytes", sessions.len())
    }

    /// Whom a request is from.
    ///
    /// # Errors
    /// Why nobody knows.
    pub(super) fn known(
        &self,
        exchange: &Exchange,
        cookie: &CookieTable,
        tokens: Option<&Tokens>,
    ) -> Result<Known, String> {
        let Some(tokens) = tokens else {
            let id = self::cookie(exchange, &cookie.name).ok_or("no session")?;
            let session = locked(&self.sessions).get(id).cloned().ok_or("this session is not known here")?;
            if session.ends <= seconds() {
                return Err("the session has ended".into());
            }
            return Ok(Known {
                user: session.user,
                by: By::Cookie,
                csrf: Some(session.csrf),
                proof: id.into(),
            });
        };
        let bearer = exchange.header(AUTHORIZATION).and_then(|text| text.strip_prefix("Bearer "));
        let by_cookie =
            || self::cookie(exchange, &cookie.name).filter(|_| tokens.table().delivery == Delivery::Cookie);
        let (token, by) = match (bearer, by_cookie()) {
            (Some(token), _) => (token.trim(), By::Bearer),
            (None, Some(token)) => (token, By::Cookie),
            (None, None) => return Err("no token".into()),
        };
        let claims = tokens.check(token)?;
        if locked(&self.denied).contains_key(&claims.jti) {
            return Err("the token was taken back".into());
        }
        Ok(Known { user: claims.sub, by, csrf: claims.csrf, proof: token.into() })
    }
}

/// The value of a cookie.
pub(super) fn cookie<'a>(exchange: &'a Exchange, name: &str) -> Option<&'a str> {
    let fields = exchange.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = fields.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}
