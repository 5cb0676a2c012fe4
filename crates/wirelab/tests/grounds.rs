//! The same program on three grounds: a world in virtual time, a TAP in real time with a real kernel as its peer, and the
//! machine's own sockets in a namespace. What it sees is the same.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use linux::Netns;
use net::{Host, Lab, LabConfig, Live, Port, TcpListener, TcpSocket, TcpStream, UdpSocket};
use sim::{LinkConfig, World, WorldConfig};
use stack::StackConfig;
use stack::admin::Admin;
use stack::record::NodeKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::time::timeout;
use wire::{MacAddr, Medium};

/// The server's half: answers on TCP 7 and UDP 7, refuses nothing else.
async fn server(addr: &str, ready: impl FnOnce()) -> io::Result<()> {
    let listener = TcpListener::bind((addr, 7)).await?;
    let socket = UdpSocket::bind((addr, 7)).await?;
    ready();
    let mut buf = [0; 2048];
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, peer) = accepted?;
                assert_eq!(stream.peer_addr()?, peer);
                net::spawn(serve(stream));
            }
            got = socket.recv_from(&mut buf) => {
                let (len, from) = got?;
                socket.send_to(&buf[..len], from).await?;
            }
        }
    }
}

async fn serve(stream: TcpStream) -> io::Result<()> {
    let (mut read, mut write) = stream.into_split();
    tokio::io::copy(&mut read, &mut write).await?;
    write.shutdown().await
}

