use stack::StackConfig;
use stack::record::{IfIndex, NodeId, NodeKind};
use wire::{Frame, Instant, MacAddr, Medium};

use crate::link::InFlight;
use crate::queue::{Due, Key};
use crate::world::Body;
use crate::{LinkConfig, World, WorldConfig};

/// A host and an external node with a packet on the way from it; every step is checked.
fn world() -> (World, (NodeId, IfIndex)) {
    let mut world = World::new(WorldConfig { check: true, ..WorldConfig::default() });
    let host = world.add_host(StackConfig { name: "host".into(), ..StackConfig::default() });
    let mut nic =
        |node, n| (node, world.add_nic(node, "eth0", Medium::Ethernet, MacAddr([2, 0, 0, 0, 0, n]), 1500));
    let host = nic(host, 1);
    let outside = world.add_external("outside", NodeKind::Linux("6.18".into()));
    let outside =
        (outside, world.add_nic(outside, "eth0", Medium::Ethernet, MacAddr([2, 0, 0, 0, 0, 2]), 1500));
    world.connect(outside, host, LinkConfig::with_delay(core::time::Duration::from_millis(1)));
    world.with_stack(host.0, |stack, now| stack.link_set_up(now, host.1, true)).expect("it is there");
    world.inject(outside.0, outside.1, frame());
    (world, outside)
}

fn frame() -> Frame {
    Frame::from_slice(&[0xff; 60])
}

fn run(world: &mut World) {
    while world.next_event().is_some_and(|at| at <= Instant::from_secs(1)) {
        world.step();
    }
}

#[test]
fn a_sound_world_passes_every_check() {
    let (mut world, _) = world();
    run(&mut world);
    world.finish();
}

#[test]
fn checks_are_on_in_builds_with_debug_assertions() {
    assert_eq!(WorldConfig::default().check, cfg!(debug_assertions));
}

#[test]
#[should_panic(expected = "2 on the way, 0 held")]
fn a_packet_that_nobody_owns_is_caught_at_the_next_step() {
    let (mut world, outside) = world();
    world.inject(outside.0, outside.1, frame());
    world.wires.directions[0].stats.sent += 1;
    world.step();
}

#[test]
#[should_panic(expected = "late packet")]
fn a_packet_that_is_late_is_caught() {
    let (mut world, outside) = world();
    world.inject(outside.0, outside.1, frame());
    let mut second = world.wires.directions[0].pipe.pop().expect("the first");
    let last = world.wires.directions[0].pipe.pop().expect("the second");
    world.wires.directions[0].pipe.push(InFlight { ..last });
    second.key = Key { at: Instant::ZERO, ..second.key };
    world.wires.now = Instant::from_micros(500);
    world.wires.directions[0].pipe.push(second);
    super::after_step(&mut world);
}

#[test]
#[should_panic(expected = "a timer at")]
fn a_timer_that_nobody_waits_for_is_caught() {
    let (mut world, _) = world();
    let Body::Host(host) = &mut world.nodes[0].body else { panic!("the host is the first") };
    assert!(host.stack.poll_timeout().is_some(), "duplicate address detection has begun");
    host.armed = None;
    super::after_step(&mut world);
}

#[test]
#[should_panic(expected = "overtook")]
fn a_packet_that_overtakes_another_is_caught() {
    let (mut world, outside) = world();
    world.inject(outside.0, outside.1, frame());
    let pipe = &mut world.wires.directions[0].pipe;
    let (mut first, mut second) = (pipe.pop().expect("the first"), pipe.pop().expect("the second"));
    core::mem::swap(&mut first.key.serial, &mut second.key.serial);
    first.key.at = Instant::from_millis(1);
    super::arrival(&mut world, 0, first.key);
    super::arrival(&mut world, 0, second.key);
}

#[test]
#[should_panic(expected = "in the past")]
fn an_event_in_the_past_is_caught() {
    let (mut world, _) = world();
    world.wires.queue.push_at(Instant::ZERO, Due::Program(0));
    world.wires.now = Instant::from_micros(500);
    super::after_step(&mut world);
}

#[test]
#[should_panic(expected = "arrived")]
fn a_packet_that_was_not_counted_is_caught_at_the_end() {
    let (mut world, outside) = world();
    let mut bytes = [0; 60];
    bytes[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
    let (node, ifindex) = (NodeId(0), 2);
    let frame = Frame::from_slice(&bytes);
    assert_ne!(outside.0, node);
    let what = stack::record::What::Rx { ifindex, id: stack::record::FrameId(99), frame };
    world.record(node, Instant::ZERO, what);
    world.finish();
}
