//! Tunnels: what a packet is wrapped in and what that costs (RFC 2003, RFC 2784, RFC 7348).

use stack::record::NodeId;

use super::{Case, Findings};
use crate::explain::Ref;
use crate::view::Layer;

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    let mut told: Vec<(NodeId, &'static str)> = Vec::new();
    for t in case.packets().filter(|t| t.view.is_tunnelled()) {
        let layers = &t.view.layers;
        let Some(outer) = layers.iter().position(|l| matches!(l, Layer::Ip(_))) else { continue };
        let (Some(Layer::Ip(out_ip)), Some(inner)) = (layers.get(outer), t.view.inner_ip()) else { continue };
        let kind = if layers.iter().any(|l| matches!(l, Layer::Vxlan(_))) {
            "VXLAN"
        } else if layers.iter().any(|l| matches!(l, Layer::Gre(_))) {
            "GRE"
        } else {
            crate::meaning::plain_tunnel(out_ip, inner)
        };
        // The tunnel's end wraps; routers between pass it on.
        let wraps = case.owner_of_ip(out_ip.src).is_none_or(|n| n == t.from);
        if !wraps || told.contains(&(t.from, kind)) {
            continue;
        }
        told.push((t.from, kind));
        // A frame that is no IP packet, such as ARP through VXLAN, says nothing about what IP pays.
        if t.view.ips().count() < 2 {
            told.pop();
            continue;
        }
        let overhead = out_ip.total_len.saturating_sub(inner.total_len);
        let plain = case.packets().take_while(|p| p.number < t.number).filter(|p| {
            p.view.ip().is_some_and(|ip| ip.src == inner.src && ip.dst == inner.dst && !p.view.is_tunnelled())
        });
        let plain = plain.last().map(|p| Ref::Packet(p.number));
        let text = format!(
            "{} wrapped the packet {} > {} in {kind} to {}: {overhead} bytes more",
            case.name(t.from),
            inner.src,
            inner.dst,
            out_ip.dst
        );
        out.say("tunnel", text, plain.into_iter().chain([Ref::Packet(t.number)]));
    }
}
