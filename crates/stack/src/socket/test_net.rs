//! Two hosts on one cable, for tests: calls as text in, results as text out.

use core::time::Duration;

use wire::{Instant, MacAddr, Medium};

use super::Pid;
use crate::call::Outcome;
use crate::call::text::{parse_call, result_text};
use crate::mib::COUNTERS;
use crate::record::What;
use crate::{Stack, StackConfig};

/// Host 0 is A (192.0.2.1, 2001:db8::1), host 1 is B (192.0.2.2, 2001:db8::2); each has process 0.
pub(crate) struct Net {
    pub(crate) hosts: [Stack; 2],
    pub(crate) now: Instant,
    pub(crate) pids: [Pid; 2],
    /// Whether frames pass the cable.
    pub(crate) plugged: bool,
    /// Frames that passed, by sender.
    pub(crate) passed: Vec<(usize, wire::Frame)>,
}

pub(crate) const A: usize = 0;
pub(crate) const B: usize = 1;

/// `eth0` is the second interface, after `lo`.
const ETH0: u32 = 2;

/// Turns of the cable in one [`Net::settle`]: more means a loop.
const MAX_FRAMES: usize = 100_000;

impl Net {
    /// An Ethernet cable: neighbours are resolved.
    pub(crate) fn new() -> Net {
        Net::on(Medium::Ethernet)
    }

    /// A bare-IP link: packets start with the IP header.
    pub(crate) fn bare() -> Net {
        Net::on(Medium::Ip)
    }

    fn on(medium: Medium) -> Net {
        let host = |n: u8| {
            let mut host =
                Stack::new(StackConfig { name: format!("h{n}"), seed: n.into(), ..StackConfig::default() });
            let mac = MacAddr([2, 0, 0, 0, 0, n]);
            let eth0 = host.add_interface("eth0", medium, mac, 1500);
            assert_eq!(eth0, ETH0);
            host.link_set_carrier(Instant::ZERO, eth0, true).unwrap();
            host.link_set_up(Instant::ZERO, eth0, true).unwrap();
            host.addr_add(Instant::ZERO, eth0, format!("192.0.2.{n}").parse().unwrap(), 24).unwrap();
            host.addr_add(Instant::ZERO, eth0, format!("2001:db8::{n}").parse().unwrap(), 64).unwrap();
            host
        };
        let mut hosts = [host(1), host(2)];
        let pids = [hosts[0].spawn(), hosts[1].spawn()];
        let mut net = Net { hosts, now: Instant::ZERO, pids, plugged: true, passed: Vec::new() };
        net.advance(Duration::from_secs(5)); // duplicate address detection
        net.passed.clear();
        for host in &mut net.hosts {
            while host.poll_record().is_some() {}
        }
        net
    }

    /// Frames cross the cable until none is left.
    pub(crate) fn settle(&mut self) {
        for _ in 0..MAX_FRAMES {
            let mut quiet = true;
            for from in [A, B] {
                while let Some((ifindex, frame)) = self.hosts[from].poll_transmit() {
                    assert_eq!(ifindex, ETH0);
                    quiet = false;
                    if self.plugged {
                        self.passed.push((from, frame.clone()));
                        self.hosts[1 - from].handle_frame(self.now, ETH0, frame);
                    }
                }
            }
            if quiet {
                return;
            }
        }
        panic!("the hosts talk for ever");
    }

    /// Lets time pass, timer by timer.
    pub(crate) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        for _ in 0..MAX_FRAMES {
            self.settle();
            match self.hosts.iter().filter_map(Stack::poll_timeout).min() {
                Some(at) if at <= end => {
                    self.now = self.now.max(at);
                    for host in &mut self.hosts {
                        host.handle_timeout(self.now);
                    }
                }
                _ => {
                    self.now = end;
                    return;
                }
            }
        }
        panic!("timers fire for ever");
    }

    pub(crate) fn try_call(&mut self, host: usize, pid: Pid, text: &str) -> Outcome {
        let call = parse_call(text, &()).unwrap_or_else(|e| panic!("{text}: {e}"));
        let outcome = self.hosts[host].call(self.now, pid, &call);
        self.settle();
        outcome
    }

    /// The result as `strace` shows it; `sleeps` when the call blocks.
    pub(crate) fn run(&mut self, host: usize, text: &str) -> String {
        self.run_as(host, self.pids[host], text)
    }

    pub(crate) fn run_as(&mut self, host: usize, pid: Pid, text: &str) -> String {
        match self.try_call(host, pid, text) {
            Outcome::Done(result) => result_text(&result),
            Outcome::Block { .. } => "sleeps".into(),
        }
    }

    /// Runs calls of one host one after the other and holds each result against what is written behind `=>`.
    pub(crate) fn script(&mut self, host: usize, script: &str) {
        for line in script.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("//")) {
            let (call, expected) =
                line.split_once("=>").map_or((line, None), |(c, e)| (c.trim(), Some(e.trim())));
            let got = self.run(host, call);
            match expected {
                Some(expected) => assert_eq!(got, expected, "{call}"),
                None => assert!(!got.starts_with('-'), "{call} = {got}"),
            }
        }
    }

    pub(crate) fn counter(&self, host: usize, name: &str) -> u64 {
        let (counter, _) = COUNTERS.iter().find(|(_, n)| *n == name).expect("a counter's name");
        self.hosts[host].mib.value(*counter)
    }

    pub(crate) fn records(&mut self, host: usize) -> Vec<What> {
        core::iter::from_fn(|| self.hosts[host].poll_record()).map(|(_, what)| what).collect()
    }

    pub(crate) fn wakeups(&mut self, host: usize) -> Vec<Pid> {
        core::iter::from_fn(|| self.hosts[host].poll_wakeup()).collect()
    }
}
