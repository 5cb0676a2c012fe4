//! A host's randomness: one stream for each purpose, forked from the seed by name.
//!
//! A new consumer does not reshuffle the others. The generator is SplitMix64 (public domain): small,
//! fast, the same on every machine; nothing here is for real secrets.

/// A deterministic stream of numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng(u64);

impl Rng {
    /// The stream called `name` of the run with this `seed`.
    pub fn new(seed: u64, name: &str) -> Rng {
        // FNV-1a spreads the name; the first output of SplitMix64 then mixes it with the seed.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in name.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let mut rng = Rng(seed ^ hash);
        rng.0 = rng.next_u64();
        rng
    }

    /// A stream of its own for `name`; this stream does not move.
    pub fn fork(&self, name: &str) -> Rng {
        Rng::new(self.0, name)
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32 // the upper half
    }

    /// Uniform in `0..n`. Panics when `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "nothing lies below 0");
        // Lemire's multiply-shift; the bias of 2^-64·n is far below what any run can show.
        ((u128::from(self.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// True in `ppm` of a million cases.
    pub fn chance_ppm(&mut self, ppm: u32) -> bool {
        self.below(1_000_000) < u64::from(ppm)
    }
}
