//! A small application with users, as part of the web server (`app = "http-server"`, table `application`): login, account, transfers,
//! comments, search. Every protection is a switch of the table, so that an attack can be shown with and without it.
//!
//! Map: `login` knows whom a request is from, `token` makes and checks JSON Web Tokens, `naive` checks them as one should not,
//! `guard` asks where a request comes from, `html` writes the pages.

mod guard;
mod html;
mod login;
pub(crate) mod naive;
pub mod token;

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, LOCATION, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::client::locked;
use crate::http::front::{Answer, AnswerBody, Exchange};
use crate::tls::server::below;
use crate::units::Span;
use crate::{Cx, Env, Problem};
pub use guard::{Cors, Csrf};
use html::Pages;
use login::{By, Known, Logins};
pub use login::{CookieTable, Login, SameSiteWord};
pub use token::{TokenTable, Tokens};

/// What the application is like.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Application {
    /// Users and their passwords.
    pub users: BTreeMap<String, String>,
    /// What each has; 100 unless given.
    #[serde(default)]
    pub balances: BTreeMap<String, u64>,
    /// `session` (the default) or `token`.
    #[serde(default)]
    pub login: Login,
    /// The cookie that carries the session's number, or the token when it is delivered in a cookie.
    #[serde(default)]
    pub cookie: CookieTable,
    /// How long a session is good; 30 minutes unless given.
    #[serde(default)]
    pub session_lifetime: Option<Span>,
    /// The tokens, with `login = "token"`.
    #[serde(default)]
    pub token: Option<TokenTable>,
    /// What a request that changes something needs besides its cookie; nothing unless given.
    #[serde(default)]
    pub csrf: Csrf,
    /// What pages of other origins may read; nothing unless given.
    #[serde(default)]
    pub cors: Option<Cors>,
    /// What users wrote is put into pages as text; true unless given.
    #[serde(default = "yes")]
    pub escape: bool,
    /// true: GET transfers as well, against RFC 9110 §9.2.1.
    #[serde(default)]
    pub transfer_by_get: bool,
}

fn yes() -> bool {
    true
}

/// How long a session is good.
const SESSION: Duration = Duration::from_secs(30 * 60);
/// What a user has at first.
const BALANCE: u64 = 100;
/// Comments that are kept, and bytes of one.
const COMMENTS: (usize, usize) = (1_000, 64 << 10);
/// Users of one application.
const USERS: usize = 1_000;
/// Fields of one form.
const FIELDS: usize = 100;

impl Application {
    /// What is wrong with the table, each at its place below it.
    pub fn check(&self, env: &Env) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut wrong = |path: &[&str], message: String, help: &str| {
            let path = path.iter().map(ToString::to_string).collect();
            found.push(Problem { path, message, help: Some(help.into()) });
        };
        if self.users.is_empty() || self.users.len() > USERS {
            wrong(
                &["users"],
                format!("{} users: 1 to {USERS}", self.users.len()),
                "users = { alice = \"secret\" }",
            );
        }
        for user in self.balances.keys().filter(|user| !self.users.contains_key(*user)) {
            wrong(&["balances", user], format!("there is no user `{user}`"), "balances are of users");
        }
        match (self.login, &self.token) {
            (Login::Token, None) => wrong(
                &["login"],
                "a login by token needs the table `token`".into(),
                "token = { secret = \"…\" }",
            ),
            (Login::Session, Some(_)) => {
                wrong(&["token"], "sessions need no token".into(), "login = \"token\"")
            }
            _ => {}
        }
        let cookie = &self.cookie;
        let fits = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        if !fits(&cookie.name) {
            wrong(
                &["cookie", "name"],
                format!("{:?} is no name of a cookie", cookie.name),
                "letters, digits, - and _",
            );
        }
        if !cookie.path.starts_with('/')
            || HeaderValue::from_str(&cookie.path).is_err()
            || cookie.path.contains(';')
        {
            wrong(&["cookie", "path"], format!("{:?} is no path", cookie.path), "path = \"/\"");
        }
        if let Some(domain) = cookie.domain.as_deref().filter(|domain| !fits(domain)) {
            wrong(&["cookie", "domain"], format!("{domain:?} is no domain"), "domain = \"shop.example\"");
        }
        if let Some(token) = &self.token {
            found.extend(below("token", token.check(env)));
        }
        if let Some(cors) = &self.cors {
            found.extend(below("cors", cors.check()));
        }
        found
    }
}

