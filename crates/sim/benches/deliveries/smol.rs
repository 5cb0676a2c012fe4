//! The peer: smoltcp 0.14 sends the same datagrams in the same batches.

use std::hint::black_box;

use smoltcp::socket::udp;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::IpEndpoint;

use crate::common::smol::{Host, SERVER, pair};
use crate::{BATCH, PORT, rate};

fn socket(host: &mut Host, port: u16) -> smoltcp::iface::SocketHandle {
    let ring = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; BATCH], vec![0; BATCH * 1500]);
    let mut socket = udp::Socket::new(ring(), ring());
    socket.bind(port).expect("a port");
    host.sockets.add(socket)
}

/// Millions of datagrams of `len` bytes delivered a second of CPU time.
pub(crate) fn deliveries(n: u64, len: usize) -> f64 {
    let (mut a, mut b) = pair();
    let (client, server) = (socket(&mut a, 40_000), socket(&mut b, PORT));
    let to = IpEndpoint::new(SERVER.into(), PORT);
    let payload = vec![0x55; len];
    let mut now = Instant::from_micros(1_000_000);
    let runs = n.div_ceil(BATCH as u64);
    rate(runs * BATCH as u64, || {
        for _ in 0..runs {
            let sender = a.sockets.get_mut::<udp::Socket>(client);
            for _ in 0..BATCH {
                sender.send_slice(&payload, to).expect("room");
            }
            now += Duration::from_micros(1);
            a.poll(now);
            b.poll(now);
            let receiver = b.sockets.get_mut::<udp::Socket>(server);
            let mut got = 0;
            while let Ok((data, _)) = receiver.recv() {
                black_box(data);
                got += 1;
            }
            assert_eq!(got, BATCH);
        }
    })
}
