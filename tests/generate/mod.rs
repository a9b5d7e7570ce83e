//! Generators of test inputs: seeded, so that a failure is one number, and apart from the tests that use them, so that a
//! fuzzer can use them too.

#![allow(dead_code, reason = "each test crate uses a part")]

pub mod kernel;
pub mod reductions;

/// A small random number generator (SplitMix64) that gives the same numbers everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// True once in `n`.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of `all`.
    pub fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// A float: mostly special, sometimes ordinary, sometimes any bits.
    pub fn spicy_f32(&mut self) -> f32 {
        match self.below(8) {
            0..5 => self.pick(&SPICE_F32),
            5..7 => (self.below(2001) as f32 - 1000.0) / 64.0,
            _ => f32::from_bits(self.bits() as u32),
        }
    }

    /// The bits of a half: any, or with an exponent of zeros or of ones.
    pub fn spicy_half(&mut self, exponent: u16) -> u16 {
        let bits = self.bits() as u16;
        match self.below(4) {
            0 => bits & !exponent,
            1 => bits | exponent,
            2 => bits & !(exponent >> 1),
            _ => bits,
        }
    }

    /// A float: mostly special, sometimes ordinary, sometimes any bits.
    pub fn spicy_f64(&mut self) -> f64 {
        match self.below(8) {
            0..5 => self.pick(&SPICE_F64),
            5..7 => (self.below(2001) as f64 - 1000.0) / 64.0,
            _ => f64::from_bits(self.bits()),
        }
    }
}

/// Values at which operations have an edge.
pub const SPICE_F32: [f32; 38] = [
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    0.0,
    -0.0,
    1.0,
    -1.0,
    1e-45,
    -1e-45,
    1e-40,
    -3e-39,
    f32::MIN_POSITIVE,
    -f32::MIN_POSITIVE,
    f32::MAX,
    f32::MIN,
    1e38,
    -1e38,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    0.1,
    3.0,
    8388609.0,
    16777216.0,
    2147483648.0,
    -2147483648.0,
    -2147483904.0,
    2147483520.0,
    // At the edges of f16: its largest value, the tie with infinity, the least normal, the least, and ties.
    65504.0,
    65520.0,
    -65519.996,
    6.1035156e-5,
    -5.9604645e-8,
    2.9802322e-8,
    // Ties of both halves.
    1.003_906_3,
    -1.0004883,
];

/// Values at which operations have an edge.
pub const SPICE_F64: [f64; 38] = [
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    0.0,
    -0.0,
    1.0,
    -1.0,
    5e-324,
    -5e-324,
    1e-310,
    -3e-309,
    f64::MIN_POSITIVE,
    -f64::MIN_POSITIVE,
    f64::MAX,
    f64::MIN,
    1e38,
    -1e38,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    0.1,
    3.0,
    4503599627370497.0,
    9007199254740992.0,
    9223372036854775808.0,
    -9223372036854775808.0,
    -9223372036854777856.0,
    9223372036854774784.0,
    // At the edges of f16 and bf16, and beside ties by less than an f32 can tell.
    65519.99999999999,
    65520.0,
    -3.3961775292304957e38,
    2.9802322387695312e-8,
    2.980232238769532e-8,
    1.0039062500000002,
    -1.00048828125,
    4.591774807899561e-41,
];