/// The application at work.
pub(crate) struct Running {
    table: Application,
    cx: Cx,
    pages: Pages,
    logins: Logins,
    tokens: Option<Tokens>,
    balances: Mutex<BTreeMap<String, u64>>,
    /// Who said what.
    comments: Mutex<Vec<(String, String)>>,
}

/// A path of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Login,
    Logout,
    Account,
    Transfer,
    Comments,
    Search,
    PublicKey,
}

impl Place {
    fn of(path: &str) -> Option<Place> {
        Some(match path {
            "/login" => Place::Login,
            "/logout" => Place::Logout,
            "/account" => Place::Account,
            "/transfer" => Place::Transfer,
            "/comments" => Place::Comments,
            "/search" => Place::Search,
            "/public.pem" => Place::PublicKey,
            _ => return None,
        })
    }

    fn methods(self) -> &'static [Method] {
        match self {
            Place::Login | Place::Transfer | Place::Comments => &[Method::GET, Method::HEAD, Method::POST],
            Place::Logout => &[Method::POST],
            Place::Account | Place::Search | Place::PublicKey => &[Method::GET, Method::HEAD],
        }
    }
}

/// The fields of a form, or of a flat JSON object. `None`: of another type.
fn fields(exchange: &Exchange, body: &[u8]) -> Option<Vec<(String, String)>> {
    let kind = exchange.header(CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "application/x-www-form-urlencoded" => {
            let all = url::form_urlencoded::parse(body).take(FIELDS);
            Some(all.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
        }
        "application/json" => {
            let Ok(Value::Object(map)) = serde_json::from_slice(body) else { return None };
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
            Some(map.iter().take(FIELDS).map(|(name, value)| (name.clone(), text(value))).collect())
        }
        _ => None,
    }
}

fn field<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(has, _)| has == name).map(|(_, value)| value.as_str())
}

fn html(status: StatusCode, text: String) -> Answer {
    let mut answer = Answer::new(status).with(CONTENT_TYPE, "text/html; charset=utf-8");
    answer.body = AnswerBody::Whole(text.into());
    answer
}

fn as_json(status: StatusCode, value: &Value) -> Answer {
    let mut answer = Answer::new(status).with(CONTENT_TYPE, "application/json");
    answer.body = AnswerBody::Whole(format!("{value}\n").into());
    answer
}

impl Running {
    /// Starts it; `None` when the table names keys that are not there, which the check has found.
    pub(crate) fn new(table: &Application, cx: &Cx) -> Option<Running> {
        let balance = |user: &String| (user.clone(), table.balances.get(user).copied().unwrap_or(BALANCE));
        let tokens = match &table.token {
            Some(token) => Some(Tokens::new(token, cx.env())?),
            None => None,
        };
        Some(Running {
            pages: Pages { escape: table.escape },
            logins: Logins::new(&table.users, table.session_lifetime.map_or(SESSION, |span| span.0)),
            tokens,
            balances: Mutex::new(table.users.keys().map(balance).collect()),
            comments: Mutex::default(),
            table: table.clone(),
            cx: cx.clone(),
        })
    }

    /// Whether a path is the application's.
    pub(crate) fn has(path: &str) -> bool {
        Place::of(path).is_some()
    }

    /// Answers a request for one of its paths.
    pub(crate) fn answer(&self, exchange: &Exchange, body: &Bytes) -> Answer {
        let Some(place) = Place::of(exchange.path()) else { return Answer::error(StatusCode::NOT_FOUND) };
        let mut answer = match (&exchange.method, &self.table.cors) {
            (method, _) if place.methods().contains(method) => self.place(place, exchange, body),
            (&Method::OPTIONS, Some(cors)) => return cors.preflight(exchange, place.methods()),
            _ => {
                let list = place.methods().iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
                Answer::error(StatusCode::METHOD_NOT_ALLOWED).with(ALLOW, &list)
            }
        };
        if let Some(cors) = &self.table.cors {
            cors.tell(exchange, &mut answer);
        }
        // What is told to one user is no other's (RFC 9111 §5.2.2.5).
        answer.with(CACHE_CONTROL, "no-store")
    }

