//! A connection that HTTP runs over, whatever is beneath it, and how many bytes of what kind passed it.

use core::pin::Pin;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::{Context, Poll, ready};
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// TCP or TLS.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Any connection.
pub type BoxStream = Box<dyn Stream>;

/// Bytes of one direction of an HTTP/2 connection by the type of their frame (RFC 9113 §4.1), frame headers included.
#[derive(Debug, Default)]
pub struct Frames {
    /// All.
    pub total: AtomicU64,
    /// HEADERS, CONTINUATION and `PUSH_PROMISE`.
    pub headers: AtomicU64,
    /// DATA.
    pub data: AtomicU64,
}

/// Bytes of a connection, above TLS.
#[derive(Debug, Default)]
pub struct Counts {
    /// From the peer.
    pub received: Frames,
    /// To the peer.
    pub sent: Frames,
}

impl Frames {
    /// Bytes, headers, data.
    pub fn get(&self) -> [u64; 3] {
        [&self.total, &self.headers, &self.data].map(|n| n.load(Ordering::Relaxed))
    }

    /// Adds bytes of a message head (HTTP/1).
    pub(crate) fn add_headers(&self, n: usize) {
        self.headers.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// Adds bytes of a body (HTTP/1).
    pub(crate) fn add_data(&self, n: usize) {
        self.data.fetch_add(n as u64, Ordering::Relaxed);
    }
}

/// Writes of a connection that does something to its reads only go to its field of this name.
macro_rules! writes_through {
    ($ty:ty, $field:ident) => {
        impl tokio::io::AsyncWrite for $ty {
            fn poll_write(
                mut self: core::pin::Pin<&mut Self>,
                cx: &mut core::task::Context<'_>,
                buf: &[u8],
            ) -> core::task::Poll<std::io::Result<usize>> {
                core::pin::Pin::new(&mut self.$field).poll_write(cx, buf)
            }

            fn poll_write_vectored(
                mut self: core::pin::Pin<&mut Self>,
                cx: &mut core::task::Context<'_>,
                bufs: &[std::io::IoSlice<'_>],
            ) -> core::task::Poll<std::io::Result<usize>> {
                core::pin::Pin::new(&mut self.$field).poll_write_vectored(cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                self.$field.is_write_vectored()
            }

            fn poll_flush(
                mut self: core::pin::Pin<&mut Self>,
                cx: &mut core::task::Context<'_>,
            ) -> core::task::Poll<std::io::Result<()>> {
                core::pin::Pin::new(&mut self.$field).poll_flush(cx)
            }

            fn poll_shutdown(
                mut self: core::pin::Pin<&mut Self>,
                cx: &mut core::task::Context<'_>,
            ) -> core::task::Poll<std::io::Result<()>> {
                core::pin::Pin::new(&mut self.$field).poll_shutdown(cx)
            }
        }
    };
}
pub(crate) use writes_through;

/// The frame header (RFC 9113 §4.1).
const FRAME_HEADER: usize = 9;
/// The connection preface of a client (RFC 9113 §3.4).
const PREFACE: usize = 24;

/// Follows the frames of one direction.
#[derive(Debug)]
struct Follow {
    /// Bytes of the preface still to come.
    preface: usize,
    head: [u8; FRAME_HEADER],
    have: usize,
    left: usize,
}

impl Follow {
    fn new(preface: usize) -> Follow {
        Follow { preface, head: [0; FRAME_HEADER], have: 0, left: 0 }
    }

    fn feed(&mut self, mut bytes: &[u8], frames: &Frames) {
        let skip = self.preface.min(bytes.len());
        self.preface -= skip;
        bytes = &bytes[skip..];
        while !bytes.is_empty() {
            if self.have < FRAME_HEADER {
                let n = (FRAME_HEADER - self.have).min(bytes.len());
                self.head[self.have..self.have + n].copy_from_slice(&bytes[..n]);
                self.have += n;
                bytes = &bytes[n..];
                if self.have < FRAME_HEADER {
                    return;
                }
                self.left = usize::from(self.head[0]) << 16
                    | usize::from(self.head[1]) << 8
                    | usize::from(self.head[2]);
                self.count(FRAME_HEADER, frames);
            }
            let n = self.left.min(bytes.len());
            self.count(n, frames);
            self.left -= n;
            bytes = &bytes[n..];
            if self.left == 0 {
                self.have = 0;
            }
        }
    }

    fn count(&self, n: usize, frames: &Frames) {
        match self.head[3] {
            0 => frames.add_data(n),
            1 | 5 | 9 => frames.add_headers(n),
            _ => {}
        }
    }
}

/// A connection that is counted.
pub(crate) struct Counted {
    inner: BoxStream,
    counts: Arc<Counts>,
    /// For HTTP/2: what was received and sent.
    follow: Option<[Follow; 2]>,
}

impl Counted {
    /// HTTP/1, which counts heads and bodies itself.
    pub(crate) fn h1(inner: BoxStream, counts: Arc<Counts>) -> Counted {
        Counted { inner, counts, follow: None }
    }

    /// The client's end of HTTP/2.
    pub(crate) fn h2_client(inner: BoxStream, counts: Arc<Counts>) -> Counted {
        Counted { inner, counts, follow: Some([Follow::new(0), Follow::new(PREFACE)]) }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        let new = &buf.filled()[before..];
        this.counts.received.total.fetch_add(new.len() as u64, Ordering::Relaxed);
        if let Some([follow, _]) = &mut this.follow {
            follow.feed(new, &this.counts.received);
        }
        Poll::Ready(Ok(()))
    }
}

impl Counted {
    fn written(&mut self, buf: &[u8]) {
        self.counts.sent.total.fetch_add(buf.len() as u64, Ordering::Relaxed);
        if let Some([_, follow]) = &mut self.follow {
            follow.feed(buf, &self.counts.sent);
        }
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.written(&buf[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs))?;
        let mut left = n;
        for buf in bufs {
            let part = left.min(buf.len());
            self.written(&buf[..part]);
            left -= part;
        }
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_by_type_however_they_are_cut() {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        for (kind, len) in [(4_u8, 18_usize), (1, 30), (0, 300), (9, 5), (0, 0)] {
            let n = u32::try_from(len).unwrap().to_be_bytes();
            bytes.extend([n[1], n[2], n[3], kind, 0, 0, 0, 0, 1]);
            bytes.extend(vec![7; len]);
        }
        for cut in [1, 2, 7, 64, 4096] {
            let frames = Frames::default();
            let mut follow = Follow::new(PREFACE);
            bytes.chunks(cut).for_each(|part| follow.feed(part, &frames));
            let [_, headers, data] = frames.get();
            assert_eq!([headers, data], [9 + 30 + 9 + 5, 9 + 300 + 9], "{cut}");
        }
    }
}
