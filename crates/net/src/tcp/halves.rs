//! What borrowed and owned halves of a stream have in common, method by method.

/// The methods of a read half; `$stream` finds the stream.
macro_rules! read_half {
    ($self:ident => $stream:expr) => {
        /// Reads and leaves the bytes where they are.
        pub fn poll_peek(
            &mut $self,
            cx: &mut core::task::Context<'_>,
            buf: &mut tokio::io::ReadBuf<'_>,
        ) -> core::task::Poll<std::io::Result<usize>> {
            $stream.poll_peek(cx, buf)
        }

        /// Reads and leaves the bytes where they are.
        pub async fn peek(&mut $self, buf: &mut [u8]) -> std::io::Result<usize> {
            $stream.peek(buf).await
        }

        /// Waits until something of `interest` holds.
        pub async fn ready(&$self, interest: tokio::io::Interest) -> std::io::Result<tokio::io::Ready> {
            $stream.ready(interest).await
        }

        /// Waits until there is something to read.
        pub async fn readable(&$self) -> std::io::Result<()> {
            $stream.readable().await
        }

        /// Reads what is there; `WouldBlock` when nothing is.
        pub fn try_read(&$self, buf: &mut [u8]) -> std::io::Result<usize> {
            $stream.try_read(buf)
        }

        /// The same into several buffers.
        pub fn try_read_vectored(&$self, bufs: &mut [std::io::IoSliceMut<'_>]) -> std::io::Result<usize> {
            $stream.try_read_vectored(bufs)
        }

        /// The same at the end of a growing buffer.
        pub fn try_read_buf<B: bytes::BufMut>(&$self, buf: &mut B) -> std::io::Result<usize> {
            $stream.try_read_buf(buf)
        }

        /// `getpeername`
        pub fn peer_addr(&$self) -> std::io::Result<std::net::SocketAddr> {
            $stream.peer_addr()
        }

        /// `getsockname`
        pub fn local_addr(&$self) -> std::io::Result<std::net::SocketAddr> {
            $stream.local_addr()
        }
    };
}

/// The methods of a write half.
macro_rules! write_half {
    ($self:ident => $stream:expr) => {
        /// Waits until something of `interest` holds.
        pub async fn ready(&$self, interest: tokio::io::Interest) -> std::io::Result<tokio::io::Ready> {
            $stream.ready(interest).await
        }

        /// Waits until there is room to write.
        pub async fn writable(&$self) -> std::io::Result<()> {
            $stream.writable().await
        }

        /// Writes what there is room for; `WouldBlock` when there is none.
        pub fn try_write(&$self, buf: &[u8]) -> std::io::Result<usize> {
            $stream.try_write(buf)
        }

        /// The same from several buffers.
        pub fn try_write_vectored(&$self, bufs: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
            $stream.try_write_vectored(bufs)
        }

        /// `getpeername`
        pub fn peer_addr(&$self) -> std::io::Result<std::net::SocketAddr> {
            $stream.peer_addr()
        }

        /// `getsockname`
        pub fn local_addr(&$self) -> std::io::Result<std::net::SocketAddr> {
            $stream.local_addr()
        }
    };
}

/// `AsyncRead` of a half.
macro_rules! impl_read {
    ($ty:ty) => {
        impl tokio::io::AsyncRead for $ty {
            fn poll_read(
                self: core::pin::Pin<&mut Self>,
                cx: &mut core::task::Context<'_>,
                buf: &mut tokio::io::ReadBuf<'_>,
            ) -> core::task::Poll<std::io::Result<()>> {
                AsRef::<crate::TcpStream>::as_ref(&*self).poll_read_shared(cx, buf)
            }
        }
    };
}

/// `AsyncWrite` of a half; `$shutdown` is a method of it.
macro_rules! impl_write {
    ($ty:ty, $shutdown:ident) => {
        impl tokio::io::AsyncWrite for $ty {
            fn poll_write(
                self: core::pin::Pin<&mut Self>,
                cx: &mut core::task::Context<'_>,
                buf: &[u8],
            ) -> core::task::Poll<std::io::Result<usize>> {
                AsRef::<crate::TcpStream>::as_ref(&*self).poll_write_shared(cx, buf)
            }

            fn poll_write_vectored(
                self: core::pin::Pin<&mut Self>,
                cx: &mut core::task::Context<'_>,
                bufs: &[std::io::IoSlice<'_>],
            ) -> core::task::Poll<std::io::Result<usize>> {
                AsRef::<crate::TcpStream>::as_ref(&*self).poll_write_vectored_shared(cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(
                self: core::pin::Pin<&mut Self>,
                _: &mut core::task::Context<'_>,
            ) -> core::task::Poll<std::io::Result<()>> {
                core::task::Poll::Ready(Ok(()))
            }

            fn poll_shutdown(
                self: core::pin::Pin<&mut Self>,
                _: &mut core::task::Context<'_>,
            ) -> core::task::Poll<std::io::Result<()>> {
                core::task::Poll::Ready(self.get_mut().$shutdown())
            }
        }
    };
}

pub(super) use {impl_read, impl_write, read_half, write_half};
