//! Two hosts on a cable in virtual time, apps on them, and what the apps print.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apps::{Cx, Env, Lines, Ready};
use net::{Host, Lab, LabConfig};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The smallest world: `client` 192.0.2.1 and `server` 192.0.2.2.
pub(crate) struct World {
    pub(crate) lab: Lab,
    hosts: [Host; 2],
    lines: Lines,
}

impl World {
    pub(crate) fn new(delay: Duration) -> World {
        let lab = Lab::new(LabConfig::default());
        let hosts = lab.pair(delay);
        World { lab, hosts, lines: Lines::default() }
    }

    fn env(host: &str) -> Env {
        let ip = |text: &str| vec![text.parse().unwrap()];
        let hosts = BTreeMap::from([("client".into(), ip("192.0.2.1")), ("server".into(), ip("192.0.2.2"))]);
        // Certificates: one for the server, and an authority that signed nothing.
        let tables = serde_json::json!({ "site": { "names": ["server"] }, "other": { "names": ["Another CA"], "kind": "ca" } });
        let tables: BTreeMap<String, apps::pki::Certificate> = serde_json::from_value(tables).unwrap();
        let tables = tables.into_iter().collect();
        let pki = Arc::new(apps::pki::Pki::new(&tables).unwrap());
        Env { host: host.into(), hosts, seed: 1, pki }
    }

    /// Starts an app on the server.
    pub(crate) fn serve(&mut self, kind: &str, table: &Value) {
        let Value::Object(table) = table else { panic!("a table is an object") };
        let app = (apps::kind(kind).unwrap().read)(table, &World::env("server")).unwrap();
        assert!(app.serves());
        let cx = Cx::new(World::env("server"), kind, self.lines.clone());
        self.lab.start(&self.hosts[1], async move { assert_eq!(app.run(cx).await, 0, "a service goes on") });
    }

    /// Answers every connection with these bytes and closes it.
    pub(crate) fn raw_server(&mut self, bytes: Vec<u8>) {
        self.lab.start(&self.hosts[1], async move {
            let listener = net::TcpListener::bind("0.0.0.0:80").await.unwrap();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buf = [0; 1000];
                let _ = stream.read(&mut buf).await;
                // Its client may have had enough.
                let _ = stream.write_all(&bytes).await;
            }
        });
    }

    /// Runs something on the client.
    pub(crate) fn client<T>(&mut self, program: impl Future<Output = T>) -> T {
        let host = self.hosts[0].clone();
        self.lab.run(host.scope(program))
    }

    /// Runs an app on the client; its exit status and what it printed.
    pub(crate) fn app(&mut self, kind: &str, table: &Value) -> (i32, Vec<String>) {
        let Value::Object(table) = table else { panic!("a table is an object") };
        let env = World::env("client");
        let app = (apps::kind(kind).unwrap().read)(table, &env).unwrap();
        let lines = Lines::default();
        let status = self.client(app.run(Cx::new(env, kind, lines.clone())));
        (status, lines.all())
    }

    /// Runs a command on the client; its exit status and what it printed.
    pub(crate) fn command(&mut self, words: &[&str]) -> (i32, Vec<String>) {
        let words: Vec<String> = words.iter().map(|word| (*word).to_string()).collect();
        let env = World::env("client");
        let app: Ready = (apps::command(&words[0]).unwrap().read)(&words, &env).unwrap();
        let lines = Lines::default();
        let cx = Cx::new(env, &words[0], lines.clone());
        let status = self.client(app.run(cx));
        (status, lines.all())
    }

    /// What the server printed so far.
    pub(crate) fn lines(&mut self) -> Vec<String> {
        self.lab.advance(Duration::from_millis(100));
        self.lines.all()
    }
}

/// Sends bytes and reads whatever comes until nothing comes for two seconds.
pub(crate) async fn raw(bytes: Vec<u8>) -> String {
    let mut stream = net::TcpStream::connect("server:80").await.unwrap();
    let (mut read, mut write) = stream.split();
    let mut got = Vec::new();
    let reading = async {
        let mut buf = [0; 4096];
        loop {
            match tokio::time::timeout(Duration::from_secs(2), read.read(&mut buf)).await {
                Ok(Ok(n)) if n > 0 => got.extend_from_slice(&buf[..n]),
                _ => return,
            }
        }
    };
    // The server may stop reading.
    let writing = async { drop(write.write_all(&bytes).await) };
    tokio::join!(reading, writing);
    String::from_utf8_lossy(&got).into_owned()
}
