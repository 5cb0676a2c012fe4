//! A link without jitter and reordering delivers packets in the order in which they entered it.

use crate::World;
use crate::queue::Key;

/// The serial number of the last packet that each direction delivered.
#[derive(Debug, Default)]
pub(super) struct Order {
    last: Vec<u64>,
}

pub(super) fn check(world: &mut World, direction: u32, key: Key) {
    let at = direction as usize;
    let last = &mut world.checks.order.last;
    if last.len() <= at {
        last.resize(at + 1, 0);
    }
    // Faults delay and hold single packets.
    if world.wires.directions[at].fifo && world.wires.faults.is_empty() {
        let name = &world.wires.cables[at / 2].name;
        assert!(last[at] < key.serial, "link {name}: a packet overtook another on a link that keeps order");
    }
    last[at] = key.serial;
}
