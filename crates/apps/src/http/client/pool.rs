//! Which connection a request gets: a kept one, a new one up to the limit of its host, or a place in the queue. As browsers do
//! it: 6 HTTP/1 connections a host, one of HTTP/2.

use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::alt_svc::{self, Ways};
use super::h1::{Freed, Http1};
use super::h2::Http2;
use super::h3::Http3;
use super::{
    Config, ConnectionInfo, Error, Event, Marks, Origin, Request, Response, Version, dial, dial_http3, locked,
};
use crate::http::stream::BoxStream;

/// Requests that may wait for a connection to one host.
const WAITING: usize = 4096;
/// Connections that a client remembers.
const REMEMBERED: usize = 1 << 16;

/// A connection.
#[derive(Clone)]
pub(crate) enum Conn {
    H1(Arc<Http1>),
    H2(Arc<Http2>),
    H3(Arc<Http3>),
}

/// What dialling came to.
pub(crate) enum Got {
    H1(BoxStream),
    H2(Arc<Http2>),
    H3(Arc<Http3>),
}

/// A connection for one request.
pub(crate) struct Lease {
    pub(crate) conn: Conn,
    pub(crate) reused: bool,
}

#[derive(Default)]
struct Host {
    /// HTTP/1 connections that can take a request, the last used last.
    idle: Vec<(Arc<Http1>, Instant)>,
    /// HTTP/1 connections, and those that are being opened.
    open: usize,
    /// How many of those are being opened.
    opening: usize,
    http2: Option<Arc<Http2>>,
    http3: Option<Arc<Http3>>,
    /// It once chose HTTP/1.
    http1: bool,
    waiting: VecDeque<oneshot::Sender<()>>,
}

/// All connections of a client.
pub(crate) struct Pool {
    pub(crate) config: Config,
    hosts: Mutex<BTreeMap<Origin, Host>>,
    pub(crate) opened: Mutex<Vec<Arc<ConnectionInfo>>>,
    ways: Mutex<Ways>,
    next: AtomicU64,
}

enum Turn {
    Use(Conn),
    Open,
    Wait(oneshot::Receiver<()>),
}

/// Gives a place back when the request is dropped while it dials.
struct Place {
    pool: Weak<Pool>,
    origin: Origin,
    kept: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade() else { return };
        let mut hosts = locked(&pool.hosts);
        let host = hosts.entry(self.origin.clone()).or_default();
        host.opening -= 1;
        if !self.kept {
            host.open -= 1;
        }
        host.wake();
    }
}

impl Host {
    /// Whoever waits looks again; there are few.
    fn wake(&mut self) {
        self.waiting.drain(..).for_each(|waiter| {
            let _ = waiter.send(());
        });
    }
}

impl Pool {
    pub(super) fn new(config: Config) -> Pool {
        Pool {
            config,
            hosts: Mutex::default(),
            opened: Mutex::default(),
            ways: Mutex::default(),
            next: AtomicU64::new(0),
        }
    }

    /// What an answer says of other ways to the same pages.
    pub(super) fn learn(&self, origin: &Origin, response: &Response) {
        if self.config.alt_svc && origin.secure {
            locked(&self.ways).learn(origin, &response.headers, Instant::now());
        }
    }

    /// A connection of the kind that the origin is known to have.
    async fn dial(
        &self,
        origin: &Origin,
        request: &Request,
        marks: &Arc<Mutex<Marks>>,
        id: u64,
    ) -> Result<(Got, Arc<ConnectionInfo>), Error> {
        let way = locked(&self.ways).port(origin, Instant::now());
        let Some(port) = way else { return dial(&self.config, origin, request, marks, id).await };
        let limit = self.config.connect_timeout.unwrap_or(alt_svc::PATIENCE).min(alt_svc::PATIENCE);
        match dial_http3(&self.config, (origin, port), Some(limit), request, marks, id).await {
            Err(error) => {
                request.tell(&Event::Info(&format!("no HTTP/3 ({error}): by TCP")));
                locked(&self.ways).broken(origin, Instant::now());
                dial(&self.config, origin, request, marks, id).await
            }
            dialled => dialled,
        }
    }

    pub(super) fn close_idle(&self) {
        for host in locked(&self.hosts).values_mut() {
            host.idle.drain(..).for_each(|(conn, _)| conn.close());
            (host.http2, host.http3) = (None, None);
        }
    }

