//! QUIC's packet protection (RFC 9001 §5, version 2: RFC 9369 §3.3): keys from secrets, header protection, opening.

use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};
use aes::{Aes128, Aes256};
use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit as _, StreamCipher as _, StreamCipherSeek as _};
use hkdf::Hkdf;
use sha2::Sha256;

use crate::dissect::tls::decrypt::{Opener, expand_label};
use crate::dissect::tls::names::{Aead, Suite, suite};

pub(super) const V1: u32 = 1;
pub(super) const V2: u32 = 0x6b33_43cf;

/// RFC 9001 §5.2 and RFC 9369 §3.3.1.
const SALT_V1: [u8; 20] = [
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc,
    0xbb, 0x7f, 0x0a,
];
const SALT_V2: [u8; 20] = [
    0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9,
    0xbd, 0x2e, 0xd9,
];

/// One direction's keys of one level.
#[derive(Debug)]
pub(super) struct Keys {
    opener: Opener,
    iv: [u8; 12],
    mask: Mask,
    secret: Vec<u8>,
    suite: Suite,
    version: u32,
}

/// Header protection (RFC 9001 §5.4).
enum Mask {
    Aes128(Box<Aes128>),
    Aes256(Box<Aes256>),
    ChaCha([u8; 32]),
}

impl core::fmt::Debug for Mask {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Mask")
    }
}

fn label(version: u32, what: &str) -> String {
    if version == V2 { format!("quicv2 {what}") } else { format!("quic {what}") }
}

impl Keys {
    /// Both directions' Initial keys, the client's first, from the connection id that the client chose.
    pub(super) fn initial(version: u32, dcid: &[u8]) -> Option<[Keys; 2]> {
        let salt = if version == V2 { SALT_V2 } else { SALT_V1 };
        let (secret, _) = Hkdf::<Sha256>::extract(Some(&salt), dcid);
        let suite = suite(0x1301)?;
        let of = |side: &str| {
            let secret = expand_label(suite.hash, &secret, side, 32)?;
            Keys::new(version, suite, &secret)
        };
        Some([of("client in")?, of("server in")?])
    }

    pub(super) fn new(version: u32, suite: Suite, secret: &[u8]) -> Option<Keys> {
        if secret.len() != suite.hash.len() {
            return None;
        }
        let expand = |what: &str, len| expand_label(suite.hash, secret, &label(version, what), len);
        let key = expand("key", suite.aead.key_len())?;
        let hp = expand("hp", suite.aead.key_len())?;
        let mask = match suite.aead {
            Aead::Aes128Gcm => Mask::Aes128(Box::new(Aes128::new_from_slice(&hp).ok()?)),
            Aead::Aes256Gcm => Mask::Aes256(Box::new(Aes256::new_from_slice(&hp).ok()?)),
            Aead::ChaCha20Poly1305 => Mask::ChaCha(hp.try_into().ok()?),
            Aead::Other => return None,
        };
        let iv = expand("iv", 12)?.try_into().ok()?;
        Some(Keys {
            opener: Opener::new(suite.aead, &key)?,
            iv,
            mask,
            secret: secret.to_vec(),
            suite,
            version,
        })
    }

    /// The keys after an update (RFC 9001 §6.1); header protection stays.
    pub(super) fn updated(&self) -> Option<Keys> {
        let hash = self.suite.hash;
        let secret = expand_label(hash, &self.secret, &label(self.version, "ku"), hash.len())?;
        let next = Keys::new(self.version, self.suite, &secret)?;
        let mask = match &self.mask {
            Mask::Aes128(m) => Mask::Aes128(m.clone()),
            Mask::Aes256(m) => Mask::Aes256(m.clone()),
            Mask::ChaCha(m) => Mask::ChaCha(*m),
        };
        Some(Keys { mask, ..next })
    }

