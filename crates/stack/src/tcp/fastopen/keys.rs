//! The server's secret and the cookies that it makes: SipHash-2-4 of both addresses, 8 bytes.
//!
//! Linux: tcp_fastopen.c `__tcp_fastopen_cookie_gen_cipher`, `tcp_fastopen_cookie_gen_check`; sysctl_net_ipv4.c
//! `proc_tcp_fastopen_key`.

use core::fmt;
use std::net::IpAddr;

use super::Cookie;
use crate::sysctl::value::{Codec, Refused, Value};
use crate::tcp::isn::siphash;

/// `TCP_FASTOPEN_KEY_LENGTH`
pub(crate) const KEY_LEN: usize = 16;

/// A primary key and maybe a backup (`struct tcp_fastopen_context`); none before the first listener needs one.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Keys {
    primary: Option<[u64; 2]>,
    backup: Option<[u64; 2]>,
}

/// Secrets stay out of logs.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = u8::from(self.primary.is_some()) + u8::from(self.backup.is_some());
        write!(f, "{n} keys")
    }
}

/// Which key made a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    Primary,
    Backup,
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(*bytes.first_chunk().expect("the caller cuts keys into halves"))
}

impl Keys {
    /// From 16 bytes, or 32 with a backup.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Keys> {
        let key = |at: usize| [word(&bytes[at..]), word(&bytes[at + 8..])];
        match bytes.len() {
            KEY_LEN => Some(Keys { primary: Some(key(0)), backup: None }),
            n if n == 2 * KEY_LEN => Some(Keys { primary: Some(key(0)), backup: Some(key(KEY_LEN)) }),
            _ => None,
        }
    }

    /// A random key.
    pub(crate) fn random(rng: &mut crate::rng::Rng) -> Keys {
        Keys { primary: Some([rng.next_u64(), rng.next_u64()]), backup: None }
    }

    /// There is none yet.
    pub(crate) fn is_none(&self) -> bool {
        self.primary.is_none()
    }

    fn each(&self) -> impl Iterator<Item = [u64; 2]> {
        self.primary.into_iter().chain(self.backup)
    }

    /// The bytes that `TCP_FASTOPEN_KEY` reads.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        self.each().flatten().flat_map(u64::to_le_bytes).collect()
    }

    /// The cookie for a client, by the primary key.
    pub(crate) fn cookie(&self, client: IpAddr, server: IpAddr) -> Option<Cookie> {
        self.primary.map(|key| cookie(key, client, server))
    }

    /// Whether a client's cookie is ours.
    pub(crate) fn check(&self, presented: &Cookie, client: IpAddr, server: IpAddr) -> Option<Match> {
        let which = self.each().position(|key| cookie(key, client, server).bytes() == presented.bytes())?;
        Some(if which == 0 { Match::Primary } else { Match::Backup })
    }
}

fn cookie(key: [u64; 2], client: IpAddr, server: IpAddr) -> Cookie {
    let hash = match (client, server) {
        (IpAddr::V4(c), IpAddr::V4(s)) => {
            let mut both = [0; 8];
            both[..4].copy_from_slice(&c.octets());
            both[4..].copy_from_slice(&s.octets());
            siphash(key, &[u64::from_le_bytes(both)])
        }
        (IpAddr::V6(c), IpAddr::V6(s)) => {
            let (c, s) = (c.octets(), s.octets());
            siphash(key, &[word(&c), word(&c[8..]), word(&s), word(&s[8..])])
        }
        (c, s) => unreachable!("a SYN from {c} to {s}"),
    };
    Cookie::new(&hash.to_le_bytes())
}

impl Value for Keys {
    /// Four numbers of the key's little-endian words in hexadecimal; zeros before there is a key.
    fn text(&self, _codec: Codec) -> String {
        let one = |key: [u64; 2]| {
            let half = |w: u64| (w as u32, (w >> 32) as u32); // its halves
            let ((a, b), (c, d)) = (half(key[0]), half(key[1]));
            format!("{a:08x}-{b:08x}-{c:08x}-{d:08x}")
        };
        if self.is_none() {
            return one([0; 2]);
        }
        self.each().map(one).collect::<Vec<_>>().join(",")
    }

