//! bf16 and f16 in Cranelift's IR, which has no type for them that every instruction set could compute with.
//!
//! Comes in: the bits of halves, each in the lower half of an i32, or floats to be rounded. Goes out: the f32 of the bits,
//! or the bits of the rounded floats; the same instructions on one lane and on vectors, and the bits of
//! [`ir::narrow`](crate::ir::narrow): nearest even, subnormals, infinities. They are operations on integers, and
//! additions of floats that are exact or round as wanted.

use crate::ir::Storage;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, Value, types as clif};
use cranelift_frontend::FunctionBuilder;

/// The bits of an f32's infinity.
const INFINITY: u32 = 0x7f80_0000;
/// 2^16, the first power of two that is no f16.
const F16_OVERFLOW: u32 = 0x4780_0000;
/// 2^-14, the smallest normal f16.
const F16_NORMAL: u32 = 0x3880_0000;
/// The bits of an f32 below the last one of an f16.
const F16_REST: u32 = 0x1fff;
/// 0.5: its last bit is worth the least f16, 2^-24.
const ONE_HALF: u32 = 0x3f00_0000;

/// Code on the lanes of one shape.
struct Lanes<'b, 'f> {
    b: &'b mut FunctionBuilder<'f>,
    /// i32, or a vector of it.
    int: clif::Type,
    /// f32, or a vector of it.
    float: clif::Type,
}

/// The f32s of these bits.
pub(super) fn widen(b: &mut FunctionBuilder<'_>, storage: Storage, bits: Value) -> Value {
    let mut lanes = Lanes::like(b, bits);
    match storage {
        Storage::Bf16 => {
            let bits = lanes.b.ins().ishl_imm_u(bits, 16);
            lanes.float(bits)
        }
        _ => lanes.widen_f16(bits),
    }
}

/// The bits of the halves nearest to these f32s or to this one f64.
pub(super) fn narrow(b: &mut FunctionBuilder<'_>, storage: Storage, x: Value) -> Value {
    let x = if b.func.dfg.value_type(x) == clif::F64 { round_to_odd(b, x) } else { x };
    let mut lanes = Lanes::like(b, x);
    match storage {
        Storage::Bf16 => {
            let bits = lanes.bits(x);
            // The sign and bits enough that it stays a NaN.
            let quiet = lanes.or(bits, 0x0040_0000);
            let rounded = lanes.nearest_even(bits, 16);
            let is_nan = lanes.b.ins().fcmp(FloatCC::NotEqual, x, x);
            let bits = lanes.select(is_nan, quiet, rounded);
            lanes.b.ins().ushr_imm_u(bits, 16)
        }
        _ => lanes.narrow_f16(x),
    }
}

/// The f32s nearest to these among the halves: what widening after narrowing gives, in fewer operations.
pub(super) fn round(b: &mut FunctionBuilder<'_>, storage: Storage, x: Value) -> Value {
    let mut lanes = Lanes::like(b, x);
    let rounded = match storage {
        Storage::Bf16 => {
            let bits = lanes.bits(x);
            let rounded = lanes.nearest_even(bits, 16);
            lanes.and(rounded, 0xffff_0000)
        }
        _ => lanes.round_f16(x),
    };
    let rounded = lanes.float(rounded);
    let is_nan = lanes.b.ins().fcmp(FloatCC::NotEqual, x, x);
    lanes.select(is_nan, x, rounded)
}

/// Four lanes' bits beside each other, as they lie in memory.
pub(super) fn pack(b: &mut FunctionBuilder<'_>, bits: Value) -> Value {
    // Bits with an upper half of zeros are within what saturates.
    let eight = b.ins().unarrow(bits, bits);
    let two = b.ins().bitcast(clif::I64X2, MemFlagsData::new().with_endianness(Endianness::Little), eight);
    b.ins().extractlane(two, 0)
}

/// An f64 as the f32 that rounds to the same half: itself, or the neighbour whose last bit is set, which no tie has.
fn round_to_odd(b: &mut FunctionBuilder<'_>, x: Value) -> Value {
    let nearest = b.ins().fdemote(clif::F32, x);
    let back = b.ins().fpromote(clif::F64, nearest);
    let (size, size_back) = (b.ins().fabs(x), b.ins().fabs(back));
    let beyond = b.ins().fcmp(FloatCC::GreaterThan, size_back, size);
    let beyond = b.ins().uextend(clif::I32, beyond);
    let inexact = b.ins().fcmp(FloatCC::NotEqual, back, x);
    let inexact = b.ins().uextend(clif::I32, inexact);
    let mut lanes = Lanes::like(b, nearest);
    let bits = lanes.bits(nearest);
    let towards_zero = lanes.b.ins().isub(bits, beyond);
    let odd = lanes.b.ins().bor(towards_zero, inexact);
    lanes.float(odd)
}

impl<'b, 'f> Lanes<'b, 'f> {
    /// As many lanes as `value` has.
    fn like(b: &'b mut FunctionBuilder<'f>, value: Value) -> Lanes<'b, 'f> {
        match b.func.dfg.value_type(value).lane_count() {
            1 => Lanes { b, int: clif::I32, float: clif::F32 },
            _ => Lanes { b, int: clif::I32X4, float: clif::F32X4 },
        }
    }

