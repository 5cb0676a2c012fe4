//! Who is bound to a port: UDP's hash table (`struct udp_table`).

/// Buckets at most; chains grow beyond that.
const MAX_BUCKETS: usize = 1 << 16;

/// Sockets by local port. Grows with its content; empty it owns nothing.
#[derive(Debug, Default)]
pub(crate) struct PortTable {
    /// Port and socket, oldest first.
    buckets: Vec<Vec<(u16, u32)>>,
    len: usize,
}

impl PortTable {
    pub(crate) fn insert(&mut self, port: u16, sock: u32) {
        if self.len >= self.buckets.len() && self.buckets.len() < MAX_BUCKETS {
            self.grow();
        }
        let at = self.bucket(port);
        self.buckets[at].push((port, sock));
        self.len += 1;
    }

    pub(crate) fn remove(&mut self, port: u16, sock: u32) {
        if self.buckets.is_empty() {
            return;
        }
        let at = self.bucket(port);
        let bucket = &mut self.buckets[at];
        if let Some(entry) = bucket.iter().position(|e| *e == (port, sock)) {
            bucket.remove(entry);
            self.len -= 1;
        }
    }

    /// Sockets on this port, oldest first.
    pub(crate) fn on_port(&self, port: u16) -> impl DoubleEndedIterator<Item = u32> + Clone {
        let bucket = if self.buckets.is_empty() { &[][..] } else { &self.buckets[self.bucket(port)][..] };
        bucket.iter().filter(move |(p, _)| *p == port).map(|(_, sock)| *sock)
    }

    /// The socket on this port when there is no other in its bucket.
    #[inline]
    pub(crate) fn only_on_port(&self, port: u16) -> Option<u32> {
        let buckets = self.buckets.as_slice();
        match buckets.get(usize::from(port) & buckets.len().wrapping_sub(1))?[..] {
            [(p, sock)] if p == port => Some(sock),
            _ => None,
        }
    }

    fn bucket(&self, port: u16) -> usize {
        usize::from(port) & (self.buckets.len() - 1)
    }

    /// Doubles; entries of one port keep their order.
    fn grow(&mut self) {
        let size = (self.buckets.len() * 2).max(4);
        let old = core::mem::replace(&mut self.buckets, (0..size).map(|_| Vec::new()).collect());
        for (port, sock) in old.into_iter().flatten() {
            let at = self.bucket(port);
            self.buckets[at].push((port, sock));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_keep_the_order_of_their_sockets_while_the_table_grows() {
        let mut table = PortTable::default();
        assert_eq!(table.on_port(9).next(), None);
        for sock in 0..1000 {
            table.insert((sock % 7) as u16 * 64, sock);
        }
        let seen: Vec<u32> = table.on_port(64).collect();
        assert_eq!(seen, (0..1000).filter(|s| s % 7 == 1).collect::<Vec<u32>>());
        table.remove(64, 8);
        assert_eq!(table.on_port(64).take(2).collect::<Vec<u32>>(), [1, 15]);
    }

    #[test]
    fn a_port_table_is_a_list() {
        let mut rng = crate::rng::Rng::new(1, "ports");
        let (mut table, mut list) = (PortTable::default(), Vec::new());
        for sock in 0..20_000u32 {
            // Few ports, some of them in the same bucket.
            let port = [9, 53, 9 + 1024, 53 + 4096, 40_000][rng.below(5) as usize];
            if list.len() > 300 || rng.below(3) == 0 && !list.is_empty() {
                let (port, sock) = list.remove(rng.below(list.len() as u64) as usize);
                table.remove(port, sock);
                table.remove(port, sock); // twice is harmless
            } else {
                table.insert(port, sock);
                list.push((port, sock));
            }
            assert_eq!(table.len, list.len());
            let on_port = list.iter().filter(|(p, _)| *p == port).map(|(_, s)| *s);
            assert!(table.on_port(port).eq(on_port), "port {port} after {sock} steps");
        }
    }
}
