//! No packet without an owner: what entered a link was delivered, was lost, is on its way, or is held.

use crate::World;

pub(super) fn check(world: &World) {
    for (i, d) in world.wires.directions.iter().enumerate() {
        let owned = d.stats.delivered + d.stats.lost + d.pipe.len() as u64 + d.held;
        assert_eq!(
            d.stats.sent,
            owned,
            "link {}: {:?}, {} on the way, {} held",
            world.wires.cables[i / 2].name,
            d.stats,
            d.pipe.len(),
            d.held
        );
    }
}
