//! After a call: is its result the script's, and what does it change in the runner's books?

use stack::Errno;
use stack::call::{Fd, OptValue, Ret, SockAddr};

use super::calls::value_of;
use super::cmsg::{self, Wanted};
use super::socks::{Sock, State};
use super::value::{Bad, Value, bracketed, kind, number};
use super::{Fault, Run, Step, Stop};
use crate::ast::{Expr, Syscall};
use crate::symbols;
use crate::target::Answer;

/// What is to be done with a result beside comparing its number.
#[derive(Debug)]
pub(super) enum What {
    Nothing,
    Socket { datagram: bool, protocol: i64 },
    Accept,
    NewFd,
    Listen(i64),
    Close(i64),
    Pipe(i64, i64),
    GetSockOpt { value: Expr, len: usize },
    RecvMsg { flags: u32, wanted: Vec<Wanted> },
    Poll(Vec<u32>),
    Epoll { events: u32, data: u64 },
    Ioctl(i64),
}

/// The result expected.
#[derive(Debug)]
pub(super) struct After {
    what: What,
    result: i64,
    errno: Option<(String, Errno)>,
}

impl After {
    pub(super) fn new(call: &Syscall, what: What) -> Value<After> {
        let errno = match &call.errno {
            None => None,
            Some(name) => match symbols::errno(name) {
                Some(errno) => Some((name.clone(), errno)),
                None => return Err(Bad::Unknown(format!("unknown errno {name}"))),
            },
        };
        Ok(After { what, result: number(&call.result)?, errno })
    }
}

impl Run<'_> {
    pub(super) fn finish_call(&mut self, name: &str, after: After, answer: Answer) -> Step {
        let result = match &answer {
            Answer::Unsupported(text) => return self.unsupported(format!("{name} call: {text}")),
            Answer::Hangs => Err("it sleeps and nothing can wake it".to_owned()),
            _ => check_number(&after, &answer).and_then(|()| self.book(after, answer)),
        };
        match result {
            Ok(()) => Ok(()),
            Err(text) => {
                let fault: Fault = self.fault(format!("runtime error in {name} call: {text}"));
                if self.config.non_fatal_syscall {
                    if self.config.observe {
                        self.note(super::HappenedKind::Call, fault.message.clone());
                    }
                    self.warnings.push(fault);
                    return Ok(());
                }
                Err(Stop::Failed(fault))
            }
        }
    }

    fn book(&mut self, after: After, answer: Answer) -> Result<(), String> {
        let ret = match answer {
            Answer::Done(Ok(ret)) => Some(ret),
            Answer::Pipe(read, write) => {
                let What::Pipe(script_read, script_write) = after.what else { return Ok(()) };
                self.socks.open(script_read, read)?;
                return self.socks.open(script_write, write);
            }
            _ => None,
        };
        match (after.what, ret) {
            (What::Socket { datagram, protocol }, Some(Ret::Fd(fd, _))) => {
                self.socks.open(after.result, fd)?;
                let mut sock = Sock::new(State::New, protocol);
                // Protocol 0 is the type's own.
                if protocol == 0 {
                    sock.protocol = if datagram { 17 } else { 6 };
                }
                sock.datagram = datagram;
                sock.script_fd = Some(after.result);
                sock.live_fd = Some(fd);
                self.socks.push(sock);
                Ok(())
            }
            (What::Accept, Some(Ret::Fd(fd, peer))) => self.accepted(after.result, fd, peer),
            (What::NewFd, Some(Ret::Fd(fd, _))) => self.socks.open(after.result, fd),
            (What::Listen(fd), Some(_)) => {
                if let Some(sock) = self.socks.by_script_fd(fd) {
                    sock.state = State::Listening;
                }
                Ok(())
            }
            (What::Close(fd), Some(_)) => {
                self.socks.close(fd);
                Ok(())
            }
            (What::GetSockOpt { value, len }, Some(Ret::Opt(live))) => check_option(&value, len, &live),
            (What::RecvMsg { flags, wanted }, Some(Ret::Data { flags: live, control, .. })) => {
                if live.0 != flags {
                    return Err(format!("Expected msg_flags {flags:#010X} but got {:#010X}", live.0));
                }
                let offset = self.start;
                cmsg::check(&wanted, &control, offset, self.config.tolerance_usecs)
            }
            (What::Poll(wanted), Some(Ret::Poll(live))) => {
                for (n, (wanted, (_, live))) in wanted.iter().zip(&live).enumerate() {
                    if *wanted != live.0 {
                        let wanted = stack::call::PollEvents(*wanted);
                        return Err(format!("Expected revents of {wanted} but got {live} for pollfd {n}"));
                    }
                }
                Ok(())
            }
            (What::Epoll { events, data }, Some(Ret::Epoll(live))) => {
                let (live_events, live_data) = live.first().map_or((0, 0), |(e, d)| (e.0, *d));
                if live_events != events {
                    return Err(format!(
                        "epoll_event->events does not match script: expected: {events:#x} actual: {live_events:#x}"
                    ));
                }
                if live_data != data {
                    return Err(format!(
                        "epoll_event->data does not match script: expected: {data} actual: {live_data}"
                    ));
                }
                Ok(())
            }
            (What::Ioctl(wanted), Some(Ret::Int(live))) if live != wanted => {
                Err(format!("Bad ioctl optval: expected: {wanted} actual: {live}"))
            }
            _ => Ok(()),
        }
    }

    fn accepted(&mut self, script: i64, fd: Fd, peer: Option<SockAddr>) -> Result<(), String> {
        let port = match peer {
            Some(SockAddr::Ip(addr)) => Some(addr.port()),
            _ => None,
        };
        let ready = |s: &&mut Sock| {
            matches!(s.state, State::SynAckSent | State::SynAckAcked) && s.remote.map(|r| r.1) == port
        };
        let found = self.socks.all.iter_mut().rev().find(ready);
        let Some(sock) = found else { return Err("unable to find socket matching accept() call".into()) };
        sock.script_fd = Some(script);
        sock.live_fd = Some(fd);
        self.socks.open_again(script, fd)
    }
}