/// The client's half. What it saw, for comparison between the grounds.
async fn client(peer: &str) -> io::Result<Vec<String>> {
    let mut seen = Vec::new();
    let peer: SocketAddr = format!("{peer}:7").parse().expect("an address");

    // Options before and after.
    let socket = TcpSocket::new_v4()?;
    socket.set_keepalive(true)?;
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(100_000)?;
    seen.push(format!("keepalive {} reuseaddr {}", socket.keepalive()?, socket.reuseaddr()?));
    seen.push(format!("sndbuf {}", socket.send_buffer_size()?));
    let mut stream = socket.connect(peer).await?;
    stream.set_nodelay(true)?;
    stream.set_ttl(33)?;
    seen.push(format!("nodelay {} ttl {} linger {:?}", stream.nodelay()?, stream.ttl()?, stream.linger()?));
    seen.push(format!("peer {}", stream.peer_addr()? == peer));

    // Readiness, peek, try.
    let ready = stream.ready(Interest::WRITABLE).await?;
    seen.push(format!("ready {ready:?}"));
    seen.push(format!("{:?}", stream.try_read(&mut [0; 8]).map_err(|e| e.kind())));
    assert_eq!(stream.try_write(b"hello world")?, 11);
    stream.readable().await?;
    let mut buf = [0; 32];
    let peeked = stream.peek(&mut buf).await?;
    seen.push(format!("peeked {:?}", &buf[..peeked.min(5)]));
    stream.read_exact(&mut buf[..11]).await?;
    seen.push(String::from_utf8_lossy(&buf[..11]).into_owned());

    // Halves, and the end of the stream.
    let big: Vec<u8> = (0..300_000u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let copy = big.clone();
    let (mut read, mut write) = stream.into_split();
    let writer = net::spawn(async move {
        write.write_all(&copy).await?;
        write.shutdown().await?;
        Ok::<_, io::Error>(write)
    });
    let mut back = Vec::new();
    read.read_to_end(&mut back).await?;
    seen.push(format!("{} bytes back, equal {}", back.len(), back == big));
    let write = writer.await.expect("no panic")?;
    let stream = read.reunite(write).expect("the same socket");
    seen.push(format!("{:?}", stream.try_write(b"late").map_err(|e| e.kind())));
    seen.push(format!("error {:?}", stream.take_error()?));
    drop(stream);

    // Errors.
    let refused = TcpStream::connect((peer.ip(), 9)).await.map_err(|e| (e.kind(), e.raw_os_error()));
    seen.push(format!("{:?}", refused.map(drop)));
    let none = TcpStream::connect("127.0.0.1:9").await.map_err(|e| e.kind());
    seen.push(format!("{:?}", none.map(drop)));

    // Datagrams, a peer that is not there, and ICMP's answer.
    let socket = UdpSocket::bind("0.0.0.0:0").await?;
    socket.send_to(b"one", peer).await?;
    let (len, from) = socket.recv_from(&mut buf).await?;
    seen.push(format!("{:?} from the peer {}", &buf[..len], from == peer));
    seen.push(format!("{:?}", socket.send(b"x").await.map_err(|e| e.raw_os_error())));
    seen.push(format!("{:?}", socket.try_recv(&mut buf).map_err(|e| e.kind())));
    socket.connect((peer.ip(), 9)).await?;
    socket.send(b"to nobody").await?;
    let error = timeout(Duration::from_secs(2), socket.recv(&mut buf)).await.expect("an ICMP error comes");
    seen.push(format!("{:?}", error.map_err(|e| e.kind())));
    socket.connect(peer).await?;
    socket.send(b"longer than the buffer").await?;
    seen.push(format!("cut to {:?}", socket.recv(&mut buf[..6]).await?));
    socket.set_broadcast(true)?;
    seen.push(format!("broadcast {} ttl {}", socket.broadcast()?, socket.ttl()?));
    Ok(seen)
}

fn in_virtual_time() -> Vec<String> {
    let mut lab = Lab::new(LabConfig::default());
    let [near, far] = lab.pair(Duration::from_micros(100));
    lab.start(&far, async { server("192.0.2.2", || ()).await.unwrap() });
    lab.run(near.scope(client("192.0.2.2"))).unwrap()
}

/// The machine's sockets: both halves in one namespace, over its loopback.
fn plain() -> Vec<String> {
    let ns = Netns::new().unwrap();
    ns.run(|| {
        runtime().block_on(async {
            let (ready, is_ready) = tokio::sync::oneshot::channel();
            tokio::spawn(server("127.0.0.1", move || ready.send(()).unwrap()));
            is_ready.await.unwrap();
            client("127.0.0.1").await.unwrap()
        })
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Our stack and a kernel on the two ends of a TAP, in real time.
fn on_a_tap(stack_is_client: bool) -> Vec<String> {
    let ns = Netns::new().unwrap();
    let mac = |n| MacAddr([2, 0, 0, 0, 0, n]);
    let (_, tap) = ns.open_tap("tap0", Some(mac(1)), 1500).unwrap();
    let setup = "ip link set tap0 up && ip addr add 198.51.100.1/24 dev tap0";
    assert!(ns.run(move || std::process::Command::new("sh").args(["-c", setup]).status().unwrap()).success());
    let mut world = World::new(WorldConfig { record: false, check: false, ..WorldConfig::default() });
    let ours = world.add_host(StackConfig { name: "ours".into(), record: false, ..StackConfig::default() });
    let eth0 = world.add_nic(ours, "eth0", Medium::Ethernet, mac(2), 1500);
    let kernel = world.add_external("kernel", NodeKind::Linux(linux::kernel_release()));
    let port = world.add_nic(kernel, "tap0", Medium::Ethernet, mac(1), 1500);
    world.connect((ours, eth0), (kernel, port), LinkConfig::default());
    for command in ["ip link set eth0 up", "ip addr add 198.51.100.2/24 dev eth0"] {
        world.admin(ours, &Admin::parse(command).unwrap()).unwrap();
    }
    let live = Live::new(world, vec![Port { node: kernel, ifindex: port, device: tap }]).unwrap();
    let host: Host = live.host(ours);
    ns.run(move || {
        runtime().block_on(async {
            let (ready, is_ready) = tokio::sync::oneshot::channel();
            let ready = move || ready.send(()).unwrap();
            if stack_is_client {
                tokio::spawn(server("198.51.100.1", ready));
                is_ready.await.unwrap();
                host.scope(client("198.51.100.1")).await.unwrap()
            } else {
                host.spawn(server("198.51.100.2", ready));
                is_ready.await.unwrap();
                client("198.51.100.2").await.unwrap()
            }
        })
    })
}

#[test]
fn the_same_program_sees_the_same_on_every_ground() {
    let simulated = in_virtual_time();
    assert!(simulated.len() > 15, "{simulated:#?}");
    if let Err(why) = Netns::new() {
        linux::testing::skip("the_same_program_sees_the_same_on_every_ground", &format!("root: {why}"));
        return;
    }
    assert_eq!(simulated, plain(), "virtual time, and the machine");
    assert_eq!(simulated, on_a_tap(true), "virtual time, and our stack before a kernel");
    assert_eq!(simulated, on_a_tap(false), "virtual time, and a kernel before our stack");
}
