//! Initial sequence numbers and timestamp offsets: unpredictable, yet increasing for one four-tuple.
//!
//! RFC 6528, RFC 7323 §5.4 with per-destination offsets. Linux: net/core/secure_seq.c.

use std::net::{IpAddr, SocketAddr};

use wire::Instant;
use wire::tcp::SeqNum;

/// The secrets of one host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Secrets {
    pub(crate) isn: [u64; 2],
    pub(crate) ts: [u64; 2],
    pub(crate) port: [u64; 2],
    pub(crate) cookie: [u64; 2],
}

impl Secrets {
    pub(crate) fn new(rng: &crate::rng::Rng) -> Secrets {
        let mut rng = rng.fork("tcp secrets");
        let mut pair = || [rng.next_u64(), rng.next_u64()];
        Secrets { isn: pair(), ts: pair(), port: pair(), cookie: pair() }
    }

    /// `secure_tcp_seq`: a keyed hash of the four-tuple plus a clock of 64 ns.
    pub(crate) fn isn(&self, local: SocketAddr, remote: SocketAddr, now: Instant) -> SeqNum {
        let mut words = Words::default();
        let ports = u64::from(remote.port()) << 16 | u64::from(local.port());
        words.addr(remote.ip()).addr(local.ip()).push(ports);
        let hash = siphash(self.isn, words.as_slice()) as u32; // its low half
        SeqNum(hash.wrapping_add((now.as_nanos() >> 6) as u32)) // the clock wraps every 274 s
    }

    /// `secure_tcp_ts_off`: by addresses alone, so that ports of one host share a clock.
    pub(crate) fn ts_offset(&self, local: IpAddr, remote: IpAddr) -> u32 {
        let mut words = Words::default();
        words.addr(local).addr(remote);
        siphash(self.ts, words.as_slice()) as u32 // its low half
    }

    /// `secure_ipv4_port_ephemeral`: where the search for a port begins.
    pub(crate) fn port_offset(&self, local: IpAddr, remote: SocketAddr) -> u64 {
        let mut words = Words::default();
        words.addr(local).addr(remote.ip()).push(remote.port().into());
        siphash(self.port, words.as_slice())
    }
}

/// What is hashed: at most two addresses and a word.
#[derive(Default)]
struct Words {
    words: [u64; 5],
    len: usize,
}

impl Words {
    fn push(&mut self, word: u64) -> &mut Words {
        self.words[self.len] = word;
        self.len += 1;
        self
    }

    fn addr(&mut self, addr: IpAddr) -> &mut Words {
        match addr {
            IpAddr::V4(a) => self.push(u64::from(u32::from(a))),
            IpAddr::V6(a) => {
                let v = u128::from(a);
                self.push((v >> 64) as u64).push(v as u64) // its halves
            }
        }
    }

    fn as_slice(&self) -> &[u64] {
        &self.words[..self.len]
    }
}

/// SipHash-2-4 over 64-bit words (Aumasson, Bernstein; public domain).
pub(crate) fn siphash(key: [u64; 2], words: &[u64]) -> u64 {
    let mut v = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    let round = |v: &mut [u64; 4]| {
        v[0] = v[0].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(13) ^ v[0];
        v[0] = v[0].rotate_left(32);
        v[2] = v[2].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(16) ^ v[2];
        v[0] = v[0].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(21) ^ v[0];
        v[2] = v[2].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(17) ^ v[2];
        v[2] = v[2].rotate_left(32);
    };
    let length = (words.len() as u64 * 8) << 56;
    for word in words.iter().copied().chain([length]) {
        v[3] ^= word;
        round(&mut v);
        round(&mut v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    for _ in 0..4 {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference vector of the SipHash paper: key 00..0f, message 00..07 (one word).
    #[test]
    fn siphash_agrees_with_the_published_vector() {
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        assert_eq!(siphash(key, &[0x0706_0504_0302_0100]), 0x93f5_f579_9a93_2462);
    }
}
