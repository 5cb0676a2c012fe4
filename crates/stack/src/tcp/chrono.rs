//! Where a sender's time goes: busy, held back by the peer's window, or by its own send buffer (`tcpi_busy_time` and
//! neighbours). Linux: tcp_output.c `tcp_chrono_start`, `tcp_chrono_stop`; include/net/tcp.h.

use core::time::Duration;

use wire::Instant;

/// `enum tcp_chrono`: the highest that is true counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Chrono {
    /// Nothing to send.
    #[default]
    Unspec,
    /// Something is unsent or unacknowledged.
    Busy,
    /// The peer's window is full.
    RwndLimited,
    /// The application wants to write more than the send buffer takes.
    SndbufLimited,
}

/// The stop watches.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Chronograph {
    running: Chrono,
    since: Instant,
    spent: [Duration; 3],
}

impl Chronograph {
    /// `tcp_chrono_start`
    pub(crate) fn start(&mut self, now: Instant, what: Chrono) {
        if what > self.running {
            self.set(now, what);
        }
    }

    /// `tcp_chrono_stop`; `is_idle`: nothing is unsent or unacknowledged.
    pub(crate) fn stop(&mut self, now: Instant, what: Chrono, is_idle: bool) {
        if is_idle {
            self.set(now, Chrono::Unspec);
        } else if what == self.running {
            self.set(now, Chrono::Busy);
        }
    }

    fn set(&mut self, now: Instant, what: Chrono) {
        if let Some(spent) = (self.running as usize).checked_sub(1) {
            self.spent[spent] += now - self.since;
        }
        self.since = now;
        self.running = what;
    }

    /// `tcp_get_info_chrono_stats`: microseconds busy in all, limited by the peer's window, by the send buffer.
    pub(crate) fn micros(&self, now: Instant) -> [u64; 3] {
        let mut at = *self;
        at.set(now, self.running);
        let us = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
        [us(at.spent.iter().sum()), us(at.spent[1]), us(at.spent[2])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_narrowest_limit_counts_and_busy_is_the_sum() {
        let at = Instant::from_millis;
        let mut c = Chronograph::default();
        c.start(at(10), Chrono::Busy);
        c.start(at(20), Chrono::RwndLimited);
        c.start(at(25), Chrono::Busy); // lower: goes on as it was
        c.start(at(30), Chrono::SndbufLimited);
        c.stop(at(35), Chrono::RwndLimited, false); // not what runs
        c.stop(at(40), Chrono::SndbufLimited, false);
        c.stop(at(60), Chrono::Busy, true);
        assert_eq!(c.micros(at(99)), [50_000, 10_000, 10_000]);
    }
}
