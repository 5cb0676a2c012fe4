//! Numbers from a seed, for IDs, ports and choices: SplitMix64 (public domain), the same on every machine. Nothing here is
//! for real secrets.

/// A deterministic stream of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `0..n`; 0 when `n` is 0.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        // The high half of a 128-bit product: below n, so it fits.
        u64::try_from((u128::from(self.next()) * u128::from(n)) >> 64).expect("below n")
    }

    /// 16 random bits.
    pub(crate) fn bits16(&mut self) -> u16 {
        u16::try_from(self.next() >> 48).expect("16 bits are left")
    }
}
