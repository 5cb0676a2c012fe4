//! What a browser does between a URL and a page, without what draws it.
//!
//! Map: [`site`] says who is who; [`cookie`], [`cache`], [`hsts`] and [`cors`] are what is remembered and what each request is
//! allowed; [`csp`] is what a page allows itself; [`document`] reads HTML for what it needs; [`script`] runs the little JavaScript
//! that rows need. None of these knows a network or a clock. `fetch` puts them around one request, `visit` makes a page of many
//! requests; [`entry`] and [`har`] are what is noted, [`command`] is the command line.

pub mod cache;
pub mod command;
pub mod cookie;
pub mod cors;
pub mod csp;
mod date;
mod digest;
pub mod document;
pub mod entry;
mod fetch;
pub mod har;
pub mod hsts;
pub mod script;
pub mod site;
mod visit;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use crate::Cx;
use crate::http::client::{Client, Config, Version, locked};
use crate::tls::ClientOptions;
use cookie::CookieJar;
use entry::Entry;
pub use visit::Visited;

/// Bytes of bodies in the cache.
const CACHE: usize = 256 << 20;
/// Requests that are noted; those beyond are made all the same.
const ENTRIES: usize = 100_000;
/// Receive windows of HTTP/2, as Chromium's: 6 MiB a stream, 15 MiB a connection.
const WINDOWS: (u32, u32) = (6 << 20, 15 << 20);

/// How a browser is set.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which HTTP it offers.
    pub version: Version,
    /// Whether it goes over to HTTP/3 where an answer said that it is there (`Alt-Svc`).
    pub alt_svc: bool,
    /// Its TLS.
    pub tls: ClientOptions,
    /// Whether it has a cache.
    pub cache: bool,
    /// Whether it offers gzip and br.
    pub compress: bool,
    /// Domains that it knows to be https only (the HSTS preload list).
    pub preload: Vec<String>,
    /// A cookie without `SameSite` is `Lax`, as in Chromium since 2020.
    pub lax_by_default: bool,
    /// HTTP/1.1 connections to one host.
    pub per_host: usize,
    /// TCP Fast Open.
    pub fast_open: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            version: Version::Http2,
            alt_svc: false,
            tls: ClientOptions::default(),
            cache: true,
            compress: true,
            preload: Vec::new(),
            lax_by_default: true,
            per_host: 6,
            fast_open: false,
        }
    }
}

/// A browser: what it remembers lasts from visit to visit.
pub struct Browser {
    client: Client,
    cx: Cx,
    options: Options,
    state: Mutex<State>,
}

struct State {
    cache: cache::Cache<Bytes>,
    jar: CookieJar,
    hsts: hsts::Hsts,
    preflights: cors::Preflights,
    /// `localStorage` by origin.
    storage: BTreeMap<String, BTreeMap<String, String>>,
    entries: Vec<Entry>,
    visits: usize,
    /// The last page that came.
    shown: Option<visit::Page>,
}

impl Browser {
    /// A new one that remembers nothing.
    pub fn new(options: Options, cx: Cx) -> Arc<Browser> {
        let tls = Arc::new(crate::http::tls::Client::new(options.tls.clone(), &cx));
        let client = Client::new(Config {
            version: options.version,
            per_host: options.per_host,
            tls: Some(tls.clone()),
            quic: Some(tls),
            alt_svc: options.alt_svc,
            fast_open: options.fast_open,
            stream_window: WINDOWS.0,
            connection_window: WINDOWS.1,
            ..Config::default()
        });
        let state = State {
            cache: cache::Cache::new(cache::Kind::Private, CACHE),
            jar: if options.lax_by_default {
                CookieJar::default()
            } else {
                CookieJar::before_lax_by_default()
            },
            hsts: hsts::Hsts::preloaded(options.preload.iter().map(String::as_str)),
            preflights: cors::Preflights::default(),
            storage: BTreeMap::new(),
            entries: Vec::new(),
            visits: 0,
            shown: None,
        };
        Arc::new(Browser { client, cx, options, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    fn note(&self, entry: Entry) {
        let mut state = self.state();
        if state.entries.len() < ENTRIES {
            state.entries.push(entry);
        }
    }

    /// All requests up to now.
    pub fn entries(&self) -> Vec<Entry> {
        self.state().entries.clone()
    }

    /// Closes connections that are not used.
    pub fn close_idle(&self) {
        self.client.close_idle();
    }
}