/// A descriptor's number is the script's own affair; every other result is exact.
fn check_number(after: &After, answer: &Answer) -> Result<(), String> {
    let (value, errno) = value_of(answer);
    let with =
        |errno: Option<Errno>| errno.map_or(String::new(), |e| format!(" with errno {} ({})", e.0, e.text()));
    let makes_fd = matches!(after.what, What::Socket { .. } | What::Accept | What::NewFd);
    if let What::Ioctl(_) = after.what {
        // The number is the value read; the call returns 0.
        let value = if errno.is_some() { -1 } else { 0 };
        if value != after.result {
            return Err(format!("Expected result {} but got {value}{}", after.result, with(errno)));
        }
    } else if makes_fd && after.result >= 0 {
        if value < 0 {
            return Err(format!("Expected non-negative result but got {value}{}", with(errno)));
        }
    } else if value != after.result {
        return Err(format!("Expected result {} but got {value}{}", after.result, with(errno)));
    }
    if let (Some((_, wanted)), Some(errno)) = (&after.errno, errno)
        && *wanted != errno
    {
        return Err(format!(
            "Expected errno {} ({}) but got {} ({})",
            wanted.0,
            wanted.text(),
            errno.0,
            errno.text()
        ));
    }
    Ok(())
}

/// An option's value as the kernel would write it.
fn option_bytes(value: &OptValue) -> Vec<u8> {
    match value {
        OptValue::Int(n) => (*n as i32).to_ne_bytes().to_vec(), // an int's 32 bits
        OptValue::Linger(on, seconds) => [i32::from(*on).to_ne_bytes(), seconds.to_ne_bytes()].concat(),
        OptValue::Timeval(s, us) => [s.to_ne_bytes(), us.to_ne_bytes()].concat(),
        OptValue::Membership(..) => Vec::new(),
        OptValue::Text(text) => {
            let mut bytes = text.as_bytes().to_vec();
            bytes.resize(bytes.len().max(16), 0);
            bytes
        }
        OptValue::Bytes(bytes) => bytes.to_vec(),
    }
}

fn check_option(script: &Expr, len: usize, live: &OptValue) -> Result<(), String> {
    let mut bytes = option_bytes(live);
    bytes.truncate(len);
    if bytes.len() != len {
        return Err(format!("Bad getsockopt optlen: expected: {len} actual: {}", bytes.len()));
    }
    match script {
        Expr::Text(text) => {
            if text.len() != len {
                return Err(format!(
                    "Bad getsockopt optval: expected optlen ({len} bytes) does not match length of expected optval \
                     string ({} bytes)",
                    text.len()
                ));
            }
            if *text != bytes {
                let show = |b: &[u8]| b.escape_ascii().to_string();
                return Err(format!(
                    "Bad getsockopt optval: expected: '{}' actual: '{}'",
                    show(text),
                    show(&bytes)
                ));
            }
            Ok(())
        }
        Expr::List(_) => {
            let Ok(four) = <[u8; 4]>::try_from(bytes.as_slice()) else {
                return Err(format!("Unsupported getsockopt optlen: {len}"));
            };
            let live = i64::from(i32::from_ne_bytes(four));
            match bracketed(script) {
                Ok(wanted) if wanted == live => Ok(()),
                Ok(wanted) => Err(format!("Bad getsockopt optval: expected: {wanted} actual: {live}")),
                Err(Bad::Wrong(text) | Bad::Unknown(text)) => Err(text),
            }
        }
        other => Err(format!("unsupported getsockopt value type: {}", kind(other))),
    }
}
