//! Invariants of a world, checked after every step when [`crate::WorldConfig::check`] is on.
//!
//! A violation is our bug, never a user's: it panics.

mod conservation;
mod counters;
mod limits;
mod order;
#[cfg(test)]
mod tests;
mod timers;

use crate::World;
use crate::queue::Key;

/// What checks remember from step to step.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    order: order::Order,
    timers: timers::Timers,
}

/// Runs every check that holds at all times.
pub(crate) fn after_step(world: &mut World) {
    conservation::check(world);
    limits::check(world);
    timers::check(world);
}

/// A packet is about to be delivered by a link direction.
pub(crate) fn arrival(world: &mut World, direction: u32, key: Key) {
    order::check(world, direction, key);
}

/// The run is over.
pub(crate) fn at_end(world: &World) {
    conservation::check(world);
    counters::check(world);
}
