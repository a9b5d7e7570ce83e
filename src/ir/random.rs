//! Random numbers as a function of what they are for: no generator has a state.
//!
//! Comes in: a [`Key`] (a seed and the name of a tensor), the step, the number of the draw in the rule's file, and the
//! index of an element. Goes out: a uniform number in [0, 1) for each element of a run of indices.
//!
//! What is guaranteed: a number depends on these and nothing else, so that threads, shards, vector widths and engines
//! cannot change one, and a run that is resumed goes on with the same numbers. The function is Threefry-2x64 of 20
//! rounds (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011), a cipher without its
//! last margin of safety: its words pass the known batteries of tests. A cipher is a permutation of the counters, so
//! that no two elements, steps or draws of one key share a block. Names of equal hash would share their numbers; among
//! a million tensors that has odds below one in ten million.
//!
//! What it does not do: it gives uniform numbers only. Others are made of them in the IR, where every engine shares
//! them. It is not for secrets.

/// What all numbers of one tensor have in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Key(pub [u64; 2]);

impl Key {
    /// The key of a tensor: the seed, and the FNV-1a hash of 64 bits of its name as UTF-8.
    pub fn new(seed: u64, tensor: &str) -> Key {
        let hash = tensor.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Key([seed, hash])
    }
}

/// The types of uniform numbers: f32 and f64.
pub trait Uniform: Copy {
    /// A number in [0, 1) from the highest bits of a word: as many as the significand has, times a power of two, so
    /// that all such multiples are equally likely.
    fn from_word(word: u64) -> Self;
}

impl Uniform for f32 {
    #[inline(always)]
    fn from_word(word: u64) -> f32 {
        // By way of i32, which vectors can convert.
        (word >> 40) as i32 as f32 * (1.0 / (1u32 << 24) as f32)
    }
}

impl Uniform for f64 {
    #[inline(always)]
    fn from_word(word: u64) -> f64 {
        (word >> 11) as i64 as f64 * (1.0 / (1u64 << 53) as f64)
    }
}

/// Fills `out` with the uniform numbers of the elements from index `first` on.
///
/// `t` is the step, below 2^48 (beyond, numbers repeat); `draw` the number of the draw, below 2^16; `word`, 0 or 1,
/// says which of the two words that a block has: an element may have two numbers for a draw. The block of element i is
/// that of the counter `(i, t << 16 | draw)`.
pub fn fill<T: Uniform>(key: Key, t: u64, draw: u32, word: u32, first: u64, out: &mut [T]) {
    debug_assert!(draw < 1 << 16 && word < 2, "draw {draw}, word {word}");
    let step = t << 16 | u64::from(draw);
    // Not asked within the loop, which is then one of vectors.
    if word == 0 {
        out.iter_mut().zip(first..).for_each(|(out, i)| *out = T::from_word(threefry(key, [i, step])[0]));
    } else {
        out.iter_mut().zip(first..).for_each(|(out, i)| *out = T::from_word(threefry(key, [i, step])[1]));
    }
}

/// By how much each round rotates; then they begin again.
const ROTATIONS: [u32; 8] = [16, 42, 12, 31, 16, 32, 24, 21];

/// Threefry-2x64 of 20 rounds.
#[inline(always)]
fn threefry(Key([a, b]): Key, [mut x, mut y]: [u64; 2]) -> [u64; 2] {
    let key = [a, b, a ^ b ^ 0x1bd1_1bda_a9fc_1a22];
    x = x.wrapping_add(key[0]);
    y = y.wrapping_add(key[1]);
    // After every four rounds the key is added, rotated by one word and with the number of the addition.
    let mut addition = 0;
    while addition < 5 {
        let rotations = &ROTATIONS[addition % 2 * 4..][..4];
        for rotation in rotations {
            x = x.wrapping_add(y);
            y = y.rotate_left(*rotation) ^ x;
        }
        addition += 1;
        x = x.wrapping_add(key[addition % 3]);
        y = y.wrapping_add(key[(addition + 1) % 3]).wrapping_add(addition as u64);
    }
    [x, y]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // From the file kat_vectors of Random123: counter, key, result.
        let ones = u64::MAX;
        let pi = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89];
        let cases = [
            ([0, 0], [0, 0], [0xc2b6_e3a8_c2c6_9865, 0x6f81_ed42_f350_084d]),
            ([ones, ones], [ones, ones], [0xe02c_b7c4_d95d_277a, 0xd066_33d0_893b_8b68]),
            ([pi[0], pi[1]], [pi[2], pi[3]], [0x263c_7d30_bb0f_0af1, 0x56be_8361_d331_1526]),
        ];
        for (counter, key, expected) in cases {
            assert_eq!(threefry(Key(key), counter), expected, "{counter:x?} {key:x?}");
        }
    }

    #[test]
    fn names_are_hashed_by_fnv() {
        // From the published test vectors of FNV-1a.
        assert_eq!(Key::new(7, ""), Key([7, 0xcbf2_9ce4_8422_2325]));
        assert_eq!(Key::new(7, "a"), Key([7, 0xaf63_dc4c_8601_ec8c]));
        assert_eq!(Key::new(7, "foobar"), Key([7, 0x8594_4171_f739_67e8]));
    }

    #[test]
    fn a_number_is_of_its_element_step_draw_and_word() {
        let key = Key::new(1, "layer.weight");
        let (mut whole, mut part) = ([0.0f32; 100], [0.0f32; 37]);
        fill(key, 5, 3, 1, 1000, &mut whole);
        fill(key, 5, 3, 1, 1041, &mut part);
        assert_eq!(whole[41..78], part);
        let block = threefry(key, [1002, 5 << 16 | 3]);
        assert_eq!(whole[2], (block[1] >> 40) as f32 / 16777216.0);
        let mut other = [0.0f64; 4];
        fill(key, 5, 3, 0, 1000, &mut other);
        assert_eq!(other[2], (block[0] >> 11) as f64 / 9007199254740992.0);
        // Whichever changes, the numbers do.
        let of = |key, t, draw, word, first| {
            let mut out = [0.0f64; 2];
            fill(key, t, draw, word, first, &mut out);
            out.map(f64::to_bits)
        };
        let mut seen = vec![of(key, 5, 3, 0, 0)];
        seen.extend([of(key, 6, 3, 0, 0), of(key, 5, 4, 0, 0), of(key, 5, 3, 1, 0), of(key, 5, 3, 0, 2)]);
        seen.extend([of(Key::new(2, "layer.weight"), 5, 3, 0, 0), of(Key::new(1, "layer.bias"), 5, 3, 0, 0)]);
        let mut all: Vec<u64> = seen.concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 14);
    }

    #[test]
    fn numbers_are_uniform_from_zero_to_below_one() {
        assert_eq!((f32::from_word(0), f64::from_word(0)), (0.0, 0.0));
        assert_eq!(
            (f32::from_word(u64::MAX), f64::from_word(u64::MAX)),
            (1.0 - f32::EPSILON / 2.0, 1.0 - f64::EPSILON / 2.0)
        );
        let mut numbers = vec![0.0f32; 1 << 16];
        fill(Key::new(0, "p"), 1, 0, 0, 0, &mut numbers);
        let mut bins = [0i32; 64];
        numbers.iter().for_each(|x| bins[(x * 64.0) as usize] += 1);
        // 1024 to a bin, with a standard deviation of 32.
        assert!(bins.iter().all(|n| (n - 1024).abs() < 160), "{bins:?}");
    }
}