    fn read(text: &str, _codec: Codec) -> Result<Self, Refused> {
        let one = |text: &str| -> Option<[u64; 2]> {
            let mut words = [0u64; 4];
            let mut parts = text.trim().split('-');
            for word in &mut words {
                *word = u32::from_str_radix(parts.next()?, 16).ok()?.into();
            }
            parts.next().is_none().then_some([words[0] | words[1] << 32, words[2] | words[3] << 32])
        };
        let (primary, backup) = match text.split_once(',') {
            None => (one(text), Ok(None)),
            Some((first, second)) => (one(first), one(second).map(Some).ok_or(())),
        };
        match (primary, backup) {
            (Some(primary), Ok(backup)) => Ok(Keys { primary: Some(primary), backup }),
            _ => Err(Refused(
                "a key as 4 hexadecimal numbers with - between them, or two such keys with a comma".into(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "a0bf63f7-ed803d81-cd641d30-cebc4a90";

    fn keys(text: &str) -> Keys {
        Keys::read(text, Codec::Text).unwrap()
    }

    /// packetdrill's gtests/net/tcp/fastopen/server/simple1 to simple3 and sockopt-fastopen-key.
    #[test]
    fn cookies_are_those_of_the_kernel() {
        for (client, server, want) in [
            ("10.248.0.2", "192.168.0.2", 0x00ab_aaab_e8e9_54c2_u64),
            ("10.248.0.3", "192.168.0.2", 0x1313_a2da_994a_0951),
            ("10.248.0.3", "192.168.0.3", 0x76d2_c1c5_30f5_1f79),
        ] {
            let cookie = keys(KEY).cookie(client.parse().unwrap(), server.parse().unwrap()).unwrap();
            assert_eq!(cookie.bytes(), want.to_be_bytes(), "{client} {server}");
        }
        let zero = keys("0-0-0-0").cookie("10.248.0.2".parse().unwrap(), "192.168.0.2".parse().unwrap());
        assert_eq!(zero.unwrap().bytes(), 0x93b7_aa4f_550f_8a1a_u64.to_be_bytes());
    }

    #[test]
    fn both_keys_open_and_the_first_one_makes_cookies() {
        let (c, s): (IpAddr, IpAddr) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let two = keys(&format!("{KEY},1-2-3-4"));
        let old = keys("1-2-3-4").cookie(c, s).unwrap();
        assert_eq!(two.check(&old, c, s), Some(Match::Backup));
        assert_eq!(two.check(&two.cookie(c, s).unwrap(), c, s), Some(Match::Primary));
        assert_eq!(two.check(&old, s, c), None, "for that client only");
    }

    #[test]
    fn keys_are_written_as_the_kernel_writes_them() {
        assert_eq!(Keys::default().text(Codec::Text), "00000000-00000000-00000000-00000000");
        assert_eq!(keys(KEY).text(Codec::Text), KEY);
        assert_eq!(keys(&format!("{KEY},{KEY}")).text(Codec::Text), format!("{KEY},{KEY}"));
        // The option takes the same bytes in memory order.
        let bytes = *b"\xf7\x63\xbf\xa0\x81\x3d\x80\xed\x30\x1d\x64\xcd\x90\x4a\xbc\xce";
        assert_eq!(Keys::from_bytes(&bytes), Some(keys(KEY)));
        assert_eq!(keys(KEY).to_bytes(), bytes);
        for wrong in ["", "1-2-3", "1-2-3-4-5", "x-2-3-4", "1-2-3-4,", "1-2-3-4,5"] {
            assert!(Keys::read(wrong, Codec::Text).is_err(), "{wrong:?}");
        }
    }
}
