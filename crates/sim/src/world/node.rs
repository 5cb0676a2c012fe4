//! What stands in a world, and its interfaces.

use stack::record::IfIndex;
use wire::{MacAddr, Medium};

use super::Host;
use crate::switch::Switch;

/// A host, switch or external node.
pub(crate) struct Node {
    pub(crate) name: String,
    /// By interface index; without the world's own ones (`lo`, tunnels).
    nics: Vec<Option<Nic>>,
    pub(crate) body: Body,
}

/// What kind of node.
pub(crate) enum Body {
    Host(Box<Host>),
    Switch(Box<Switch>),
    /// It lives elsewhere, behind a TAP.
    External,
}

/// One interface that a cable fits in.
#[derive(Clone, Debug)]
pub(crate) struct Nic {
    pub(crate) name: String,
    pub(crate) medium: Medium,
    pub(crate) mac: MacAddr,
    /// The link direction that leads away from it.
    pub(crate) out: Option<u32>,
}

impl Node {
    pub(crate) fn new(name: &str, body: Body) -> Node {
        Node { name: name.into(), nics: Vec::new(), body }
    }

    #[inline]
    pub(crate) fn nic(&self, ifindex: IfIndex) -> Option<&Nic> {
        self.nics.get(ifindex as usize)?.as_ref()
    }

    pub(crate) fn nic_mut(&mut self, ifindex: IfIndex) -> Option<&mut Nic> {
        self.nics.get_mut(ifindex as usize)?.as_mut()
    }

    pub(crate) fn nics(&self) -> impl Iterator<Item = (IfIndex, &Nic)> {
        let numbered = (0..).zip(&self.nics);
        numbered.filter_map(|(ifindex, nic)| Some((ifindex, nic.as_ref()?)))
    }

    /// The highest interface number in use.
    pub(crate) fn last_ifindex(&self) -> IfIndex {
        IfIndex::try_from(self.nics.len().saturating_sub(1)).expect("set_nic counted")
    }

    pub(crate) fn set_nic(&mut self, ifindex: IfIndex, nic: Nic) {
        let at = ifindex as usize;
        if self.nics.len() <= at {
            self.nics.resize(at + 1, None);
        }
        assert!(self.nics[at].is_none(), "interface {ifindex} of {} is there already", self.name);
        self.nics[at] = Some(nic);
    }
}
