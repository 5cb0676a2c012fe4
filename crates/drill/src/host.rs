//! Our stack as host under test: virtual time, an interface without a wire, the runner as its peer.

mod files;
mod machine;

use std::collections::VecDeque;
use std::path::Path;

use stack::admin::Admin;
use stack::call::{Call, Outcome};
use stack::record::What;
use stack::socket::Pid;
use stack::{Errno, Granularity, KernelProfile, Stack, StackConfig};
use wire::{Frame, Instant, MacAddr, Medium};

use crate::config::Config;
use crate::shell::{self, Memory};
use crate::target::{Answer, Host, Request, ShellError, Target};
use files::Files;

/// Where the clock starts: away from 0, so that no time stamp is 0.
const START: Instant = Instant::from_secs(1000);
/// Scripts start this long after a tick of the kernel's clock, as packetdrill sees to it.
const AFTER_TICK: Instant = Instant::from_micros(250);
/// What a call or a packet takes on a real machine, or a little less: two things never happen at the same instant there, and
/// RACK, TSO deferral and others compare times that would be equal.
const EVENT: core::time::Duration = core::time::Duration::from_micros(5);
/// How long a call of the main thread may sleep.
const MAX_SLEEP: core::time::Duration = core::time::Duration::from_secs(3600);

/// Makes hosts of our stack.
#[derive(Clone, Copy, Debug)]
pub struct StackHost {
    /// Whose behaviour.
    pub profile: KernelProfile,
    /// How exactly timers fire.
    pub granularity: Granularity,
    /// Of all randomness.
    pub seed: u64,
}

impl Default for StackHost {
    /// 6.18 with a 1000-Hz clock, which the public scripts were written for.
    fn default() -> StackHost {
        StackHost { profile: KernelProfile::default(), granularity: Granularity::Wheel { hz: 1000 }, seed: 1 }
    }
}

impl Host for StackHost {
    fn make(&self, config: &Config) -> Result<Box<dyn Target>, String> {
        let stack = Stack::new(StackConfig {
            name: "host".into(),
            profile: self.profile,
            granularity: self.granularity,
            seed: self.seed,
            record: true,
        });
        let now = Instant::from_nanos(START.as_nanos() + AFTER_TICK.as_nanos());
        let mut target = StackTarget::new(stack, now, self.profile);
        let ifindex = target.stack.add_interface("tun0", Medium::Ip, MacAddr([0; 6]), config.mtu);
        target.ifindex = ifindex;
        let a = config.addresses();
        let mut commands = vec!["ip link set dev lo up".to_owned(), "ip link set dev tun0 up".to_owned()];
        if !config.is_anyip {
            let nodad = if a.local.is_ipv6() { " nodad" } else { "" };
            commands.push(format!("ip addr add {}/{} dev tun0{nodad}", a.local, a.prefix_len));
        }
        let whole = if a.remote.is_ipv6() { 128 } else { 32 };
        let via = if config.is_anyip || a.gateway == a.local {
            String::new()
        } else {
            format!(" via {}", a.gateway)
        };
        commands.push(format!("ip route add {}/{whole}{via} dev tun0", a.remote));
        for command in commands {
            target.admin(&command)?;
        }
        target.settle();
        Ok(Box::new(target))
    }
}

pub(crate) struct StackTarget {
    pub(crate) stack: Stack,
    profile: KernelProfile,
    pub(crate) ifindex: u32,
    now: Instant,
    /// The process, and its second thread.
    main: Pid,
    second: Pid,
    sent: VecDeque<(Instant, Vec<u8>)>,
    main_woken: bool,
    /// The second thread's call, while it sleeps.
    started: Option<Request>,
    returned: Option<(Instant, Answer)>,
    pub(crate) files: Files,
    memory: Memory,
    /// `pfifo limit 0`: nothing leaves.
    pub(crate) drops_all: bool,
}

impl StackTarget {
    fn new(mut stack: Stack, now: Instant, profile: KernelProfile) -> StackTarget {
        let main = stack.spawn();
        let second = stack.fork_thread(main);
        StackTarget {
            stack,
            profile,
            ifindex: 0,
            now,
            main,
            second,
            sent: VecDeque::new(),
            main_woken: false,
            started: None,
            returned: None,
            files: Files::default(),
            memory: Memory::default(),
            drops_all: false,
        }
    }

    /// An `ip` command that must not fail.
    fn admin(&mut self, text: &str) -> Result<(), String> {
        let command = Admin::parse(text).map_err(|e| format!("{text}: {e}"))?;
        self.stack.admin(self.now, &command).map_err(|e| format!("{text}: {e}"))
    }

