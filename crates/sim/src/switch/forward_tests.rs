use std::net::Ipv4Addr;

use stack::record::LossCause;
use wire::ethernet::{EtherType, Header, VlanTag};
use wire::{Frame, Instant, MacAddr, arp};

use super::super::arp_inspection::{ArpInspection, Binding};
use super::super::{PortConfig, PortMode, Switch, SwitchConfig};
use super::{Forward, Tagging};

fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

fn frame(src: MacAddr, dst: MacAddr, vid: Option<u16>) -> Frame {
    let vlan = vid.map(|vid| VlanTag { vid, ..VlanTag::default() });
    let header = Header { dst, src, vlan, ethertype: EtherType::IPV4 };
    let mut f = Frame::with_headroom(18, 46);
    f.put(&[0x45; 46]);
    header.emit(f.push(header.header_len()));
    f
}

fn switch(config: SwitchConfig, ports: u32) -> Switch {
    let mut switch = Switch::new(config);
    for n in 1..=ports {
        switch.add_port(n, &format!("p{n}"));
    }
    switch
}

fn out(forward: &Forward) -> Vec<u32> {
    match forward {
        Forward::Ports(ports) => ports.iter().map(|(port, _)| *port).collect(),
        Forward::Drop(cause) => panic!("dropped: {cause:?}"),
    }
}

#[test]
fn unknown_destinations_are_flooded_and_known_ones_are_not() {
    let mut s = switch(SwitchConfig::default(), 3);
    let t = Instant::ZERO;
    assert_eq!(out(&s.forward(t, 1, &frame(mac(1), mac(2), None))), [2, 3]);
    assert_eq!(out(&s.forward(t, 2, &frame(mac(2), mac(1), None))), [1]);
    assert_eq!(out(&s.forward(t, 1, &frame(mac(1), mac(2), None))), [2]);
    assert_eq!(out(&s.forward(t, 1, &frame(mac(1), MacAddr::BROADCAST, None))), [2, 3]);
    // Behind the same port: it has it already.
    s.forward(t, 2, &frame(mac(3), mac(2), None));
    assert_eq!(s.forward(t, 2, &frame(mac(3), mac(2), None)), Forward::Drop(LossCause::NoPort));
}

fn vlan_switch() -> Switch {
    let access = |vlan| PortConfig { mode: PortMode::Access { vlan }, ..PortConfig::default() };
    let mode = PortMode::Trunk { allowed: vec![10, 20], native: Some(99) };
    let trunk = PortConfig { mode, ..PortConfig::default() };
    let ports = [("p1", access(10)), ("p2", access(20)), ("p3", trunk)];
    let ports = ports.map(|(name, config)| (name.to_string(), config)).into();
    switch(SwitchConfig { ports, ..SwitchConfig::default() }, 3)
}

#[test]
fn vlans_are_kept_apart_and_tagged_on_trunks() {
    let mut s = vlan_switch();
    let untagged = frame(mac(1), MacAddr::BROADCAST, None);
    let tag = VlanTag { vid: 10, ..VlanTag::default() };
    assert_eq!(s.forward(Instant::ZERO, 1, &untagged), Forward::Ports(vec![(3, Tagging::Insert(tag))]));
    let mut tagged = untagged.clone();
    Tagging::Insert(tag).apply(&mut tagged);
    assert_eq!(tagged, frame(mac(1), MacAddr::BROADCAST, Some(10)));
    assert_eq!(s.forward(Instant::ZERO, 3, &tagged), Forward::Ports(vec![(1, Tagging::Strip)]));
    Tagging::Strip.apply(&mut tagged);
    assert_eq!(tagged, untagged);
}

#[test]
fn a_vlan_that_a_port_does_not_carry_is_refused() {
    let mut s = vlan_switch();
    let refused = Forward::Drop(LossCause::Vlan);
    assert_eq!(s.forward(Instant::ZERO, 3, &frame(mac(1), mac(2), Some(30))), refused);
    assert_eq!(s.forward(Instant::ZERO, 1, &frame(mac(1), mac(2), Some(20))), refused);
    // A priority tag is no VLAN; an untagged frame on the trunk is of VLAN 99, which no other port has.
    assert_eq!(out(&s.forward(Instant::ZERO, 1, &frame(mac(1), mac(2), Some(0)))), [3]);
    assert_eq!(s.forward(Instant::ZERO, 3, &frame(mac(7), mac(2), None)), Forward::Drop(LossCause::NoPort));
}

fn arp_reply(sender: MacAddr, ip: Ipv4Addr) -> Frame {
    let reply = arp::Packet {
        operation: arp::Operation::REPLY,
        sender_mac: sender,
        sender_ip: ip,
        target_mac: mac(9),
        target_ip: Ipv4Addr::new(192, 0, 2, 9),
    };
    let mut f = Frame::with_headroom(14, arp::PACKET_LEN);
    reply.emit(f.put_zeroed(arp::PACKET_LEN));
    Header { dst: mac(9), src: sender, vlan: None, ethertype: EtherType::ARP }.emit(f.push(14));
    f
}

#[test]
fn arp_inspection_lets_only_bound_senders_speak_but_trusts_trusted_ports() {
    let ip = Ipv4Addr::new(192, 0, 2, 1);
    let binding = Binding { ip, mac: mac(1), port: Some(1), vlan: None };
    let inspection = ArpInspection { bindings: vec![binding], ..ArpInspection::default() };
    let trusted = PortConfig { arp_trusted: true, ..PortConfig::default() };
    let ports = vec![("p3".to_string(), trusted)];
    let config = SwitchConfig { ports, arp_inspection: Some(inspection), ..SwitchConfig::default() };
    let mut s = switch(config, 3);
    let refused = Forward::Drop(LossCause::ArpInspection);
    assert_eq!(out(&s.forward(Instant::ZERO, 1, &arp_reply(mac(1), ip))), [2, 3]);
    assert_eq!(s.forward(Instant::ZERO, 2, &arp_reply(mac(2), ip)), refused, "another MAC address");
    assert_eq!(s.forward(Instant::ZERO, 2, &arp_reply(mac(1), ip)), refused, "another port");
    assert!(
        matches!(s.forward(Instant::ZERO, 3, &arp_reply(mac(2), ip)), Forward::Ports(_)),
        "a trusted port"
    );
}
