//! What a program is, what it is told, and where its lines and secrets go.

use core::fmt::Debug;
use core::pin::Pin;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A program that was read and checked. It can be started any number of times.
pub type Ready = Arc<dyn App>;

/// A program at work; its value is the exit status, 0 for success.
pub type AppFuture = Pin<Box<dyn Future<Output = i32> + Send>>;

/// A program.
pub trait App: Debug + Send + Sync {
    /// Runs it on the current ground (see [`net`]) until it ends, which a service never does. What it has to say it
    /// says through `cx`; a client that fails prints why and ends with another status than 0.
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture;

    /// Whether it is a service: a run does not wait for its end.
    fn serves(&self) -> bool {
        false
    }
}

/// What is wrong with a program's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Keys and indices from the table down to the wrong value.
    pub path: Vec<String>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

/// What is wrong with a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError {
    /// Index of the wrong word; the number of words when one is missing.
    pub word: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

/// Reads a program that is its own table.
///
/// # Errors
/// What serde says, at its place.
pub fn from_table<T: App + DeserializeOwned + 'static>(
    table: &Map<String, Value>,
    _: &Env,
) -> Result<Ready, Vec<Problem>> {
    read_table::<T>(table).map(|app| Arc::new(app) as Ready)
}

/// Reads a table into a type; `#[serde(deny_unknown_fields)]` makes it say what is known.
pub(crate) fn read_table<T: DeserializeOwned>(table: &Map<String, Value>) -> Result<T, Vec<Problem>> {
    let value = Value::Object(table.clone());
    serde_path_to_error::deserialize(value).map_err(|error| {
        use serde_path_to_error::Segment;
        let path = error.path().iter().filter_map(|segment| match segment {
            Segment::Map { key } => Some(key.clone()),
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Enum { .. } | Segment::Unknown => None,
        });
        let path = path.collect();
        vec![Problem { path, message: error.into_inner().to_string(), help: None }]
    })
}

/// What a program may know before it runs.
#[derive(Clone, Debug, Default)]
pub struct Env {
    /// The host that it runs on.
    pub host: String,
    /// All hosts of the scenario with their first IPv4 and IPv6 address.
    pub hosts: BTreeMap<String, Vec<IpAddr>>,
    /// The seed of the scenario.
    pub seed: u64,
    /// The certificates of the scenario.
    pub pki: Arc<crate::pki::Pki>,
}

/// Where the lines and secrets of a program go.
pub trait Sink: Send + Sync {
    /// A line, without its newline, that the program prints now.
    fn print(&self, line: &str);

    /// A line of the NSS key log format (`SSLKEYLOGFILE`).
    fn key_log(&self, line: &str);

    /// A file that the program leaves beside the capture, such as a HAR file or a qlog. Not kept unless said.
    fn file(&self, name: &str, contents: Vec<u8>) {
        let _ = (name, contents);
    }
}

/// A sink that keeps the lines, for whoever runs programs without a scenario: tests above all. Secrets go nowhere.
#[derive(Clone, Debug, Default)]
pub struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn open(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All lines so far.
    pub fn all(&self) -> Vec<String> {
        self.open().clone()
    }

    /// The lines since the last call.
    pub fn take(&self) -> Vec<String> {
        core::mem::take(&mut *self.open())
    }
}

impl core::fmt::Display for Lines {
    /// One below the other.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.open().join("\n"))
    }
}

impl Sink for Lines {
    fn print(&self, line: &str) {
        self.open().push(line.into());
    }

    fn key_log(&self, _: &str) {}
}

/// What a running program has at hand besides the network; cheap to clone.
#[derive(Clone)]
pub struct Cx(Arc<CxInner>);

struct CxInner {
    env: Env,
    name: String,
    sink: Box<dyn Sink>,
}

impl Debug for Cx {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Cx")
            .field("host", &self.0.env.host)
            .field("name", &self.0.name)
            .finish_non_exhaustive()
    }
}

impl Cx {
    /// For a program of this name.
    pub fn new(env: Env, name: &str, sink: impl Sink + 'static) -> Cx {
        Cx(Arc::new(CxInner { env, name: name.into(), sink: Box::new(sink) }))
    }

    /// What it may know.
    pub fn env(&self) -> &Env {
        &self.0.env
    }

    /// The program's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// A seed of its own: of the scenario, the host, the program and what it is for.
    pub fn seed(&self, purpose: &str) -> u64 {
        // FNV-1a: names are short and this is no secret.
        let parts = [self.0.env.host.as_str(), &self.0.name, purpose];
        let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
        bytes.fold(self.0.env.seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }

    /// Prints a line, or several.
    pub fn print(&self, text: impl AsRef<str>) {
        text.as_ref().lines().for_each(|line| self.0.sink.print(line));
    }

    /// Leaves a file beside the capture.
    pub fn file(&self, name: &str, contents: Vec<u8>) {
        self.0.sink.file(name, contents);
    }

    /// Tells a secret, so that the capture can be decrypted.
    pub fn key_log(&self, line: &str) {
        self.0.sink.key_log(line);
    }
}
