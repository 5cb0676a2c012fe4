//! qlog: what quinn writes of its insides while a connection lives (draft-ietf-quic-qlog), for qvis.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use quinn::{QlogConfig, QlogStream};

/// The most that one program writes.
const MAX_BYTES: usize = 32 << 20;

/// A qlog in memory, in the JSON text sequences that qvis loads.
#[derive(Clone, Debug, Default)]
pub struct Qlog {
    title: String,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Qlog {
    /// An empty one; the title is for the reader.
    pub fn new(title: impl Into<String>) -> Qlog {
        Qlog { title: title.into(), bytes: Arc::default() }
    }

    pub(super) fn stream(&self) -> Option<QlogStream> {
        let mut config = QlogConfig::default();
        config.writer(Box::new(Writer(self.bytes.clone())));
        config.title(Some(self.title.clone()));
        // On the same clock as quinn's own.
        config.start_time(tokio::time::Instant::now().into_std());
        config.into_stream()
    }

    /// What has been written.
    pub fn take(&self) -> Vec<u8> {
        core::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Writer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Writer {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A record that does not fit is left out whole; quinn writes records one by one.
        if bytes.len() + buf.len() <= MAX_BYTES {
            bytes.extend_from_slice(buf);
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
