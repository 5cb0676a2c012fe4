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
    pub(crate) holders: Vec<Holder>,
}

/// Ports in use. Empty it owns nothing.
#[derive(Debug, Default)]
pub(crate) struct BindTable {
    /// By port modulo the (power of two) size: numbers of buckets.
    heads: Vec<Vec<u32>>,
    buckets: Slab<Bucket>,
    len: usize,
}

impl BindTable {
    pub(crate) fn find(&self, port: u16) -> Option<u32> {
        if self.heads.is_empty() {
            return None;
        }
        let chain = &self.heads[usize::from(port) & (self.heads.len() - 1)];
        chain.iter().copied().find(|b| self.buckets[*b].port == port)
    }

    pub(crate) fn bucket(&self, port: u16) -> Option<&Bucket> {
        self.find(port).map(|b| &self.buckets[b])
    }

    /// Adds a holder; returns its place in the bucket, which the holder remembers.
    pub(crate) fn add(&mut self, port: u16, holder: Holder, by_connect: bool) -> u32 {
        let at = self.find(port).unwrap_or_else(|| self.create(port));
        let bucket = &mut self.buckets[at];
        bucket.only_connect &= by_connect;
        bucket.holders.push(holder);
        u32::try_from(bucket.holders.len() - 1).expect("fewer than 2^32 sockets")
    }

    /// Takes a holder out; returns the one that stands in its place now, if any.
    pub(crate) fn remove(&mut self, port: u16, place: u32) -> Option<Holder> {
        let at = self.find(port).expect("a holder keeps its bucket");
        let bucket = &mut self.buckets[at];
        bucket.holders.swap_remove(place as usize);
        if bucket.holders.is_empty() {
            self.buckets.remove(at);
            let mask = self.heads.len() - 1;
            self.heads[usize::from(port) & mask].retain(|b| *b != at);
            self.len -= 1;
            return None;
        }
        bucket.holders.get(place as usize).copied()
    }

    fn create(&mut self, port: u16) -> u32 {
        if self.len >= self.heads.len() {
            let size = (self.heads.len() * 2).max(4);
            let old = core::mem::replace(&mut self.heads, (0..size).map(|_| Vec::new()).collect());
            for b in old.into_iter().flatten() {
                let port = self.buckets[b].port;
                self.heads[usize::from(port) & (size - 1)].push(b);
            }
        }
        let at = self.buckets.insert(Bucket { port, only_connect: true, holders: Vec::new() });
        let mask = self.heads.len() - 1;
        self.heads[usize::from(port) & mask].push(at);
        self.len += 1;
        at
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
