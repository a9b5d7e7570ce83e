//! Halves: loads widen exactly, stores and `narrow` round to nearest even, by values that are told from their bits here.

use crate::data::{Array, Data, Engine, codes};
use half::{bf16, f16};
use updraft::ir::{Access, Kernel, KernelInst, Op, Storage, Stream, Type, Value, print_kernel, verify_kernel};

/// A kernel that stores what it loads, or what `op` makes of it.
fn conversion(compute: Type, from: Storage, to: Storage, op: Option<Op>) -> Kernel {
    let stream = |name: &str, storage, access| Stream { name: name.into(), storage, access, block: false };
    let streams = vec![stream("from", from, Access::Read), stream("to", to, Access::Write)];
    let mut body = vec![KernelInst::Load(0)];
    body.extend(op.map(KernelInst::Op));
    body.push(KernelInst::Store(1, Value(body.len() as u32 - 1)));
    Kernel { name: "conversion".into(), compute, uniforms: Vec::new(), streams, body }
}

/// Runs a conversion in all engines and compares bits with those expected.
fn converts(kernel: &Kernel, from: &Array, expected: &Array) {
    verify_kernel(kernel).unwrap();
    let to = match expected {
        Array::F32(x) => Array::F32(vec![0.0; x.len()]),
        Array::F64(x) => Array::F64(vec![0.0; x.len()]),
        Array::Bf16(x) => Array::Bf16(vec![bf16::ZERO; x.len()]),
        Array::F16(x) => Array::F16(vec![f16::ZERO; x.len()]),
    };
    let uniforms = if kernel.compute == Type::F32 { Array::F32(vec![]) } else { Array::F64(vec![]) };
    let before = Data { arrays: vec![from.clone(), to], uniforms, offsets: vec![0; 2], len: from.len() };
    let codes = codes(kernel).into_iter().map(|(name, code)| (Some(name), code));
    for (name, engine) in std::iter::once((None, Engine::Eval)).chain(codes) {
        let mut found = before.clone();
        found.run(kernel, &engine);
        for i in 0..expected.len() {
            let (found, expected) = (found.arrays[1].bits(i), expected.bits(i));
            assert_eq!(found, expected, "{name:?}, element {i}: {found:x} for {expected:x}\n{}", print_kernel(kernel));
        }
    }
}

/// The value of a half's bits, from the powers of two that they stand for.
pub fn value_of(bits: u16, mantissa: u32) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let exponent = i32::from(bits & 0x7fff) >> mantissa;
    let all_ones = (1 << (15 - mantissa)) - 1;
    let bias = all_ones >> 1;
    let rest = f64::from(bits & ((1 << mantissa) - 1)) / f64::from(1 << mantissa);
    sign * match exponent {
        0 => rest * 2f64.powi(1 - bias),
        e if e == all_ones => {
            if rest == 0.0 {
                f64::INFINITY
            } else {
                f64::NAN
            }
        }
        e => (1.0 + rest) * 2f64.powi(e - bias),
    }
}

/// The half types: storage, bits of the mantissa, bits of infinity.
pub const HALVES: [(Storage, u32, u16); 2] = [(Storage::Bf16, 7, 0x7f80), (Storage::F16, 10, 0x7c00)];

pub fn halves(storage: Storage, bits: impl Iterator<Item = u16>) -> Array {
    match storage {
        Storage::Bf16 => Array::Bf16(bits.map(bf16::from_bits).collect()),
        _ => Array::F16(bits.map(f16::from_bits).collect()),
    }
}

#[test]
fn every_half_is_loaded_exactly_and_stored_again() {
    for (storage, mantissa, _) in HALVES {
        let all = halves(storage, 0..=u16::MAX);
        let wide: Vec<f64> = (0..=u16::MAX).map(|bits| value_of(bits, mantissa)).collect();
        let narrow = Array::F32(wide.iter().map(|x| *x as f32).collect());
        let wide = Array::F64(wide);
        for (compute, own, values) in [(Type::F32, Storage::F32, &narrow), (Type::F64, Storage::F64, &wide)] {
            converts(&conversion(compute, storage, own, None), &all, values);
            converts(&conversion(compute, own, storage, None), values, &all);
            converts(&conversion(compute, storage, storage, None), &all, &all);
            converts(&conversion(compute, own, own, Some(Op::Narrow(storage, Value(0)))), values, values);
        }
    }
}

