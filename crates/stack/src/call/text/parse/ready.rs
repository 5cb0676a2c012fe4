//! Calls that ask what is ready: `poll` and `epoll`.

use super::super::super::{Call, EpollOp, PollEvents};
use super::super::scan::{Parsed, Parser};

impl Parser<'_> {
    pub(super) fn poll(&mut self) -> Parsed<Call> {
        self.next("the descriptors")?;
        let fds = self.list(|p| {
            p.expect('{')?;
            p.label("fd");
            let fd = p.fd()?;
            p.expect(',')?;
            p.label("events");
            let events = p.events()?;
            p.expect('}')?;
            Ok((fd, events))
        })?;
        Ok(Call::Poll { fds, timeout_ms: if self.more()? { self.int("timeout")? } else { -1 } })
    }

    pub(super) fn epoll(&mut self) -> Parsed<Call> {
        let epfd = self.first_fd()?;
        if self.call == "epoll_wait" {
            self.next("the greatest number of events")?;
            let max_events = self.int("number of events")?;
            return Ok(Call::EpollWait {
                epfd,
                max_events,
                timeout_ms: if self.more()? { self.int("timeout")? } else { -1 },
            });
        }
        self.next("the operation")?;
        let ops = [
            ("EPOLL_CTL_ADD", EpollOp::Add),
            ("EPOLL_CTL_DEL", EpollOp::Del),
            ("EPOLL_CTL_MOD", EpollOp::Mod),
        ];
        let op = self.one_of("operation", &ops)?;
        self.next("the descriptor")?;
        let fd = self.fd()?;
        let (mut events, mut data) = (PollEvents(0), u64::try_from(fd).unwrap_or(0));
        if self.more()? {
            let braces = self.eat('{');
            self.label("events");
            events = self.events()?;
            if braces && self.eat(',') {
                self.label("data");
                data = self.unsigned()?;
            }
            if braces {
                self.expect('}')?;
            }
        }
        Ok(Call::EpollCtl { epfd, op, fd, events, data })
    }
}
