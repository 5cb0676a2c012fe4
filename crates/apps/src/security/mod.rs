//! Web security: an application whose protections can be taken away one by one, and those who then get in.
//!
//! Map: [`application`] is the server's side, within [`crate::http::server`]. `forger` makes tokens that it should not have, `thief`
//! uses what a script brings it, `stripper` keeps people on http, `flood` keeps others out, and `honest` tells what of that the
//! honest see. The attackers run in simulated worlds only.

pub mod application;
pub mod flood;
pub mod forger;
pub mod honest;
pub mod stripper;
pub mod thief;

use std::sync::Arc;

use http::Method;
use url::Url;

use crate::http::client::{Client, Config, Headers, Request, Version};
use crate::tls::ClientOptions;
use crate::{Cx, Problem};

/// The longest answer that an attacker reads.
const BODY: usize = 1 << 20;

/// Whether an attacker may run here: nowhere else than in a world of the lab.
fn is_simulated(cx: &Cx) -> bool {
    let simulated = net::Host::current().is_some_and(|host| host.in_virtual_time());
    if !simulated {
        cx.print(format!("{}: attacks run in simulated worlds only", cx.name()));
    }
    simulated
}

/// What is wrong with one key of a table.
fn wrong(key: &str, message: impl Into<String>, help: &str) -> Problem {
    Problem { path: vec![key.into()], message: message.into(), help: Some(help.into()) }
}

/// A URL of a table.
fn url(key: &str, text: &str) -> Result<Url, Problem> {
    let read =
        Url::parse(text).ok().filter(|url| ["http", "https"].contains(&url.scheme()) && url.host().is_some());
    read.ok_or_else(|| wrong(key, format!("{text:?} is no URL"), "such as \"http://server/account\""))
}

/// A client for requests whose header fields are all written by hand.
struct Asker(Client);

/// What came.
struct Asked {
    status: u16,
    headers: Headers,
    body: String,
}

impl Asker {
    fn new(tls: &ClientOptions, cx: &Cx) -> Asker {
        let tls = crate::http::tls::Client::new(tls.clone(), cx);
        Asker(Client::new(Config { version: Version::Http11, tls: Some(Arc::new(tls)), ..Config::default() }))
    }

    async fn ask(
        &self,
        method: Method,
        url: Url,
        fields: &[(&str, &str)],
        body: String,
    ) -> Result<Asked, String> {
        let mut request = Request::new(method, url);
        for (name, value) in fields {
            request = request.header(name, value).map_err(|error| error.to_string())?;
        }
        let response = self.0.send(request.body(body)).await.map_err(|error| error.to_string())?;
        let (status, headers) = (response.status.as_u16(), response.headers);
        let body = response.body.collect(BODY).await.map_err(|error| error.to_string())?;
        Ok(Asked { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
    }
}