    /// A connection for a request.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        origin: &Origin,
        request: &Request,
        marks: &Arc<Mutex<Marks>>,
    ) -> Result<Lease, Error> {
        loop {
            match self.turn(origin)? {
                Turn::Use(conn) => {
                    let now = Instant::now();
                    let mut marks = locked(marks);
                    (marks.granted, marks.ready) = (Some(now), Some(now));
                    let info = match &conn {
                        Conn::H1(conn) => &conn.info,
                        Conn::H2(conn) => &conn.info,
                        Conn::H3(conn) => &conn.info,
                    };
                    request.tell(&Event::Reused(info));
                    return Ok(Lease { conn, reused: true });
                }
                Turn::Open => return self.open(origin, request, marks).await,
                // An error means that the host's entry is gone: look again.
                Turn::Wait(woken) => drop(woken.await),
            }
        }
    }

    fn turn(&self, origin: &Origin) -> Result<Turn, Error> {
        let mut hosts = locked(&self.hosts);
        let host = hosts.entry(origin.clone()).or_default();
        if let Some(http2) = host.http2.take_if(|http2| !http2.is_usable()) {
            drop(http2);
        }
        if let Some(http2) = &host.http2 {
            return Ok(Turn::Use(Conn::H2(http2.clone())));
        }
        if let Some(http3) = host.http3.take_if(|http3| !http3.is_usable()) {
            drop(http3);
        }
        if let Some(http3) = &host.http3 {
            return Ok(Turn::Use(Conn::H3(http3.clone())));
        }
        let now = Instant::now();
        let limit = self.config.idle_timeout;
        host.idle.retain(|(conn, since)| {
            let old = conn.in_flight() == 0 && now.saturating_duration_since(*since) >= limit;
            if old {
                conn.close();
            }
            !old && !conn.is_closed()
        });
        if let Some((conn, _)) = host.idle.pop() {
            conn.begin();
            if conn.in_flight() < self.config.pipeline {
                host.idle.push((conn.clone(), now));
            }
            return Ok(Turn::Use(Conn::H1(conn)));
        }
        // The first connection tells which protocol the host speaks.
        let asks = host.opening > 0 && !host.http1 && self.may_be_http2(origin);
        if host.open < self.config.per_host && !asks {
            host.open += 1;
            host.opening += 1;
            return Ok(Turn::Open);
        }
        if host.waiting.len() >= WAITING {
            return Err(Error::TooLarge("the queue for a connection is"));
        }
        let (wake, woken) = oneshot::channel();
        host.waiting.push_back(wake);
        Ok(Turn::Wait(woken))
    }

    fn may_be_http2(&self, origin: &Origin) -> bool {
        match self.config.version {
            Version::Http10 | Version::Http11 => false,
            Version::Http2 | Version::Http3 => origin.secure,
            Version::Http2PriorKnowledge => true,
        }
    }

    async fn open(
        self: &Arc<Self>,
        origin: &Origin,
        request: &Request,
        marks: &Arc<Mutex<Marks>>,
    ) -> Result<Lease, Error> {
        let mut place = Place { pool: Arc::downgrade(self), origin: origin.clone(), kept: false };
        locked(marks).granted = Some(Instant::now());
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (got, info) = self.dial(origin, request, marks, id).await?;
        locked(marks).ready = Some(Instant::now());
        {
            let mut opened = locked(&self.opened);
            if opened.len() < REMEMBERED {
                opened.push(info.clone());
            }
        }
        let conn = match got {
            Got::H1(stream) => {
                place.kept = true;
                let (pool, key) = (Arc::downgrade(self), origin.clone());
                let conn = Http1::start(
                    stream,
                    info,
                    Box::new(move |freed| {
                        if let Some(pool) = pool.upgrade() {
                            pool.free(&key, freed);
                        }
                    }),
                );
                conn.begin();
                let mut hosts = locked(&self.hosts);
                let host = hosts.entry(origin.clone()).or_default();
                host.http1 = true;
                if self.config.pipeline > 1 {
                    host.idle.push((conn.clone(), Instant::now()));
                }
                Conn::H1(conn)
            }
            Got::H2(conn) => {
                locked(&self.hosts).entry(origin.clone()).or_default().http2 = Some(conn.clone());
                Conn::H2(conn)
            }
            Got::H3(conn) => {
                locked(&self.hosts).entry(origin.clone()).or_default().http3 = Some(conn.clone());
                Conn::H3(conn)
            }
        };
        drop(place);
        Ok(Lease { conn, reused: false })
    }

    /// An HTTP/1 connection has an answer less to wait for, or is closed.
    fn free(&self, origin: &Origin, freed: Freed) {
        let mut hosts = locked(&self.hosts);
        let Some(host) = hosts.get_mut(origin) else { return };
        match freed {
            Freed::Ready(conn) => {
                host.idle.retain(|(other, _)| !Arc::ptr_eq(other, &conn));
                if conn.in_flight() < self.config.pipeline {
                    host.idle.push((conn, Instant::now()));
                }
            }
            Freed::Closed => {
                host.open -= 1;
                host.idle.retain(|(other, _)| !other.is_closed());
            }
        }
        host.wake();
    }
}
