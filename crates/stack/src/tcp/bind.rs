//! Which sockets share a local port, and who may join them. TRUTH.md §8.
//!
//! Linux: inet_connection_sock.c `inet_csk_get_port`, `inet_csk_bind_conflict`; inet_hashtables.c
//! `__inet_inherit_port`.

use crate::socket::slab::Slab;

/// Who stands in a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A full socket (listener, connection or merely bound).
    Sock(u32),
    /// A TIME_WAIT entry keeps its socket's port.
    TimeWait(u32),
}

/// The sockets of one port (`struct inet_bind_bucket`).
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) port: u16,
    /// Nobody bound it explicitly: `connect` chose it for every holder (`fastreuse == -1`).
    pub(crate) only_connect: bool,
    /// The next bucket of the chain.
    next: u32,
    /// Most ports have one holder, which needs no memory of its own.
    first: Holder,
    others: Vec<Holder>,
}

impl Bucket {
    /// Everybody in it.
    pub(crate) fn holders(&self) -> impl Iterator<Item = Holder> + '_ {
        core::iter::once(self.first).chain(self.others.iter().copied())
    }
}

/// The end of a chain.
const NONE: u32 = u32::MAX;

/// Ports in use. Empty it owns nothing.
#[derive(Debug, Default)]
pub(crate) struct BindTable {
    /// By port modulo the (power of two) size: the first bucket of a chain.
    heads: Vec<u32>,
    buckets: Slab<Bucket>,
}

impl BindTable {
    #[inline]
    pub(crate) fn find(&self, port: u16) -> Option<u32> {
        let mask = self.heads.len().checked_sub(1)?;
        let mut at = self.heads[usize::from(port) & mask];
        while at != NONE {
            let bucket = &self.buckets[at];
            if bucket.port == port {
                return Some(at);
            }
            at = bucket.next;
        }
        None
    }

    pub(crate) fn bucket(&self, port: u16) -> Option<&Bucket> {
        self.find(port).map(|b| &self.buckets[b])
    }

    /// Adds a holder; returns its place in the bucket, which the holder remembers.
    pub(crate) fn add(&mut self, port: u16, holder: Holder, by_connect: bool) -> u32 {
        let Some(at) = self.find(port) else {
            self.create(port, holder, by_connect);
            return 0;
        };
        let bucket = &mut self.buckets[at];
        bucket.only_connect &= by_connect;
        bucket.others.push(holder);
        u32::try_from(bucket.others.len()).expect("fewer than 2^32 sockets")
    }

    /// Puts another holder in the place of one.
    pub(crate) fn replace(&mut self, port: u16, place: u32, holder: Holder) {
        let at = self.find(port).expect("a holder keeps its bucket");
        let bucket = &mut self.buckets[at];
        match (place as usize).checked_sub(1) {
            Some(other) => bucket.others[other] = holder,
            None => bucket.first = holder,
        }
    }

    /// Takes a holder out; returns the one that stands in its place now, if any.
    pub(crate) fn remove(&mut self, port: u16, place: u32) -> Option<Holder> {
        let at = self.find(port).expect("a holder keeps its bucket");
        let bucket = &mut self.buckets[at];
        match (place as usize).checked_sub(1) {
            Some(other) => {
                bucket.others.swap_remove(other);
                bucket.others.get(other).copied()
            }
            None => match bucket.others.pop() {
                Some(last) => {
                    bucket.first = last;
                    Some(last)
                }
                None => {
                    self.destroy(at);
                    None
                }
            },
        }
    }

    fn create(&mut self, port: u16, first: Holder, only_connect: bool) {
        if self.buckets.len() as usize >= self.heads.len() {
            let size = (self.heads.len() * 2).max(4);
            let old = core::mem::replace(&mut self.heads, vec![NONE; size]);
            for mut at in old {
                while at != NONE {
                    let bucket = &mut self.buckets[at];
                    let head = &mut self.heads[usize::from(bucket.port) & (size - 1)];
                    let next = core::mem::replace(&mut bucket.next, *head);
                    *head = at;
                    at = next;
                }
            }
        }
        let mask = self.heads.len() - 1;
        let next = self.heads[usize::from(port) & mask];
        let at = self.buckets.insert(Bucket { port, only_connect, next, first, others: Vec::new() });
        self.heads[usize::from(port) & mask] = at;
    }

    fn destroy(&mut self, gone: u32) {
        let Bucket { port, next, .. } = self.buckets.remove(gone).expect("the caller found it");
        let mask = self.heads.len() - 1;
        let head = &mut self.heads[usize::from(port) & mask];
        if *head == gone {
            *head = next;
            return;
        }
        let mut at = *head;
        while self.buckets[at].next != gone {
            at = self.buckets[at].next;
        }
        self.buckets[at].next = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_holder_is_replaced_by_the_last_and_the_bucket_goes_with_its_last() {
        let mut table = BindTable::default();
        for n in 0..100 {
            table.add(n * 64, Holder::Sock(u32::from(n)), true);
        }
        assert_eq!(table.add(640, Holder::Sock(1000), true), 1);
        assert_eq!(table.add(640, Holder::TimeWait(7), false), 2);
        assert!(!table.bucket(640).unwrap().only_connect);
        assert_eq!(table.remove(640, 0), Some(Holder::TimeWait(7)));
        assert_eq!(table.remove(640, 1), None);
        assert_eq!(table.remove(640, 0), None);
        assert!(table.bucket(640).is_none());
        assert!(table.bucket(64).is_some());
    }
}
