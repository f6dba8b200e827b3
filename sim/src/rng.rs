//! Chance from a seed, and the hash that names states and traces.

/// A small generator (splitmix64): the same seed gives the same numbers, for ever and everywhere.
///
/// Not for secrets, and not for statistics.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// A generator that starts at `seed`; any seed is as good as any other.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number below `bound`; 0 if the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of the product: no division, and a bias too small to be seen here.
        let product = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// An index below `len`; 0 if the length is 0.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// True `times` in `out_of` times.
    pub fn chance(&mut self, times: u64, out_of: u64) -> bool {
        self.below(out_of) < times
    }
}

/// Spreads the bits of a number: neighbours come out unlike each other.
pub(crate) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Takes one more number into a running hash; the order counts.
pub(crate) fn fold(hash: u64, value: u64) -> u64 {
    mix(hash.rotate_left(5) ^ value.wrapping_add(0x9e37_79b9_7f4a_7c15))
}

/// Takes bytes into a running hash.
pub(crate) fn fold_bytes(hash: u64, bytes: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = bytes.as_chunks::<8>();
    let (fours, words) = words.as_chunks::<4>();
    // Four lanes, that do not wait for each other: whole sectors are hashed by the thousand.
    let mut lanes = [1, 2, 3, 4].map(|lane| fold(hash, lane));
    for four in fours {
        for (lane, word) in lanes.iter_mut().zip(four) {
            *lane = (lane.rotate_left(29) ^ u64::from_le_bytes(*word)).wrapping_mul(ODD);
        }
    }
    let sum = lanes.into_iter().fold(fold(hash, bytes.len() as u64), fold);
    let sum = words.iter().fold(sum, |sum, word| fold(sum, u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| fold(sum, u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_of_a_seed_never_changes() {
        // The published first outputs of splitmix64: old seeds must keep their meaning.
        let mut rng = Rng::new(1_234_567);
        assert_eq!(rng.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(rng.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn bounds_hold_and_every_value_comes() {
        let mut rng = Rng::new(7);
        let mut seen = [0_u32; 6];
        for _ in 0..6000 {
            seen[rng.index(6)] += 1;
        }
        assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
        assert_eq!((rng.below(0), rng.below(1), rng.index(0)), (0, 0, 0));
        assert!(!rng.chance(0, 9) && rng.chance(9, 9));
    }

    #[test]
    fn the_hash_sees_order_length_and_every_byte() {
        let base: [u8; 83] = std::array::from_fn(|place| place.to_le_bytes()[0]);
        let hash = fold_bytes(0, &base);
        assert_eq!(hash, fold_bytes(0, &base));
        for place in 0..base.len() {
            for bit in 0..8 {
                let mut other = base;
                other[place] ^= 1 << bit;
                assert_ne!(hash, fold_bytes(0, &other), "bit {bit} of byte {place}");
            }
            let mut other = base;
            other.swap(place, (place + 8) % base.len());
            assert_ne!(hash, fold_bytes(0, &other), "byte {place} swapped");
        }
        assert_ne!(fold_bytes(0, &[0; 8]), fold_bytes(0, &[0; 16]));
        assert_ne!(fold(fold(0, 1), 2), fold(fold(0, 2), 1));
    }
}
