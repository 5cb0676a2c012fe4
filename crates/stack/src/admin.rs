//! What root does to a host: `ip link|addr|route|neigh` and `sysctl -w`, as data and as text.
//!
//! One vocabulary for building a topology, for scenario steps and for hosts on the real kernel (which
//! get the same text as real `ip` commands).

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admin {}

impl core::fmt::Display for Admin {
    /// The command line.
    fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {}
    }
}