    fn place(&self, place: Place, exchange: &Exchange, body: &Bytes) -> Answer {
        let posted = exchange.method == Method::POST;
        let sent = if posted { fields(exchange, body) } else { Some(Vec::new()) };
        // A logout needs no fields.
        let Some(sent) = sent.or_else(|| (place == Place::Logout).then(Vec::new)) else {
            return Answer::error(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        };
        match place {
            Place::Login if posted => self.login(&sent),
            Place::Login => html(StatusCode::OK, self.pages.login()),
            Place::PublicKey => match self.tokens.as_ref().and_then(Tokens::public_pem) {
                Some(pem) => Answer::text(StatusCode::OK, pem),
                None => Answer::error(StatusCode::NOT_FOUND),
            },
            Place::Search => {
                let asked = exchange.query().unwrap_or_default();
                let asked = url::form_urlencoded::parse(asked.as_bytes()).find(|(name, _)| name == "q");
                let asked = asked.map_or(String::new(), |(_, value)| value.into_owned());
                let comments = locked(&self.comments);
                let found: Vec<_> = comments
                    .iter()
                    .filter(|(_, text)| !asked.is_empty() && text.contains(&asked))
                    .cloned()
                    .collect();
                html(StatusCode::OK, self.pages.search(&asked, &found))
            }
            Place::Comments => self.comments(exchange, &sent, posted),
            Place::Logout | Place::Account | Place::Transfer => match self.known(exchange) {
                Err(why) => self.unknown(place, exchange, &why),
                Ok(known) => match place {
                    Place::Logout => self.logout(exchange, &known, &sent),
                    Place::Account => {
                        let balance = locked(&self.balances).get(&known.user).copied().unwrap_or(0);
                        let by = known.by.to_string();
                        as_json(StatusCode::OK, &json!({ "user": known.user, "balance": balance, "by": by }))
                    }
                    _ => self.transfer(exchange, &known, &sent, posted),
                },
            },
        }
    }

    fn known(&self, exchange: &Exchange) -> Result<Known, String> {
        self.logins.known(exchange, &self.table.cookie, self.tokens.as_ref())
    }

    /// 401, with the reason where RFC 6750 §3 wants it.
    fn unknown(&self, place: Place, exchange: &Exchange, why: &str) -> Answer {
        self.cx.print(format!("{} {}: 401, {why}", exchange.method, exchange.path()));
        if self.tokens.is_some() {
            let field = match why {
                "no token" => "Bearer realm=\"lab\"".to_string(),
                _ => {
                    format!("Bearer error=\"invalid_token\", error_description=\"{}\"", why.replace('"', "'"))
                }
            };
            return as_json(StatusCode::UNAUTHORIZED, &json!({ "error": why }))
                .with(WWW_AUTHENTICATE, &field);
        }
        if place == Place::Transfer && exchange.method == Method::GET {
            return html(StatusCode::UNAUTHORIZED, self.pages.login());
        }
        as_json(StatusCode::UNAUTHORIZED, &json!({ "error": why }))
    }

    fn login(&self, sent: &[(String, String)]) -> Answer {
        let (user, password) =
            (field(sent, "user").unwrap_or_default(), field(sent, "password").unwrap_or_default());
        if !self.logins.password_is(user, password) {
            self.cx.print(format!("login of {}: 401, wrong user or password", user.escape_debug()));
            return as_json(StatusCode::UNAUTHORIZED, &json!({ "error": "wrong user or password" }));
        }
        let value = match &self.tokens {
            None => match self.logins.open(user) {
                Some(id) => id,
                None => return Answer::error(StatusCode::SERVICE_UNAVAILABLE),
            },
            Some(tokens) => tokens.issue(user, self.table.csrf.token).0,
        };
        let what = if self.tokens.is_some() {
            format!("a token of {} bytes", value.len())
        } else {
            "a session".into()
        };
        self.cx.print(format!("{user} logs in: {what}; held here: {}", self.logins.held()));
        if let Some(tokens) = &self.tokens
            && tokens.table().delivery == token::Delivery::Body
        {
            let lifetime = tokens.table().lifetime.0.as_secs();
            let body = json!({ "token": value, "token_type": "Bearer", "expires_in": lifetime });
            return as_json(StatusCode::OK, &body);
        }
        Answer::new(StatusCode::SEE_OTHER)
            .with(LOCATION, "/account")
            .with(SET_COOKIE, &self.table.cookie.line(&value))
    }

    fn logout(&self, exchange: &Exchange, known: &Known, sent: &[(String, String)]) -> Answer {
        if let Err(why) = self.guarded(exchange, known, sent) {
            return self.refused(exchange, known, &why);
        }
        let left = match &self.tokens {
            None => {
                self.logins.close(&known.proof);
                "the session is forgotten".to_string()
            }
            Some(tokens) => match tokens.check(&known.proof) {
                Ok(claims) if tokens.table().deny_list => {
                    self.logins.deny(&claims.jti, claims.exp);
                    "the token is refused from now on".into()
                }
                Ok(claims) => {
                    let rest = claims.exp.saturating_sub(token::seconds());
                    format!("whoever has the token has it for another {rest} s")
                }
                Err(why) => why,
            },
        };
        self.cx.print(format!("{} logs out: {left}; held here: {}", known.user, self.logins.held()));
        let answer = as_json(StatusCode::OK, &json!({ "logged_out": known.user }));
        match known.by {
            By::Cookie => answer.with(SET_COOKIE, &self.table.cookie.line("")),
            By::Bearer => answer,
        }
    }

    fn guarded(&self, exchange: &Exchange, known: &Known, sent: &[(String, String)]) -> Result<(), String> {
        let trusted = self.table.cors.as_ref().map_or(&[][..], |cors| cors.origins.as_slice());
        self.table.csrf.passes(exchange, known, field(sent, "csrf"), trusted)
    }

    fn refused(&self, exchange: &Exchange, known: &Known, why: &str) -> Answer {
        self.cx.print(format!("{} {} of {}: 403, {why}", exchange.method, exchange.path(), known.user));
        as_json(StatusCode::FORBIDDEN, &json!({ "error": why }))
    }

    fn transfer(
        &self,
        exchange: &Exchange,
        known: &Known,
        sent: &[(String, String)],
        posted: bool,
    ) -> Answer {
        let query = exchange.query().unwrap_or_default();
        let by_get = !posted && self.table.transfer_by_get && !query.is_empty();
        if !posted && !by_get {
            let balance = locked(&self.balances).get(&known.user).copied().unwrap_or(0);
            let csrf = known.csrf.as_deref().filter(|_| self.table.csrf.token);
            return html(StatusCode::OK, self.pages.transfer(&known.user, balance, csrf));
        }
        let asked: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes())
            .take(FIELDS)
            .map(|(a, b)| (a.into_owned(), b.into_owned()))
            .collect();
        let sent = if by_get { &asked } else { sent };
        if let Err(why) = self.guarded(exchange, known, sent) {
            return self.refused(exchange, known, &why);
        }
        let to = field(sent, "to").unwrap_or_default();
        let amount =
            field(sent, "amount").and_then(|text| text.parse::<u64>().ok()).filter(|amount| *amount > 0);
        let mut balances = locked(&self.balances);
        let has = balances.get(&known.user).copied().unwrap_or(0);
        let (Some(amount), true) = (amount.filter(|amount| *amount <= has), balances.contains_key(to)) else {
            return as_json(
                StatusCode::UNPROCESSABLE_ENTITY,
                &json!({ "error": "no such user, or not so much" }),
            );
        };
        *balances.entry(known.user.clone()).or_default() -= amount;
        *balances.entry(to.into()).or_default() += amount;
        let left = balances.get(&known.user).copied().unwrap_or(0);
        drop(balances);
        let from = guard::source(exchange).unwrap_or_else(|| "nowhere that it says".into());
        self.cx.print(format!(
            "{} {amount} from {} to {to}, by {}, from a page of {from}",
            exchange.method, known.user, known.by
        ));
        html(StatusCode::OK, self.pages.transferred(&known.user, to, amount, left))
    }

    fn comments(&self, exchange: &Exchange, sent: &[(String, String)], posted: bool) -> Answer {
        let known = self.known(exchange).ok();
        if !posted {
            let csrf =
                known.as_ref().and_then(|known| known.csrf.as_deref()).filter(|_| self.table.csrf.token);
            return html(StatusCode::OK, self.pages.comments(&locked(&self.comments), csrf));
        }
        if let Some(known) = &known
            && let Err(why) = self.guarded(exchange, known, sent)
        {
            return self.refused(exchange, known, &why);
        }
        let (limit, longest) = COMMENTS;
        let text = field(sent, "text").unwrap_or_default();
        let mut comments = locked(&self.comments);
        if text.is_empty() || text.len() > longest || comments.len() >= limit {
            return Answer::error(StatusCode::UNPROCESSABLE_ENTITY);
        }
        let who = known.map_or_else(|| "somebody".to_string(), |known| known.user);
        let short: String = text.chars().take(60).collect();
        self.cx.print(format!("{who} says: {}", short.escape_debug()));
        comments.push((who, text.into()));
        Answer::new(StatusCode::SEE_OTHER).with(LOCATION, "/comments")
    }
}
