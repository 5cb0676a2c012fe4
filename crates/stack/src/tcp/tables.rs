//! Who owns a four-tuple: full sockets, request socks and TIME_WAIT entries in one hash table, told apart by a tag.
//!
//! Linux: inet_hashtables.c `inet_ehash_insert`, `__inet_lookup_established`. Open addressing with linear probing; the
//! table keeps a hash and a number, the addresses stay in the objects.

use std::net::{IpAddr, SocketAddr};

/// What a four-tuple belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A full socket: `Tcp::socks`.
    Full(u32),
    /// A half-open connection of a listener: `Tcp::requests`.
    Request(u32),
    /// `Tcp::time_waits`
    TimeWait(u32),
}

const TAG_BITS: u32 = 2;
const EMPTY: u32 = u32::MAX;
/// Slots of a table with its first entry.
const FIRST_SIZE: usize = 8;

impl Owner {
    fn pack(self) -> u32 {
        let (id, tag) = match self {
            Owner::Full(id) => (id, 0),
            Owner::Request(id) => (id, 1),
            Owner::TimeWait(id) => (id, 2),
        };
        assert!(id < (EMPTY >> TAG_BITS), "fewer than 2^30 sockets");
        id << TAG_BITS | tag
    }

    fn unpack(word: u32) -> Owner {
        let id = word >> TAG_BITS;
        match word & ((1 << TAG_BITS) - 1) {
            0 => Owner::Full(id),
            1 => Owner::Request(id),
            _ => Owner::TimeWait(id),
        }
    }
}

/// The hash of a four-tuple, keyed by the host's secret (`inet_ehashfn`).
pub(crate) fn tuple_hash(secret: u64, local: SocketAddr, remote: SocketAddr) -> u32 {
    let mut h = secret;
    let mut mix = |word: u64| {
        h = (h ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        h ^= h >> 32;
    };
    if let (SocketAddr::V4(local), SocketAddr::V4(remote)) = (&local, &remote) {
        mix(u64::from(local.ip().to_bits()) << 32 | u64::from(remote.ip().to_bits()));
    } else {
        for ip in [local.ip(), remote.ip()] {
            match ip {
                IpAddr::V4(v4) => mix(u64::from(v4.to_bits())),
                IpAddr::V6(v6) => {
                    let bits = v6.to_bits();
                    mix((bits >> 64) as u64); // its halves
                    mix(bits as u64);
                }
            }
        }
    }
    mix(u64::from(local.port()) << 16 | u64::from(remote.port()));
    (h >> 16) as u32 // the middle bits are mixed best
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    owner: u32,
}

/// The established table. Empty it owns nothing.
#[derive(Debug, Default)]
pub(crate) struct Ehash {
    slots: Vec<Slot>,
    len: usize,
}

impl Ehash {
    /// Every entry whose hash is the same, in the order of probing.
    #[cfg(test)]
    pub(crate) fn candidates(&self, hash: u32) -> impl Iterator<Item = Owner> + '_ {
        let mask = self.slots.len().wrapping_sub(1);
        let first = hash as usize & mask;
        (0..self.slots.len())
            .map(move |n| self.slots[(first + n) & mask])
            .take_while(|slot| slot.owner != EMPTY)
            .filter(move |slot| slot.hash == hash)
            .map(|slot| Owner::unpack(slot.owner))
    }

    /// The first entry with this hash that `is` the one.
    #[inline]
    pub(crate) fn find(&self, hash: u32, is: impl Fn(Owner) -> bool) -> Option<Owner> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot.owner == EMPTY {
                return None; // the table is never full
            }
            if slot.hash == hash && is(Owner::unpack(slot.owner)) {
                return Some(Owner::unpack(slot.owner));
            }
            at = (at + 1) & mask;
        }
    }

    pub(crate) fn insert(&mut self, hash: u32, owner: Owner) {
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.resize((self.slots.len() * 2).max(FIRST_SIZE));
        }
        self.place(Slot { hash, owner: owner.pack() });
        self.len += 1;
    }

    /// Puts another owner in the place of one (a request becomes a socket, a socket a TIME_WAIT entry).
    pub(crate) fn replace(&mut self, hash: u32, old: Owner, new: Owner) {
        let at = self.position(hash, old).expect("the owner is in the table");
        self.slots[at].owner = new.pack();
    }

    pub(crate) fn remove(&mut self, hash: u32, owner: Owner) {
        let Some(mut hole) = self.position(hash, owner) else { return };
        let mask = self.slots.len() - 1;
        // Backward shift: whoever was pushed past the hole moves into it.
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let slot = self.slots[at];
            if slot.owner == EMPTY {
                break;
            }
            let home = slot.hash as usize & mask;
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.slots[hole] = slot;
                hole = at;
            }
        }
        self.slots[hole].owner = EMPTY;
        self.len -= 1;
        if self.len == 0 {
            self.slots = Vec::new();
        }
    }

    /// Entries in all.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn position(&self, hash: u32, owner: Owner) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let word = owner.pack();
        let mut at = hash as usize & mask;
        while self.slots[at].owner != EMPTY {
            if self.slots[at].owner == word {
                return Some(at);
            }
            at = (at + 1) & mask;
        }
        None
    }

    fn place(&mut self, slot: Slot) {
        let mask = self.slots.len() - 1;
        let mut at = slot.hash as usize & mask;
        while self.slots[at].owner != EMPTY {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }

    fn resize(&mut self, size: usize) {
        let old = core::mem::replace(&mut self.slots, vec![Slot { hash: 0, owner: EMPTY }; size]);
        for slot in old.into_iter().filter(|s| s.owner != EMPTY) {
            self.place(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// The table against a plain list, with hashes that collide often.
    #[test]
    fn the_table_agrees_with_a_naive_model() {
        let mut rng = Rng::new(3, "ehash model");
        let mut table = Ehash::default();
        let mut model: Vec<(u32, Owner)> = Vec::new();
        for n in 0..20_000u32 {
            if model.is_empty() || rng.below(5) < 3 && model.len() < 600 {
                let hash = (rng.below(97) * 5) as u32;
                let owner = match rng.below(3) {
                    0 => Owner::Full(n),
                    1 => Owner::Request(n),
                    _ => Owner::TimeWait(n),
                };
                table.insert(hash, owner);
                model.push((hash, owner));
            } else {
                let at = rng.below(model.len() as u64) as usize;
                let (hash, owner) = model.swap_remove(at);
                table.remove(hash, owner);
            }
            assert_eq!(table.len(), model.len());
            let hash = (rng.below(97) * 5) as u32;
            let mut seen: Vec<u32> = table.candidates(hash).map(Owner::pack).collect();
            let mut want: Vec<u32> =
                model.iter().filter(|(h, _)| *h == hash).map(|(_, o)| o.pack()).collect();
            seen.sort_unstable();
            want.sort_unstable();
            assert_eq!(seen, want);
        }
    }
}