    /// Takes what the stack has to say; tries a woken thread's call again.
    fn settle(&mut self) {
        loop {
            while let Some((ifindex, frame)) = self.stack.poll_transmit() {
                if ifindex == self.ifindex && !self.drops_all {
                    self.sent.push_back((self.now, frame.to_vec()));
                }
            }
            let Some(pid) = self.stack.poll_wakeup() else { return };
            if pid == self.main {
                self.main_woken = true;
            } else if let Some(request) = self.started.take() {
                self.try_second(request);
            }
        }
    }

    /// The next timer up to `until`; `false` when there is none, and the time is `until` then.
    fn step(&mut self, until: Instant) -> bool {
        match self.stack.poll_timeout() {
            Some(at) if at <= until => {
                self.now = self.now.max(at);
                self.stack.handle_timeout(self.now);
                self.settle();
                true
            }
            _ => {
                self.now = self.now.max(until);
                false
            }
        }
    }

    /// One try of a request by a thread: the answer, or `None` when it sleeps.
    fn attempt(&mut self, pid: Pid, request: &Request) -> Option<Answer> {
        while self.stack.poll_record().is_some() {}
        let answer = match request {
            Request::Call(Call::Close { fd }) if self.files.close(*fd) => {
                Answer::Done(Ok(stack::call::Ret::Int(0)))
            }
            Request::Call(call) if self.files.has(call) => self.files.call(call)?,
            Request::Call(call) => match self.stack.call(self.now, pid, call) {
                Outcome::Done(result) => {
                    let refused =
                        matches!(result, Err(Errno::ENOPROTOOPT | Errno::EOPNOTSUPP | Errno::EINVAL));
                    match self.unmodelled().filter(|_| refused) {
                        Some(text) => Answer::Unsupported(text),
                        None => Answer::Done(result),
                    }
                }
                Outcome::Block { .. } => return None,
            },
            other => self.file_request(pid, other)?,
        };
        Some(answer)
    }

    /// The stack's own word that it does not model what was asked for.
    fn unmodelled(&mut self) -> Option<String> {
        let mut found = None;
        while let Some((_, what)) = self.stack.poll_record() {
            if let What::Note { text } = what
                && text.contains("not modelled")
            {
                found = Some(text);
            }
        }
        found
    }

    fn try_second(&mut self, request: Request) {
        match self.attempt(self.second, &request) {
            Some(answer) => self.returned = Some((self.now, answer)),
            None => self.started = Some(request),
        }
    }
}

impl Target for StackTarget {
    fn name(&self) -> String {
        let version = match self.profile {
            KernelProfile::V4_4 => "4.4",
            KernelProfile::V5_15 => "5.15",
            KernelProfile::V6_12 => "6.12",
            KernelProfile::V6_18 => "6.18",
        };
        format!("stack {version}")
    }

    fn now(&mut self) -> Instant {
        self.now
    }

    fn sleep_until(&mut self, at: Instant) {
        while self.step(at) {}
    }

    fn receive(&mut self, deadline: Instant) -> Result<Option<(Instant, Vec<u8>)>, String> {
        loop {
            if let Some(packet) = self.sent.pop_front() {
                return Ok(Some(packet));
            }
            if self.now >= deadline || !self.step(deadline) {
                return Ok(self.sent.pop_front());
            }
        }
    }

    fn inject(&mut self, packet: &[u8]) -> Result<(), String> {
        self.sleep_until(self.now + EVENT);
        self.stack.handle_frame(self.now, self.ifindex, Frame::from_vec(packet.to_vec()));
        self.settle();
        Ok(())
    }

    fn call(&mut self, request: &Request) -> Answer {
        self.sleep_until(self.now + EVENT);
        let limit = self.now + MAX_SLEEP;
        loop {
            self.main_woken = false;
            let answer = self.attempt(self.main, request);
            self.settle();
            if let Some(answer) = answer {
                return answer;
            }
            while !self.main_woken {
                if !self.step(limit) {
                    return Answer::Hangs;
                }
            }
        }
    }

    fn start(&mut self, request: &Request) {
        self.try_second(request.clone());
        self.settle();
    }

    fn finished(&mut self, until: Instant) -> Option<(Instant, Answer)> {
        while self.returned.is_none() && self.started.is_some() && self.now < until {
            if !self.step(until) {
                break;
            }
        }
        self.returned.take()
    }

    fn counters(&mut self) -> Vec<(String, u64)> {
        shell::Machine::counters(self)
    }

    fn shell(&mut self, text: &str, dir: &Path) -> Result<(), ShellError> {
        let mut memory = core::mem::take(&mut self.memory);
        let result = shell::run(self, &mut memory, text, dir);
        self.memory = memory;
        self.settle();
        result
    }
}
