//! Storms: packets that go round in a loop of switches for ever. IEEE 802.1D has a spanning tree against that;
//! the switches here have none, as a Linux bridge without `stp_state`.
//!
//! Frames have no hop count, so nothing but us ends such a loop: the run does, and says which links make it.

use super::{Body, World};

/// Switches that one packet and its copies may come through where switches make a loop. Without a loop it may
/// be any number.
pub const MAX_SWITCHES: u16 = 255;

/// Packets that may be on the way at one time where switches make a loop and forward to each other.
pub const MAX_STORM: usize = 100_000;

/// What is known about loops.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Links between switches that lie on a loop; `None` before somebody asked.
    loops: Option<Vec<u32>>,
    /// What to tell the user, once there is a storm.
    told: Option<String>,
}

impl World {
    /// Why nothing happens any more: packets multiplied in a loop of switches.
    #[inline]
    pub fn storm(&self) -> Option<&str> {
        self.storm.told.as_deref()
    }

    /// Whether a packet that passes its `passed`-th switch is one too many; from then on time stands still.
    pub(super) fn is_storm(&mut self, passed: u16) -> bool {
        if self.storm.told.is_some() {
            return true;
        }
        if self.storm.loops.is_none() {
            self.storm.loops = Some(self.loops_of_switches());
        }
        let loops = self.storm.loops.as_ref().expect("just found");
        if loops.is_empty() {
            return false;
        }
        let in_flight: usize = self.wires.directions.iter().map(|d| d.pipe.len()).sum();
        let what = if in_flight > MAX_STORM {
            format!("{in_flight} frames in flight")
        } else if passed > MAX_SWITCHES {
            format!("a frame passed {passed} switches, {in_flight} frames in flight")
        } else {
            return false;
        };
        let names: Vec<&str> = loops.iter().map(|l| self.wires.cables[*l as usize].name.as_str()).collect();
        self.storm.told = Some(format!("{what}: a loop of switches? links {}", names.join(", ")));
        true
    }

    /// The links between switches, without those that lead to a dead end.
    fn loops_of_switches(&self) -> Vec<u32> {
        let is_switch = |node: u32| matches!(self.nodes[node as usize].body, Body::Switch(_));
        let ends = |link: u32| {
            let d = &self.wires.directions[link as usize * 2];
            (d.from.node.0, d.to.node.0)
        };
        let mut links: Vec<u32> = (0..)
            .zip(&self.wires.cables)
            .map(|(link, _)| link)
            .filter(|link| is_switch(ends(*link).0) && is_switch(ends(*link).1))
            .collect();
        loop {
            let mut degree = vec![0_u32; self.nodes.len()];
            for (a, b) in links.iter().map(|link| ends(*link)) {
                degree[a as usize] += 1;
                degree[b as usize] += 1;
            }
            let before = links.len();
            links.retain(|link| {
                let (a, b) = ends(*link);
                degree[a as usize] > 1 && degree[b as usize] > 1
            });
            if links.len() == before {
                return links;
            }
        }
    }
}
