//! The kernel of this machine as host under test: a TUN device in a namespace, real system calls, the machine's clock.

use std::path::Path;

use linux::tun::{TunHost, files};
use stack::Errno;
use stack::call::{Call, CallResult, Cmsg, Fd, Ret};
use wire::Instant;

use crate::config::Config;
use crate::target::{Answer, Host, Request, ShellError, Target};

/// Makes a namespace for every script. Needs root, or a user namespace that gives as much.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kernel;

/// Tries of a script on the machine's clock: packetdrill's own suite needs as many on a busy machine.
const TRIES: u32 = 6;

impl Host for Kernel {
    fn tries(&self) -> u32 {
        TRIES
    }

    fn make(&self, config: &Config) -> Result<Box<dyn Target>, String> {
        let a = config.addresses();
        let whole = if a.remote.is_ipv6() { 128 } else { 32 };
        let mut batch = String::new();
        if !config.is_anyip {
            // The kernel finds at its leisure that a device without neighbours needs no DAD.
            let nodad = if a.local.is_ipv6() { " nodad" } else { "" };
            batch += &format!("addr add {}/{} dev tun0{nodad}\n", a.local, a.prefix_len);
        }
        // packetdrill adds the way to the gateway when the address did not bring it (`via` fails else).
        let via = if config.is_anyip { String::new() } else { format!(" via {}", a.gateway) };
        batch += &format!("route add {}/{whole}{via} dev tun0\n", a.remote);
        let host = TunHost::new(config.mtu, &batch).map_err(|e| e.to_string())?;
        Ok(Box::new(KernelTarget { host, open: Vec::new() }))
    }
}

/// One script's host.
struct KernelTarget {
    host: TunHost<Answer>,
    /// Descriptors that calls have made and not closed: they would outlive the script.
    open: Vec<Fd>,
}

impl KernelTarget {
    /// Remembers what a request opened or closed.
    fn note(&mut self, closed: Option<Fd>, answer: &Answer) {
        match answer {
            Answer::Done(Ok(Ret::Fd(fd, _))) => self.open.push(*fd),
            Answer::Pipe(from, to) => self.open.extend([*from, *to]),
            Answer::Done(Ok(_)) => self.open.retain(|fd| Some(*fd) != closed),
            Answer::Done(Err(_)) | Answer::Unsupported(_) | Answer::Hangs => {}
        }
    }
}

impl Drop for KernelTarget {
    fn drop(&mut self) {
        self.open.drain(..).for_each(files::close);
        let _ = std::fs::remove_file(format!("/tmp/sysctl_restore_{}.sh", std::process::id()));
    }
}

fn closes(request: &Request) -> Option<Fd> {
    match request {
        Request::Call(Call::Close { fd }) => Some(*fd),
        _ => None,
    }
}

impl Target for KernelTarget {
    fn name(&self) -> String {
        format!("linux {}", linux::kernel_release())
    }

    fn now(&mut self) -> Instant {
        self.host.now()
    }

    fn sleep_until(&mut self, at: Instant) {
        self.host.sleep_until(at);
    }

    fn receive(&mut self, deadline: Instant) -> Result<Option<(Instant, Vec<u8>)>, String> {
        self.host.receive(deadline).map_err(|e| format!("packet socket: {e}"))
    }

    fn inject(&mut self, packet: &[u8]) -> Result<(), String> {
        self.host.inject(packet).map_err(|e| format!("tun0: {e}"))
    }

    fn call(&mut self, request: &Request) -> Answer {
        let job = request.clone();
        let answer = self.host.call(move || make(&job)).unwrap_or(Answer::Hangs);
        self.note(closes(request), &answer);
        answer
    }

    fn start(&mut self, request: &Request) {
        let job = request.clone();
        self.host.start(move || make(&job));
    }

    fn finished(&mut self, until: Instant) -> Option<(Instant, Answer)> {
        let (at, answer) = self.host.finished(until)?;
        self.note(None, &answer);
        Some((at, answer))
    }

