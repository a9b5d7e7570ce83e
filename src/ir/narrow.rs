//! Values rounded to narrower types: what stores do, and [`Op::Narrow`](super::Op::Narrow).
//!
//! Comes in: an f32 or f64. Goes out: the nearest value of the narrower type, ties to even, rounded once; beyond the
//! largest an infinity; below the smallest normal a subnormal or a zero of the same sign; of a NaN a NaN.
//!
//! The `half` crate does it for f32. It is not asked about f64: it rounds those by way of f32 where the processor has
//! instructions for that alone, and else looks at the upper half of the bits alone, so ties may go the wrong way.

use super::op::Storage;
use half::{bf16, f16};

/// The floats that are computed with.
pub trait Narrow: Copy {
    /// The nearest bf16.
    fn to_bf16(self) -> bf16;
    /// The nearest f16.
    fn to_f16(self) -> f16;
    /// The nearest value of a storage type, as a float of its own type.
    fn narrow(self, storage: Storage) -> Self;
}

impl Narrow for f32 {
    #[inline(always)]
    fn to_bf16(self) -> bf16 {
        bf16::from_f32(self)
    }

    #[inline(always)]
    fn to_f16(self) -> f16 {
        f16::from_f32(self)
    }

    #[inline(always)]
    fn narrow(self, storage: Storage) -> f32 {
        match storage {
            Storage::F32 | Storage::F64 => self,
            Storage::Bf16 => self.to_bf16().to_f32(),
            Storage::F16 => self.to_f16().to_f32(),
        }
    }
}

impl Narrow for f64 {
    #[inline(always)]
    fn to_bf16(self) -> bf16 {
        round_to_odd(self).to_bf16()
    }

    #[inline(always)]
    fn to_f16(self) -> f16 {
        round_to_odd(self).to_f16()
    }

    #[inline(always)]
    fn narrow(self, storage: Storage) -> f64 {
        match storage {
            Storage::F64 => self,
            Storage::F32 => f64::from(self as f32),
            Storage::Bf16 => self.to_bf16().to_f64(),
            Storage::F16 => self.to_f16().to_f64(),
        }
    }
}

/// `x` itself where f32 has it, else the one of its two neighbours whose last bit is set. An f32 has more than two bits
/// beyond those of the half types everywhere, so that rounding it again is as rounding `x`: the set bit tells that there
/// was a rest, and it is never a tie.
#[inline(always)]
fn round_to_odd(x: f64) -> f32 {
    let nearest = x as f32;
    let back = f64::from(nearest);
    let towards_zero = nearest.to_bits() - u32::from(back.abs() > x.abs());
    f32::from_bits(towards_zero | u32::from(back != x))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nearest of all values of a half type, found by looking at them. Their indices are their bits.
    fn nearest_of(x: f64, all: &[f64], limit: f64) -> f64 {
        if x.abs() >= limit {
            return f64::INFINITY.copysign(x);
        }
        let above = all.partition_point(|y| *y < x.abs());
        let (low, high) = (all[above.saturating_sub(1)], all[above.min(all.len() - 1)]);
        let (down, up) = (x.abs() - low, high - x.abs());
        let even = |i: usize| i.is_multiple_of(2);
        let up_wins = high == x.abs() || up < down || (up == down && even(above));
        if up_wins { high } else { low }.copysign(x)
    }

    /// All values that are not negative, smallest first, and from where on infinity is nearer.
    fn values(storage: Storage) -> (Vec<f64>, f64) {
        let last = if storage == Storage::Bf16 { 0x7f80 } else { 0x7c00 };
        let value = |bits: u16| match storage {
            Storage::Bf16 => bf16::from_bits(bits).to_f64(),
            _ => f16::from_bits(bits).to_f64(),
        };
        let all: Vec<f64> = (0..last).map(value).collect();
        let (a, b) = (all[all.len() - 2], all[all.len() - 1]);
        (all, b + (b - a) / 2.0)
    }

    #[test]
    fn every_tie_and_its_neighbours_round_once_from_f64() {
        for storage in [Storage::Bf16, Storage::F16] {
            let (all, limit) = values(storage);
            let ties = all.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0).chain([limit]);
            for x in all.iter().copied().chain(ties) {
                // Nearer to the tie than an f32 can tell.
                for x in [x, x.next_up(), x.next_down(), x * (1.0 + 1e-12), x * (1.0 - 1e-9)] {
                    for x in [x, -x] {
                        let (found, expected) = (x.narrow(storage), nearest_of(x, &all, limit));
                        assert_eq!(found.to_bits(), expected.to_bits(), "{x:e} as {}", storage.name());
                        let x = x as f32;
                        let expected = nearest_of(f64::from(x), &all, limit) as f32;
                        assert_eq!(x.narrow(storage).to_bits(), expected.to_bits(), "{x:e} as {}", storage.name());
                    }
                }
            }
        }
    }

    #[test]
    fn special_values_stay() {
        for storage in Storage::ALL {
            for x in [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, 1.0, -1.5] {
                assert_eq!(x.narrow(storage).to_bits(), x.to_bits());
                assert_eq!((x as f32).narrow(storage).to_bits(), (x as f32).to_bits());
            }
            // A NaN whose set bits are all below those that are kept.
            assert!(f64::from_bits(0x7ff0_0000_0000_0001).narrow(storage).is_nan());
            assert!(f32::from_bits(0x7f80_0001).narrow(storage).is_nan());
            assert!(f32::from_bits(0xffff_ffff).narrow(storage).is_nan());
        }
    }
}