    /// Every bit of a half at its place in an f32, and what its exponent needs: the exponents' distance is added; once
    /// more for infinities and NaNs; and subnormals get the first normal's exponent, whose value is then taken away.
    fn widen_f16(&mut self, bits: Value) -> Value {
        let size = self.and(bits, 0x7fff);
        let size = self.b.ins().ishl_imm_u(size, 13);
        let exponent = self.and(size, 0x7c00 << 13);
        let normal = self.add(size, (127 - 15) << 23);
        let special = self.add(normal, (128 - 16) << 23);
        let shifted = self.add(normal, 1 << 23);
        let (shifted, smallest) = (self.float(shifted), self.constant(F16_NORMAL));
        let smallest = self.float(smallest);
        let subnormal = self.b.ins().fsub(shifted, smallest);
        let subnormal = self.bits(subnormal);
        let is_special = self.is(IntCC::Equal, exponent, 0x7c00 << 13);
        let is_subnormal = self.is(IntCC::Equal, exponent, 0);
        let size = self.select(is_subnormal, subnormal, normal);
        let size = self.select(is_special, special, size);
        let sign = self.and(bits, 0x8000);
        let sign = self.b.ins().ishl_imm_u(sign, 16);
        let wide = self.b.ins().bor(size, sign);
        self.float(wide)
    }

    /// The bits of the nearest f16.
    fn narrow_f16(&mut self, x: Value) -> Value {
        let bits = self.bits(x);
        let size = self.and(bits, 0x7fff_ffff);
        // A carry out of the last bit that stays becomes the next exponent, and after the largest value infinity.
        let normal = self.nearest_even(size, 13);
        let normal = self.b.ins().ushr_imm_u(normal, 13);
        let normal = self.add(normal, 0u32.wrapping_sub((127 - 15) << 10));
        let subnormal = self.plus_half(size);
        let subnormal = self.bits(subnormal);
        let subnormal = self.add(subnormal, 0u32.wrapping_sub(ONE_HALF));
        let (infinity, nan) = (self.constant(0x7c00), self.constant(0x7e00));
        let is_nan = self.is(IntCC::SignedGreaterThan, size, INFINITY);
        let special = self.select(is_nan, nan, infinity);
        let is_subnormal = self.is(IntCC::SignedLessThan, size, F16_NORMAL);
        let is_special = self.is(IntCC::SignedGreaterThanOrEqual, size, F16_OVERFLOW);
        let size = self.select(is_subnormal, subnormal, normal);
        let size = self.select(is_special, special, size);
        let sign = self.b.ins().ushr_imm_u(bits, 16);
        let sign = self.and(sign, 0x8000);
        self.b.ins().bor(size, sign)
    }

    /// The bits of the f32 that is the nearest f16; of a NaN any.
    fn round_f16(&mut self, x: Value) -> Value {
        let bits = self.bits(x);
        let size = self.and(bits, 0x7fff_ffff);
        let normal = self.nearest_even(size, 13);
        let normal = self.and(normal, !F16_REST);
        let is_infinite = self.is(IntCC::SignedGreaterThanOrEqual, normal, F16_OVERFLOW);
        let infinity = self.constant(INFINITY);
        let normal = self.select(is_infinite, infinity, normal);
        let sum = self.plus_half(size);
        let half = self.constant(ONE_HALF);
        let half = self.float(half);
        let subnormal = self.b.ins().fsub(sum, half);
        let subnormal = self.bits(subnormal);
        let is_subnormal = self.is(IntCC::SignedLessThan, size, F16_NORMAL);
        let size = self.select(is_subnormal, subnormal, normal);
        let sign = self.and(bits, 0x8000_0000);
        self.b.ins().bor(size, sign)
    }

    /// These f32s below 2^-14 plus 0.5: rounded to what an f16 has.
    fn plus_half(&mut self, size: Value) -> Value {
        let half = self.constant(ONE_HALF);
        let (size, half) = (self.float(size), self.float(half));
        self.b.ins().fadd(size, half)
    }

    /// `bits` plus so much that cutting the lower `rest` off rounds to nearest even.
    fn nearest_even(&mut self, bits: Value, rest: u32) -> Value {
        let last = self.b.ins().ushr_imm_u(bits, i64::from(rest));
        let odd = self.and(last, 1);
        let sum = self.add(bits, (1 << (rest - 1)) - 1);
        self.b.ins().iadd(sum, odd)
    }

    fn constant(&mut self, bits: u32) -> Value {
        let one = self.b.ins().iconst(clif::I32, i64::from(bits));
        if self.int == clif::I32 { one } else { self.b.ins().splat(self.int, one) }
    }

    fn and(&mut self, x: Value, bits: u32) -> Value {
        let bits = self.constant(bits);
        self.b.ins().band(x, bits)
    }

    fn or(&mut self, x: Value, bits: u32) -> Value {
        let bits = self.constant(bits);
        self.b.ins().bor(x, bits)
    }

    /// Wraps.
    fn add(&mut self, x: Value, bits: u32) -> Value {
        let bits = self.constant(bits);
        self.b.ins().iadd(x, bits)
    }

    fn is(&mut self, condition: IntCC, x: Value, bits: u32) -> Value {
        let bits = self.constant(bits);
        self.b.ins().icmp(condition, x, bits)
    }

    /// `x` where the condition holds, else `y`.
    fn select(&mut self, condition: Value, x: Value, y: Value) -> Value {
        if self.int == clif::I32 {
            return self.b.ins().select(condition, x, y);
        }
        let ty = self.b.func.dfg.value_type(x);
        let mask = if ty == self.int { condition } else { self.float(condition) };
        self.b.ins().bitselect(mask, x, y)
    }

    fn bits(&mut self, x: Value) -> Value {
        self.b.ins().bitcast(self.int, MemFlagsData::new(), x)
    }

    fn float(&mut self, bits: Value) -> Value {
        self.b.ins().bitcast(self.float, MemFlagsData::new(), bits)
    }
}