    fn counters(&mut self) -> Vec<(String, u64)> {
        let files = self.host.shell("cat /proc/net/snmp /proc/net/netstat", Path::new("/"));
        files.map_or_else(|_| Vec::new(), |output| counters(&output.stdout))
    }

    fn shell(&mut self, text: &str, dir: &Path) -> Result<(), ShellError> {
        match self.host.shell(text, dir) {
            Ok(output) if output.status == Some(0) => Ok(()),
            Ok(output) => {
                let status = output.status.map_or_else(|| "a signal".to_owned(), |n| format!("status {n}"));
                Err(ShellError::Failed(format!("{status}: {}", output.stderr.trim())))
            }
            Err(e) => Err(ShellError::Failed(format!("/bin/sh: {e}"))),
        }
    }
}

/// The files have lines in pairs, `Tcp: names…` and `Tcp: numbers…`.
fn counters(text: &str) -> Vec<(String, u64)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for pair in lines.chunks_exact(2) {
        let (names, numbers) = (pair[0].split_whitespace(), pair[1].split_whitespace());
        let prefix = pair[0].split(':').next().unwrap_or_default();
        for (name, n) in names.zip(numbers).skip(1) {
            if let Ok(n @ 1..) = n.parse() {
                found.push((format!("{prefix}{name}"), n));
            }
        }
    }
    found
}

/// Makes a request in the calling thread.
fn make(request: &Request) -> Answer {
    let number = |n: std::io::Result<usize>| Answer::Done(result(n.map(|n| Ret::Int(n as i64))));
    match request {
        Request::Call(call) => Answer::Done(on_our_clock(linux::system_call(call))),
        Request::Open { path, flags } => match i32::try_from(*flags) {
            Ok(flags) => Answer::Done(result(files::open(path, flags).map(|fd| Ret::Fd(fd, None)))),
            Err(_) => Answer::Done(Err(Errno::EINVAL)),
        },
        Request::SendFile { out, input, offset, len } => number(files::sendfile(*out, *input, *offset, *len)),
        Request::Pipe => match files::pipe() {
            Ok((from, to)) => Answer::Pipe(from, to),
            Err(e) => Answer::Done(Err(errno(&e))),
        },
        Request::Splice { input, out, len, flags } => number(files::splice(*input, *out, *len, *flags)),
        Request::CapSet { set, capability, on } => {
            let (Ok(set), Ok(capability)) = (u32::try_from(*set), u32::try_from(*capability)) else {
                return Answer::Done(Err(Errno::EINVAL));
            };
            Answer::Done(result(files::set_capability(set, capability, *on).map(|()| Ret::Int(0))))
        }
    }
}

/// `SCM_TIMESTAMPING`
const SCM_TIMESTAMPING: i32 = 37;

/// Time stamps of the kernel are the wall clock's; a target has one clock.
fn on_our_clock(mut result: CallResult) -> CallResult {
    if let Ok(Ret::Data { control, .. }) = &mut result {
        for cmsg in control {
            match cmsg {
                Cmsg::Timestamp(ns) => *ns = linux::tun::clock_of_wall(*ns),
                Cmsg::Other(1, SCM_TIMESTAMPING, bytes) => {
                    // Three timespecs: by software, none, by hardware.
                    let words: Vec<u64> = bytes
                        .chunks_exact(8)
                        .map(|w| u64::from_ne_bytes(w.try_into().expect("chunks of 8")))
                        .collect();
                    let ours = words.chunks_exact(2).flat_map(|time| {
                        let wall = time[0] * 1_000_000_000 + time[1];
                        let ns = if wall == 0 { 0 } else { linux::tun::clock_of_wall(wall) };
                        [ns / 1_000_000_000, ns % 1_000_000_000]
                    });
                    *bytes = ours.flat_map(u64::to_ne_bytes).collect::<Vec<u8>>().into();
                }
                _ => {}
            }
        }
    }
    result
}

fn result(result: std::io::Result<Ret>) -> CallResult {
    result.map_err(|e| errno(&e))
}

fn errno(e: &std::io::Error) -> Errno {
    Errno(e.raw_os_error().and_then(|n| u16::try_from(n).ok()).unwrap_or(Errno::EINVAL.0))
}
