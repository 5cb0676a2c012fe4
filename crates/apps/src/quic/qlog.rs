//! qlog: what quinn writes of its insides while a connection lives (draft-ietf-quic-qlog), for qvis. One file is one connection.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use quinn::{QlogConfig, QlogStream};

/// The most that one connection writes; records beyond are left out.
const MAX_BYTES: usize = 32 << 20;
/// RFC 7464: what a record of a JSON text sequence begins with.
const RECORD: u8 = 0x1e;

/// Whose view a qlog is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A client's.
    Client,
    /// A server's.
    Server,
}

/// A qlog in memory, in the JSON text sequences that qvis loads.
#[derive(Clone, Debug)]
pub struct Qlog {
    side: Side,
    bytes: Arc<Mutex<Vec<u8>>>,
}

/// The end of a qlog that quinn writes to.
pub struct QlogStart(pub(super) Option<QlogStream>);

impl Qlog {
    /// An empty one, and where it begins; the title is for the reader.
    pub fn new(title: impl Into<String>, side: Side) -> (Qlog, QlogStart) {
        let qlog = Qlog { side, bytes: Arc::default() };
        let mut config = QlogConfig::default();
        config.writer(Box::new(Writer { whole: qlog.bytes.clone(), record: Vec::new() }));
        config.title(Some(title.into()));
        // On the same clock as quinn's own.
        config.start_time(tokio::time::Instant::now().into_std());
        let start = QlogStart(config.into_stream());
        (qlog, start)
    }

    /// What has been written.
    pub fn take(&self) -> Vec<u8> {
        let bytes = core::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner));
        self.with_side(&bytes).unwrap_or(bytes)
    }

    /// quinn does not say whose view it is; qvis asks for it.
    fn with_side(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (head, rest) = bytes.split_at(end);
        let mut head: serde_json::Value = serde_json::from_slice(head.strip_prefix(&[RECORD])?).ok()?;
        let side = match self.side {
            Side::Client => "client",
            Side::Server => "server",
        };
        *head.pointer_mut("/trace/vantage_point/type")? = side.into();
        let mut whole = vec![RECORD];
        whole.extend(serde_json::to_vec(&head).ok()?);
        whole.extend_from_slice(rest);
        Some(whole)
    }
}

/// Collects a record, which comes in pieces, until it is whole.
struct Writer {
    whole: Arc<Mutex<Vec<u8>>>,
    record: Vec<u8>,
}

impl io::Write for Writer {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.record.extend_from_slice(buf);
        if self.record.ends_with(b"\n") {
            let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
            if whole.len() + self.record.len() <= MAX_BYTES {
                whole.extend_from_slice(&self.record);
            }
            self.record.clear();
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