    /// The five bytes that hide a header, from 16 bytes of the packet.
    fn mask(&self, sample: [u8; 16]) -> [u8; 5] {
        let mut out = [0; 5];
        match &self.mask {
            Mask::Aes128(key) => {
                let mut block = sample.into();
                key.encrypt_block(&mut block);
                out.copy_from_slice(&block[..5]);
            }
            Mask::Aes256(key) => {
                let mut block = sample.into();
                key.encrypt_block(&mut block);
                out.copy_from_slice(&block[..5]);
            }
            Mask::ChaCha(key) => {
                let (counter, nonce) = sample.split_at(4);
                let counter = u32::from_le_bytes([counter[0], counter[1], counter[2], counter[3]]);
                if let Ok(nonce) = <[u8; 12]>::try_from(nonce) {
                    let mut cipher = ChaCha20::new(&(*key).into(), &nonce.into());
                    cipher.seek(u64::from(counter) * 64);
                    cipher.apply_keystream(&mut out);
                }
            }
        }
        out
    }

    /// Takes the protection off a header: its first byte, the truncated packet number and its length.
    pub(super) fn unhide(&self, packet: &[u8], number_at: usize) -> Option<(u8, u32, usize)> {
        let sample = packet.get(number_at + 4..number_at + 20)?.try_into().ok()?;
        let mask = self.mask(sample);
        let hidden = if packet[0] & 0x80 != 0 { 0x0f } else { 0x1f };
        let first = packet[0] ^ mask[0] & hidden;
        let len = usize::from(first & 3) + 1;
        let number = packet[number_at..number_at + len].iter().zip(&mask[1..]);
        Some((first, number.fold(0, |v, (b, m)| v << 8 | u32::from(b ^ m)), len))
    }

    /// The plaintext of a packet whose header ends behind its number.
    pub(super) fn open(
        &self,
        packet: &[u8],
        first: u8,
        number: u64,
        truncated: u32,
        at: (usize, usize),
    ) -> Option<Vec<u8>> {
        let (number_at, number_len) = at;
        let end = number_at + number_len;
        let mut header = packet.get(..end)?.to_vec();
        header[0] = first;
        header[number_at..].copy_from_slice(&truncated.to_be_bytes()[4 - number_len..]);
        let mut nonce = self.iv;
        for (to, from) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
            *to ^= from;
        }
        self.opener.open(nonce, &header, &packet[end..])
    }
}

/// The packet number that a truncated one stands for (RFC 9000 appendix A.3).
pub(super) fn number(largest: Option<u64>, truncated: u32, len: usize) -> u64 {
    let expected = largest.map_or(0, |l| l + 1);
    let window = 1_u64 << (8 * len);
    let candidate = expected & !(window - 1) | u64::from(truncated);
    if candidate + window / 2 <= expected && candidate + window < 1 << 62 {
        candidate + window
    } else if candidate > expected + window / 2 && candidate >= window {
        candidate - window
    } else {
        candidate
    }
}

#[cfg(test)]
mod tests {
    use super::{Keys, V1, number};

    #[test]
    fn initial_keys_open_the_packet_of_rfc_9001_appendix_a() {
        // A.2: the first 32 bytes of the protected client Initial show header protection; A.3 is the server's whole packet.
        let keys = Keys::initial(V1, &[0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08]).expect("AES");
        assert_eq!(keys[0].iv[..4], [0xfa, 0x04, 0x4b, 0x2f]);
        assert_eq!(keys[1].iv[..4], [0x0a, 0xc1, 0x49, 0x3c]);
        let mask = keys[0].mask([
            0xd1, 0xb1, 0xc9, 0x8d, 0xd7, 0x68, 0x9f, 0xb8, 0xec, 0x11, 0xd2, 0x42, 0xb1, 0x23, 0xdc, 0x9b,
        ]);
        assert_eq!(mask, [0x43, 0x7b, 0x9a, 0xec, 0x36]);
    }

    #[test]
    fn packet_numbers_are_those_of_rfc_9000_appendix_a3() {
        assert_eq!(number(Some(0xa82f_30ea), 0x9b32, 2), 0xa82f_9b32);
        assert_eq!(number(None, 0, 1), 0);
        assert_eq!(number(Some(255), 1, 1), 257);
    }
}
