//! No queue or table is longer than its limit.

use crate::World;
use crate::fault::MAX_HELD;
use crate::link::MAX_IN_FLIGHT;
use crate::world::Body;

pub(super) fn check(world: &World) {
    let now = world.now();
    for (i, d) in world.wires.directions.iter().enumerate() {
        let name = &world.wires.cables[i / 2].name;
        assert!(d.pipe.len() <= MAX_IN_FLIGHT, "link {name}: {} packets on the way", d.pipe.len());
        assert!(
            d.pipe.is_empty() || d.pipe.next().is_some_and(|key| key.at >= now),
            "link {name}: late packet"
        );
        if let Some(impairer) = &d.impairer {
            let (queued, limit) = impairer.queue(now);
            assert!(queued <= limit as usize, "link {name}: {queued} packets wait, limit {limit}");
        }
    }
    assert!(world.wires.held.len() <= MAX_HELD, "{} packets held", world.wires.held.len());
    for node in &world.nodes {
        let (len, limit) = match &node.body {
            Body::Switch(switch) => switch.table_load(),
            Body::Host(host) => host.nat.as_ref().map_or((0, 0), |nat| nat.load()),
            Body::External => continue,
        };
        assert!(len <= limit, "{}: a table of {len} entries, limit {limit}", node.name);
    }
}
