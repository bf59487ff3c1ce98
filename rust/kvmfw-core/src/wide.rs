//! Wide vectors: what the processor has beyond the least that a build is for.
//!
//! Builds for x86-64 are for any processor of that kind, whose vectors are of 16 bytes and which cannot count bits. Those of
//! the last ten years have 32 bytes: loops over rows of bits take two thirds of the time with them (`benches/README.md`).

/// Runs `work` with the widest vectors that this processor has. Only what is compiled into it gains: mark it `#[inline(always)]`.
#[inline]
pub(crate) fn wide<T>(work: impl FnOnce() -> T) -> T {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = fearless_simd::Level::new().as_avx2() {
        return fearless_simd::Simd::vectorize(avx2, work);
    }
    work()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_once_whatever_the_vectors_are() {
        let (words, mut times) = ([0x8421_u64; 100], 0);
        let ones = wide(
            #[inline(always)]
            || {
                times += 1;
                words.iter().map(|word| word.count_ones()).sum::<u32>()
            },
        );
        assert_eq!((ones, times), (400, 1));
    }
}
