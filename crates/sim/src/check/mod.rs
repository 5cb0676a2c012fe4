//! Invariants of a world, checked after every step when [`crate::WorldConfig::check`] is on.
//!
//! A violation is our bug, never a user's: it panics.

mod conservation;

use crate::World;

/// What checks remember from step to step.
#[derive(Debug, Default)]
pub(crate) struct Checks {}

/// Runs every check.
pub(crate) fn after_step(world: &mut World) {
    conservation::check(world);
}
