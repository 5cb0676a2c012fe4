//! Compile-only: the same text must compile against `tokio::net` and against `net`, signature by signature. What tokio
//! adds or changes shows up here as an error in one of the two modules.
#![expect(dead_code, reason = "it is enough that it compiles")]

/// What owned and borrowed halves of a stream have in common.
macro_rules! both_kinds_of_halves {
    ($r:ident, $w:ident, $b:ident, $v:ident) => {
        let _: Ready = is_send($r.ready(Interest::READABLE)).await?;
        let () = is_send($r.readable()).await?;
        let _: usize = is_send($r.peek($b)).await?;
        let _: usize = $r.try_read($b)?;
        let _: usize = $r.try_read_buf($v)?;
        let _: usize = $r.try_read_vectored(&mut [])?;
        let _: SocketAddr = $r.peer_addr()?;
        let _: SocketAddr = $r.local_addr()?;
        let _: Ready = is_send($w.ready(Interest::WRITABLE)).await?;
        let () = is_send($w.writable()).await?;
        let _: usize = $w.try_write($b)?;
        let _: usize = $w.try_write_vectored(&[])?;
        let _: SocketAddr = $w.peer_addr()?;
        let _: SocketAddr = $w.local_addr()?;
        let _: &TcpStream = $r.as_ref();
        let _: &TcpStream = $w.as_ref();
    };
}

