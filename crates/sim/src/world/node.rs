//! What stands in a world, and its interfaces.

use stack::record::IfIndex;
use wire::Medium;

use super::Host;
use crate::switch::Switch;

/// A host, switch or external node.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) nics: Nics,
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
    /// The link direction that leads away from it.
    pub(crate) out: Option<u32>,
}

impl Node {
    pub(crate) fn new(name: &str, body: Body) -> Node {
        Node { name: name.into(), nics: Nics::default(), body }
    }
}

/// A node's interfaces by their numbers, without those that no cable fits in (`lo`, tunnels).
#[derive(Clone, Debug, Default)]
pub(crate) struct Nics(Vec<Option<Nic>>);

impl Nics {
    #[inline]
    pub(crate) fn get(&self, ifindex: IfIndex) -> Option<&Nic> {
        self.0.get(ifindex as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, ifindex: IfIndex) -> Option<&mut Nic> {
        self.0.get_mut(ifindex as usize)?.as_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (IfIndex, &Nic)> {
        let numbered = (0..).zip(&self.0);
        numbered.filter_map(|(ifindex, nic)| Some((ifindex, nic.as_ref()?)))
    }

    /// The highest number in use.
    pub(crate) fn last(&self) -> IfIndex {
        IfIndex::try_from(self.0.len().saturating_sub(1)).expect("insert counted")
    }

    /// Panics when there is one of this number.
    pub(crate) fn insert(&mut self, ifindex: IfIndex, nic: Nic) {
        let at = ifindex as usize;
        if self.0.len() <= at {
            if at < 4 {
                self.0.reserve_exact(at + 1 - self.0.len()); // hosts have one or two
            }
            self.0.resize(at + 1, None);
        }
        assert!(self.0[at].is_none(), "interface {ifindex} is there already");
        self.0[at] = Some(nic);
    }
}
