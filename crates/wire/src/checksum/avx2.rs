//! The sum by AVX2: three instructions for 32 bytes, where the portable loop needs four for as many.
//!
//! `vpmaddwd` adds neighbouring 16-bit words as *signed* numbers, so 0x8000 is taken off each word first
//! (by flipping its top bit) and put back at the end, times the number of words.

#![expect(unsafe_code, reason = "the one exception: AVX2, where the processor has it")]

use super::{narrow, sum_short};
use core::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_add_epi64, _mm256_castsi256_si128, _mm256_cvtepi32_epi64,
    _mm256_extract_epi64, _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_set1_epi16,
    _mm256_setzero_si256, _mm256_xor_si256,
};

/// Bytes summed into 32-bit lanes before they are widened: each step adds less than 2^17 to a lane, and
/// there are at most 2^16 / 32 steps.
const CHUNK: usize = 1 << 16;

/// As [`sum_short`]; `None` when the processor has no AVX2.
#[inline]
pub(super) fn sum(bytes: &[u8]) -> Option<u64> {
    // SAFETY: the processor has AVX2.
    std::arch::is_x86_feature_detected!("avx2").then(|| unsafe { sum_avx2(bytes) })
}

#[target_feature(enable = "avx2")]
fn sum_avx2(bytes: &[u8]) -> u64 {
    let mut total = 0;
    // Chunks but the last are even, so that their sums add up.
    for chunk in bytes.chunks(CHUNK) {
        total += sum_chunk(chunk);
    }
    narrow(total)
}

#[target_feature(enable = "avx2")]
fn sum_chunk(bytes: &[u8]) -> u64 {
    let mut lanes = [_mm256_setzero_si256(); 4];
    let (blocks, rest) = bytes.as_chunks::<128>();
    for block in blocks {
        let (parts, _) = block.as_chunks::<32>();
        for (lane, part) in lanes.iter_mut().zip(parts) {
            *lane = _mm256_add_epi32(*lane, pairs(part));
        }
    }
    let (parts, rest) = rest.as_chunks::<32>();
    for part in parts {
        lanes[0] = _mm256_add_epi32(lanes[0], pairs(part));
    }
    let [a, b, c, d] = lanes.map(|lane| widen(lane));
    let sum = _mm256_add_epi64(_mm256_add_epi64(a, b), _mm256_add_epi64(c, d));
    let sum = _mm256_extract_epi64::<0>(sum)
        + _mm256_extract_epi64::<1>(sum)
        + _mm256_extract_epi64::<2>(sum)
        + _mm256_extract_epi64::<3>(sum);
    let words = (blocks.len() * 64 + parts.len() * 16) as i64; // at most 2^15
    let sum = sum + words * 0x8000;
    sum_short(rest) + u64::try_from(sum).expect("words are not negative")
}

/// The sums of neighbouring 16-bit words, each word less 0x8000.
#[inline]
#[target_feature(enable = "avx2")]
fn pairs(part: &[u8; 32]) -> __m256i {
    // SAFETY: 32 bytes are there, and this load needs no alignment.
    let words = unsafe { _mm256_loadu_si256(part.as_ptr().cast()) };
    let signed = _mm256_xor_si256(words, _mm256_set1_epi16(i16::MIN));
    _mm256_madd_epi16(signed, _mm256_set1_epi16(1))
}

/// Eight signed 32-bit lanes as four of 64 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn widen(lanes: __m256i) -> __m256i {
    let low = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(lanes));
    let high = _mm256_cvtepi32_epi64(_mm256_extracti128_si256::<1>(lanes));
    _mm256_add_epi64(low, high)
}
