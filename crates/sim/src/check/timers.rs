//! The event queue looks at every host's timers in time, and no host is stuck in one instant.

use wire::Instant;

use crate::World;
use crate::world::Body;

/// Steps at one instant.
#[derive(Debug, Default)]
pub(super) struct Timers {
    now: Instant,
    steps: u64,
}

/// More steps than this at one instant are a loop that time cannot end.
const MAX_STEPS_PER_INSTANT: u64 = 1_000_000;

pub(super) fn check(world: &mut World) {
    let now = world.now();
    let timers = &mut world.checks.timers;
    if timers.now != now {
        *timers = Timers { now, steps: 0 };
    }
    timers.steps += 1;
    assert!(timers.steps < MAX_STEPS_PER_INSTANT, "the world stands still at {now}");
    assert!(world.wires.queue.peek().is_none_or(|(key, _)| key.at >= now), "an event in the past of {now}");
    for node in &world.nodes {
        let Body::Host(host) = &node.body else { continue };
        let Some(next) = host.stack.poll_timeout() else { continue };
        // A timer may be armed for now, but then its event stands in the queue.
        assert!(
            host.armed.is_some_and(|armed| armed <= next.max(now)),
            "{}: a timer at {next} that nobody waits for",
            node.name
        );
    }
    let queued = world.wires.queue.len();
    assert!(queued < 1 << 26, "{queued} events wait: stale ones pile up");
}