/// Everything of tokio's sockets that is the same on every platform, and Linux's options.
macro_rules! surface {
    ($name:ident, $($net:tt)+) => {
        mod $name {
            use core::task::{Context, Poll};
            use std::io::{self, IoSlice, IoSliceMut};
            use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
            use std::time::Duration;

            use $($net)+::tcp::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
            use $($net)+::{TcpListener, TcpSocket, TcpStream, ToSocketAddrs, UdpSocket, lookup_host};
            use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};

            fn is_socket<T: Send + Sync + Unpin + core::fmt::Debug + 'static>() {}
            fn is_stream<T: AsyncRead + AsyncWrite + Unpin>() {}
            fn is_send<T: Send>(value: T) -> T { value }
            fn is_addr<T: ToSocketAddrs + ?Sized>() {}

            fn traits() {
                is_socket::<TcpStream>();
                is_socket::<TcpListener>();
                is_socket::<TcpSocket>();
                is_socket::<UdpSocket>();
                is_socket::<OwnedReadHalf>();
                is_socket::<OwnedWriteHalf>();
                is_stream::<TcpStream>();
                is_addr::<SocketAddr>();
                is_addr::<SocketAddrV4>();
                is_addr::<SocketAddrV6>();
                is_addr::<(std::net::IpAddr, u16)>();
                is_addr::<(Ipv4Addr, u16)>();
                is_addr::<(Ipv6Addr, u16)>();
                is_addr::<str>();
                is_addr::<&str>();
                is_addr::<String>();
                is_addr::<(&str, u16)>();
                is_addr::<(String, u16)>();
                is_addr::<&[SocketAddr]>();
                let _: fn(std::net::TcpStream) -> io::Result<TcpStream> = TcpStream::try_from;
                let _: fn(std::net::TcpListener) -> io::Result<TcpListener> = TcpListener::try_from;
            }

            async fn names() -> io::Result<()> {
                let mut found = is_send(lookup_host("localhost:80")).await?;
                let _: Option<SocketAddr> = found.next();
                Ok(())
            }

            async fn stream_async(s: &TcpStream, b: &mut [u8], v: &mut Vec<u8>) -> io::Result<()> {
                let _: TcpStream = is_send(TcpStream::connect("localhost:80")).await?;
                let _: TcpStream = is_send(TcpStream::connect(("localhost", 80))).await?;
                let _: Ready = is_send(s.ready(Interest::READABLE | Interest::WRITABLE)).await?;
                let () = is_send(s.readable()).await?;
                let () = is_send(s.writable()).await?;
                let _: usize = is_send(s.peek(b)).await?;
                let _: usize = s.try_read_buf(v)?;
                let _: u8 = s.try_io(Interest::READABLE, || Ok(1))?;
                let _: u8 = s.async_io(Interest::READABLE, || Ok(1)).await?;
                Ok(())
            }

            fn stream() {
                let _: fn(std::net::TcpStream) -> io::Result<TcpStream> = TcpStream::from_std;
                let _: fn(TcpStream) -> io::Result<std::net::TcpStream> = TcpStream::into_std;
                let _: fn(&TcpStream) -> io::Result<SocketAddr> = TcpStream::local_addr;
                let _: fn(&TcpStream) -> io::Result<SocketAddr> = TcpStream::peer_addr;
                let _: fn(&TcpStream) -> io::Result<Option<io::Error>> = TcpStream::take_error;
                let _: fn(&TcpStream, &mut Context<'_>, &mut ReadBuf<'_>) -> Poll<io::Result<usize>> =
                    TcpStream::poll_peek;
                let _: fn(&TcpStream, &mut Context<'_>) -> Poll<io::Result<()>> = TcpStream::poll_read_ready;
                let _: fn(&TcpStream, &mut Context<'_>) -> Poll<io::Result<()>> = TcpStream::poll_write_ready;
                let _: fn(&TcpStream, &mut [u8]) -> io::Result<usize> = TcpStream::try_read;
                let _: fn(&TcpStream, &mut [IoSliceMut<'_>]) -> io::Result<usize> = TcpStream::try_read_vectored;
                let _: fn(&TcpStream, &[u8]) -> io::Result<usize> = TcpStream::try_write;
                let _: fn(&TcpStream, &[IoSlice<'_>]) -> io::Result<usize> = TcpStream::try_write_vectored;
                let _: fn(&TcpStream) -> io::Result<bool> = TcpStream::nodelay;
                let _: fn(&TcpStream, bool) -> io::Result<()> = TcpStream::set_nodelay;
                let _: fn(&TcpStream) -> io::Result<bool> = TcpStream::quickack;
                let _: fn(&TcpStream, bool) -> io::Result<()> = TcpStream::set_quickack;
                let _: fn(&TcpStream) -> io::Result<Option<Duration>> = TcpStream::linger;
                #[expect(deprecated, reason = "it is there")]
                let _: fn(&TcpStream, Option<Duration>) -> io::Result<()> = TcpStream::set_linger;
                let _: fn(&TcpStream) -> io::Result<()> = TcpStream::set_zero_linger;
                let _: fn(&TcpStream) -> io::Result<u32> = TcpStream::ttl;
                let _: fn(&TcpStream, u32) -> io::Result<()> = TcpStream::set_ttl;
                let _: for<'a> fn(&'a mut TcpStream) -> (ReadHalf<'a>, WriteHalf<'a>) = TcpStream::split;
                let _: fn(TcpStream) -> (OwnedReadHalf, OwnedWriteHalf) = TcpStream::into_split;
            }

            async fn owned(mut r: OwnedReadHalf, w: OwnedWriteHalf, b: &mut [u8], v: &mut Vec<u8>) -> io::Result<()> {
                is_stream::<TcpStream>();
                both_kinds_of_halves!(r, w, b, v);
                let _: Result<TcpStream, ReuniteError> = r.reunite(w);
                let _: fn(OwnedWriteHalf, OwnedReadHalf) -> Result<TcpStream, ReuniteError> = OwnedWriteHalf::reunite;
                let _: fn(OwnedWriteHalf) = OwnedWriteHalf::forget;
                let _: fn(&mut OwnedReadHalf, &mut Context<'_>, &mut ReadBuf<'_>) -> Poll<io::Result<usize>> =
                    OwnedReadHalf::poll_peek;
                Ok(())
            }

            async fn borrowed(mut r: ReadHalf<'_>, w: WriteHalf<'_>, b: &mut [u8], v: &mut Vec<u8>) -> io::Result<()> {
                both_kinds_of_halves!(r, w, b, v);
                Ok(())
            }

            async fn listener(l: &TcpListener) -> io::Result<()> {
                let _: TcpListener = is_send(TcpListener::bind("localhost:80")).await?;
                let _: (TcpStream, SocketAddr) = is_send(l.accept()).await?;
                let _: fn(&TcpListener, &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> =
                    TcpListener::poll_accept;
                let _: fn(std::net::TcpListener) -> io::Result<TcpListener> = TcpListener::from_std;
                let _: fn(TcpListener) -> io::Result<std::net::TcpListener> = TcpListener::into_std;
                let _: SocketAddr = l.local_addr()?;
                let _: u32 = l.ttl()?;
                let () = l.set_ttl(1)?;
                Ok(())
            }

            async fn socket(s: TcpSocket, addr: SocketAddr) -> io::Result<()> {
                let _: TcpSocket = TcpSocket::new_v4()?;
                let _: TcpSocket = TcpSocket::new_v6()?;
                let () = s.set_keepalive(true)?;
                let _: bool = s.keepalive()?;
                let () = s.set_reuseaddr(true)?;
                let _: bool = s.reuseaddr()?;
                let () = s.set_reuseport(true)?;
                let _: bool = s.reuseport()?;
                let () = s.set_nodelay(true)?;
                let _: bool = s.nodelay()?;
                let () = s.set_send_buffer_size(1)?;
                let _: u32 = s.send_buffer_size()?;
                let () = s.set_recv_buffer_size(1)?;
                let _: u32 = s.recv_buffer_size()?;
                #[expect(deprecated, reason = "it is there")]
                let () = s.set_linger(None)?;
                let () = s.set_zero_linger()?;
                let _: Option<Duration> = s.linger()?;
                let _: u32 = s.tclass_v6()?;
                let () = s.set_tclass_v6(0)?;
                let _: u32 = s.tos_v4()?;
                let () = s.set_tos_v4(0)?;
                let _: Option<Vec<u8>> = s.device()?;
                let () = s.bind_device(Some(b"eth0"))?;
                let _: SocketAddr = s.local_addr()?;
                let _: Option<io::Error> = s.take_error()?;
                let () = s.bind(addr)?;
                let _: fn(TcpSocket, u32) -> io::Result<TcpListener> = TcpSocket::listen;
                let _: fn(std::net::TcpStream) -> TcpSocket = TcpSocket::from_std_stream;
                let _: TcpStream = is_send(s.connect(addr)).await?;
                Ok(())
            }

            async fn udp_async(s: &UdpSocket, b: &mut [u8], v: &mut Vec<u8>) -> io::Result<()> {
                let _: UdpSocket = is_send(UdpSocket::bind("localhost:80")).await?;
                let () = is_send(s.connect("localhost:80")).await?;
                let _: Ready = is_send(s.ready(Interest::READABLE)).await?;
                let () = is_send(s.readable()).await?;
                let () = is_send(s.writable()).await?;
                let _: usize = is_send(s.send(b)).await?;
                let _: usize = is_send(s.recv(b)).await?;
                let _: usize = is_send(s.recv_buf(v)).await?;
                let _: (usize, SocketAddr) = is_send(s.recv_buf_from(v)).await?;
                let _: usize = is_send(s.send_to(b, "localhost:80")).await?;
                let _: (usize, SocketAddr) = is_send(s.recv_from(b)).await?;
                let _: usize = is_send(s.peek(b)).await?;
                let _: (usize, SocketAddr) = is_send(s.peek_from(b)).await?;
                let _: SocketAddr = is_send(s.peek_sender()).await?;
                let _: usize = s.try_recv_buf(v)?;
                let _: (usize, SocketAddr) = s.try_recv_buf_from(v)?;
                let _: u8 = s.try_io(Interest::READABLE, || Ok(1))?;
                let _: u8 = s.async_io(Interest::READABLE, || Ok(1)).await?;
                Ok(())
            }

            type PollRecv = fn(&UdpSocket, &mut Context<'_>, &mut ReadBuf<'_>) -> Poll<io::Result<()>>;
            type PollRecvFrom = fn(&UdpSocket, &mut Context<'_>, &mut ReadBuf<'_>) -> Poll<io::Result<SocketAddr>>;

            fn udp(s: &UdpSocket) -> io::Result<()> {
                let _: fn(std::net::UdpSocket) -> io::Result<UdpSocket> = UdpSocket::from_std;
                let _: fn(UdpSocket) -> io::Result<std::net::UdpSocket> = UdpSocket::into_std;
                let _: fn(&UdpSocket) -> io::Result<SocketAddr> = UdpSocket::local_addr;
                let _: fn(&UdpSocket) -> io::Result<SocketAddr> = UdpSocket::peer_addr;
                let _: fn(&UdpSocket, &mut Context<'_>) -> Poll<io::Result<()>> = UdpSocket::poll_send_ready;
                let _: fn(&UdpSocket, &mut Context<'_>) -> Poll<io::Result<()>> = UdpSocket::poll_recv_ready;
                let _: fn(&UdpSocket, &mut Context<'_>, &[u8]) -> Poll<io::Result<usize>> = UdpSocket::poll_send;
                let _: fn(&UdpSocket, &mut Context<'_>, &[u8], SocketAddr) -> Poll<io::Result<usize>> =
                    UdpSocket::poll_send_to;
                let _: PollRecv = UdpSocket::poll_recv;
                let _: PollRecv = UdpSocket::poll_peek;
                let _: PollRecvFrom = UdpSocket::poll_recv_from;
                let _: PollRecvFrom = UdpSocket::poll_peek_from;
                let _: fn(&UdpSocket, &mut Context<'_>) -> Poll<io::Result<SocketAddr>> = UdpSocket::poll_peek_sender;
                let _: fn(&UdpSocket, &[u8]) -> io::Result<usize> = UdpSocket::try_send;
                let _: fn(&UdpSocket, &[u8], SocketAddr) -> io::Result<usize> = UdpSocket::try_send_to;
                let _: fn(&UdpSocket, &mut [u8]) -> io::Result<usize> = UdpSocket::try_recv;
                let _: fn(&UdpSocket, &mut [u8]) -> io::Result<usize> = UdpSocket::try_peek;
                let _: fn(&UdpSocket, &mut [u8]) -> io::Result<(usize, SocketAddr)> = UdpSocket::try_recv_from;
                let _: fn(&UdpSocket, &mut [u8]) -> io::Result<(usize, SocketAddr)> = UdpSocket::try_peek_from;
                let _: fn(&UdpSocket) -> io::Result<SocketAddr> = UdpSocket::try_peek_sender;
                let () = s.set_broadcast(s.broadcast()?)?;
                let () = s.set_multicast_loop_v4(s.multicast_loop_v4()?)?;
                let () = s.set_multicast_ttl_v4(s.multicast_ttl_v4()?)?;
                let () = s.set_multicast_loop_v6(s.multicast_loop_v6()?)?;
                let () = s.set_tclass_v6(s.tclass_v6()?)?;
                let () = s.set_ttl(s.ttl()?)?;
                let () = s.set_tos_v4(s.tos_v4()?)?;
                let _: Option<Vec<u8>> = s.device()?;
                let () = s.bind_device(None)?;
                let () = s.join_multicast_v4(Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED)?;
                let () = s.leave_multicast_v4(Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED)?;
                let () = s.join_multicast_v6(&Ipv6Addr::UNSPECIFIED, 0)?;
                let () = s.leave_multicast_v6(&Ipv6Addr::UNSPECIFIED, 0)?;
                let _: Option<io::Error> = s.take_error()?;
                Ok(())
            }
        }
    };
}

surface!(of_tokio, tokio::net);
surface!(of_net, net);