/// What rounds to a half, by its neighbours: every value, every tie, and what lies beside them.
#[test]
fn every_tie_of_halves_goes_to_the_even_one() {
    for (storage, mantissa, infinity) in HALVES {
        let (mut values, mut nearest) = (Vec::new(), Vec::new());
        for bits in 0..infinity {
            let low = value_of(bits, mantissa);
            // Beyond the largest, as far as to the next power of two would be.
            let high = if bits + 1 == infinity {
                2.0 * low - value_of(bits - 1, mantissa)
            } else {
                value_of(bits + 1, mantissa)
            };
            let tie = (low + high) / 2.0;
            let even = bits + (bits & 1);
            for (x, bits) in [(low, bits), (tie.next_down(), bits), (tie, even), (tie.next_up(), bits + 1)] {
                values.extend([x, -x]);
                nearest.extend([bits, bits | 0x8000]);
            }
        }
        let expected = halves(storage, nearest.iter().copied());
        let rounded: Vec<f64> = nearest.iter().map(|bits| value_of(*bits, mantissa)).collect();
        let from = Array::F64(values.clone());
        converts(&conversion(Type::F64, Storage::F64, storage, None), &from, &expected);
        let op = Some(Op::Narrow(storage, Value(0)));
        converts(&conversion(Type::F64, Storage::F64, Storage::F64, op), &from, &Array::F64(rounded.clone()));

        // The same of f32, with its own neighbours of the ties.
        let single = |i: usize| match i % 8 {
            2 | 3 => (values[i + 2] as f32).abs().next_down().copysign(values[i] as f32),
            6 | 7 => (values[i - 2] as f32).abs().next_up().copysign(values[i] as f32),
            _ => values[i] as f32,
        };
        let from = Array::F32((0..values.len()).map(single).collect());
        converts(&conversion(Type::F32, Storage::F32, storage, None), &from, &expected);
        let rounded = Array::F32(rounded.iter().map(|x| *x as f32).collect());
        converts(&conversion(Type::F32, Storage::F32, Storage::F32, op), &from, &rounded);
    }
}

/// Over all of f32, by a step that shares no factor with 2^32.
#[test]
fn engines_narrow_alike_over_a_stride_of_all_f32() {
    let stride = if std::env::var("UPDRAFT_ALL_F32").is_ok() { 1 } else { 1021 };
    let mut next = 0u32;
    let mut left = (1u64 << 32) / u64::from(stride);
    while left > 0 {
        let len = left.min(1 << 20) as usize;
        let values: Vec<f32> = (0..len).map(|i| f32::from_bits(next.wrapping_add(stride * i as u32))).collect();
        next = next.wrapping_add(stride * len as u32);
        left -= len as u64;
        let bf16s = values.iter().map(|x| bf16::from_f32(*x));
        let f16s = values.iter().map(|x| f16::from_f32(*x));
        let rounded = [
            Array::F32(bf16s.clone().map(bf16::to_f32).collect()),
            Array::F32(f16s.clone().map(f16::to_f32).collect()),
        ];
        let stored = [Array::Bf16(bf16s.collect()), Array::F16(f16s.collect())];
        let from = Array::F32(values);
        for (((storage, ..), rounded), stored) in HALVES.iter().zip(&rounded).zip(&stored) {
            converts(&conversion(Type::F32, Storage::F32, *storage, None), &from, stored);
            let op = Some(Op::Narrow(*storage, Value(0)));
            converts(&conversion(Type::F32, Storage::F32, Storage::F32, op), &from, rounded);
        }
    }
}
