//! From a kernel's body to AVX2 instructions.
//!
//! Comes in: a verified [`Kernel`]. Goes out: a [`Selected`] body, whose instructions give every operation the bits that
//! `ir::eval` states. Operations without an instruction of their own (minimum and maximum with the IR's rules for NaN and
//! zeros, 64-bit conversions, saturation) become several; none calls anything and none branches. What nothing reads is left out.

use super::inst::*;
use crate::ir::verify::types;
use crate::ir::{Binary, Compare, Const, Kernel, KernelInst, Op, Storage, Type, Unary, Value};
use std::collections::HashMap;

/// A body before registers are chosen.
pub(super) struct Selected {
    pub(super) insts: Vec<Inst>,
    /// The constants, each one lane; in 32-bit kernels the lower half counts.
    pub(super) pool: Vec<u64>,
}

/// The instructions that do `kernel` for one vector.
pub(super) fn select(kernel: &Kernel) -> Selected {
    let is_double = kernel.compute == Type::F64;
    let mut selection = Selection {
        kernel,
        types: types(kernel),
        forms: if is_double { FORMS_64 } else { FORMS_32 },
        is_double,
        values: vec![None; kernel.body.len()],
        insts: Vec::new(),
        registers: 0,
        pool: Vec::new(),
        index: HashMap::new(),
    };
    let is_read = reads(kernel);
    for (index, &inst) in kernel.body.iter().enumerate() {
        let value = match inst {
            KernelInst::Store(stream, v) => {
                selection.store(stream, v);
                continue;
            }
            _ if !is_read[index] => continue,
            KernelInst::Uniform(i) => Src::Uniform(i),
            KernelInst::Load(stream) => {
                let spare = !is_double && kernel.streams[stream as usize].storage == Storage::F64;
                selection.put(Do::Load { stream, spare }, &[])
            }
            KernelInst::Op(op) => selection.select(op),
        };
        selection.values[index] = Some(value);
    }
    Selected { insts: selection.insts, pool: selection.pool }
}

/// Which instructions a store depends on.
fn reads(kernel: &Kernel) -> Vec<bool> {
    let mut is_read = vec![false; kernel.body.len()];
    for (index, inst) in kernel.body.iter().enumerate().rev() {
        match *inst {
            KernelInst::Store(_, v) => is_read[v.index()] = true,
            KernelInst::Op(op) if is_read[index] => op.for_each_operand(|v| is_read[v.index()] = true),
            _ => {}
        }
    }
    is_read
}

struct Selection<'k> {
    kernel: &'k Kernel,
    types: Vec<Option<Type>>,
    forms: Forms,
    is_double: bool,
    values: Vec<Option<Src>>,
    insts: Vec<Inst>,
    registers: u32,
    pool: Vec<u64>,
    index: HashMap<u64, u32>,
}

impl Selection<'_> {
    fn value(&self, v: Value) -> Src {
        self.values[v.index()].expect("a verified operand")
    }

    fn ty(&self, v: Value) -> Type {
        self.types[v.index()].expect("a verified operand")
    }

    fn store(&mut self, stream: u32, v: Value) {
        let storage = self.kernel.streams[stream as usize].storage;
        let is_rounded = matches!(self.kernel.body[v.index()], KernelInst::Op(Op::Narrow(to, _)) if to == storage);
        let mut from = self.value(v);
        match (storage, self.is_double) {
            (Storage::Bf16, false) => {
                let rounded = if is_rounded { from } else { self.bf16_above(from) };
                from = self.op_with(SHR_D, 16, &[rounded]);
            }
            // By way of f32, which then is exact.
            (Storage::Bf16 | Storage::F16, true) if !is_rounded => from = self.narrow(storage, from),
            _ => {}
        }
        let spare = storage != if self.is_double { Storage::F64 } else { Storage::F32 };
        self.insts.push(Inst::new(Do::Store { stream, spare }, None, &[from]));
    }

    /// The nearest value of a storage type.
    fn narrow(&mut self, storage: Storage, x: Src) -> Src {
        match (storage, self.is_double) {
            (Storage::F64, _) | (Storage::F32, false) => x,
            (Storage::F32, true) => {
                let narrow = self.op(TO_F32, &[x]);
                self.op(FROM_F32, &[narrow])
            }
            (Storage::F16, false) => {
                let narrow = self.op_with(TO_F16, 0, &[x]);
                self.op(FROM_F16, &[narrow])
            }
            (Storage::Bf16, false) => {
                let above = self.bf16_above(x);
                let kept = self.lanes(0xffff_0000);
                self.op(AND_PS, &[above, kept])
            }
            (Storage::Bf16, true) => self.round_f64(x, 8, 127),
            (Storage::F16, true) => self.round_f64(x, 11, 15),
        }
    }

    /// f32s whose upper halves are the nearest bf16: what is added carries into them where that is nearer, or even.
    fn bf16_above(&mut self, x: Src) -> Src {
        let last = self.op_with(SHR_D, 16, &[x]);
        let one = self.lanes(1);
        let odd = self.op(AND, &[last, one]);
        let below_half = self.lanes(0x7fff);
        let sum = self.op(ADD_D, &[x, below_half]);
        let sum = self.op(ADD_D, &[sum, odd]);
        let number = self.op_with(COMPARE_PS, 0x07, &[x, x]);
        let nan = self.lanes(0x7fc0_0000);
        self.op(BLEND_PS, &[nan, sum, number])
    }

    /// The nearest value with so many bits of significand and so large an exponent: what is added to the size and taken away
    /// again is so large a power of two that its last bit is the last of the rounded value.
    fn round_f64(&mut self, x: Src, significand: i32, exponent: i32) -> Src {
        let f = self.forms;
        let size = self.lanes(i64::MAX as u64);
        let size = self.op(AND_PS, &[x, size]);
        let infinity = self.float(f64::INFINITY);
        // The power of two at or below it; of what is subnormal that of the least normal, of what is too large the one too
        // large. It is no NaN.
        let power = self.op(AND_PS, &[size, infinity]);
        let least = self.float(2f64.powi(1 - exponent));
        let power = self.op(f.max, &[power, least]);
        let beyond = self.float(2f64.powi(exponent + 1));
        let power = self.op(f.min, &[power, beyond]);
        let shift = self.float(2f64.powi(53 - significand));
        let large = self.op(f.mul, &[power, shift]);
        let sum = self.op(f.add, &[size, large]);
        let rounded = self.op(f.sub, &[sum, large]);
        let overflows = self.op_with(f.compare, predicate(Compare::Ge), &[rounded, beyond]);
        let rounded = self.op(f.blend, &[rounded, infinity, overflows]);
        let sign = self.lanes(self.sign());
        let sign = self.op(AND_PS, &[x, sign]);
        self.op(OR_PS, &[rounded, sign])
    }

    fn put(&mut self, does: Do, from: &[Src]) -> Src {
        let to = Reg(self.registers);
        self.registers += 1;
        self.insts.push(Inst::new(does, Some(to), from));
        Src::Reg(to)
    }

    fn op(&mut self, form: Form, from: &[Src]) -> Src {
        self.put(Do::Op(form, None), from)
    }

    fn op_with(&mut self, form: Form, immediate: u8, from: &[Src]) -> Src {
        self.put(Do::Op(form, Some(immediate)), from)
    }

    /// These bits in every lane.
    fn lanes(&mut self, bits: u64) -> Src {
        let bits = if self.is_double { bits } else { bits & 0xffff_ffff };
        let next = self.pool.len() as u32;
        let index = *self.index.entry(bits).or_insert(next);
        if index == next {
            self.pool.push(bits);
        }
        Src::Const(index)
    }

    fn float(&mut self, x: f64) -> Src {
        self.lanes(if self.is_double { x.to_bits() } else { u64::from((x as f32).to_bits()) })
    }

    fn ones(&mut self) -> Src {
        self.lanes(u64::MAX)
    }

    fn not(&mut self, a: Src) -> Src {
        let ones = self.ones();
        self.op(XOR_PS, &[a, ones])
    }

    fn sign(&self) -> u64 {
        if self.is_double { 1 << 63 } else { 1 << 31 }
    }

    fn select(&mut self, op: Op) -> Src {
        let f = self.forms;
        match op {
            Op::Const(c) => self.lanes(match c {
                Const::F32(bits) => u64::from(bits),
                Const::F64(bits) => bits,
                Const::I32(x) => x as u64,
                Const::I64(x) => x as u64,
                // A lane of a mask is all ones or all zeros.
                Const::Bool(x) => {
                    if x {
                        u64::MAX
                    } else {
                        0
                    }
                }
            }),
            Op::Unary(op, a) => {
                let a = self.value(a);
                match op {
                    Unary::Neg => {
                        let sign = self.lanes(self.sign());
                        self.op(XOR_PS, &[a, sign])
                    }
                    Unary::Abs => {
                        let rest = self.lanes(!self.sign());
                        self.op(AND_PS, &[a, rest])
                    }
                    Unary::Sqrt => self.op(f.sqrt, &[a]),
                    // The immediate's bit 3 keeps the inexact flag as it is.
                    Unary::Floor => self.op_with(f.round, 0b1001, &[a]),
                    Unary::Ceil => self.op_with(f.round, 0b1010, &[a]),
                    Unary::Round => self.op_with(f.round, 0b1000, &[a]),
                    Unary::Not => self.not(a),
                    Unary::Math(_) => unreachable!("a verified kernel has no operation of scalar code"),
                }
            }
            Op::Binary(op @ (Binary::Shl | Binary::Shr | Binary::Sar), x, count) => self.shift(op, x, count),
            Op::Binary(op @ (Binary::Min | Binary::Max), x, y) => self.extreme(op, x, y),
            Op::Binary(op, x, y) => {
                let is_int = self.ty(x).is_int();
                let operands = [self.value(x), self.value(y)];
                let form = match op {
                    Binary::Add => f.add,
                    Binary::Sub => f.sub,
                    Binary::Mul => f.mul,
                    Binary::Div => f.div,
                    Binary::And if is_int => AND,
                    Binary::And => AND_PS,
                    Binary::Or if is_int => OR,
                    Binary::Or => OR_PS,
                    Binary::Xor => XOR,
                    Binary::IAdd => f.int_add,
                    Binary::ISub => f.int_sub,
                    Binary::Min | Binary::Max | Binary::Shl | Binary::Shr | Binary::Sar => {
                        unreachable!("matched above")
                    }
                    Binary::Rem | Binary::Pow => unreachable!("a verified kernel has no operation of scalar code"),
                };
                self.op(form, &operands)
            }
            Op::Fma(x, y, z) => {
                let operands = [self.value(x), self.value(y), self.value(z)];
                self.put(Do::Fma(f.fma), &operands)
            }
            Op::Compare(op, x, y) => {
                let is_int = self.ty(x).is_int();
                let (x, y) = (self.value(x), self.value(y));
                if is_int { self.compare_ints(op, x, y) } else { self.op_with(f.compare, predicate(op), &[x, y]) }
            }
            Op::Select(c, x, y) => {
                let operands = [self.value(y), self.value(x), self.value(c)];
                self.op(f.blend, &operands)
            }
            Op::Bitcast(_, x) => self.value(x),
            Op::Narrow(storage, x) => {
                let x = self.value(x);
                self.narrow(storage, x)
            }
            Op::ToInt(x) => {
                let x = self.value(x);
                if self.is_double { self.truncated_i64(x) } else { self.truncated_i32(x) }
            }
            Op::ToFloat(x) => {
                let x = self.value(x);
                if self.is_double { self.converted_i64(x) } else { self.op(TO_FLOAT_PS, &[x]) }
            }
        }
    }

    /// NaN if either is, and -0 less than +0; the instructions give their second operand in both cases.
    fn extreme(&mut self, op: Binary, x: Value, y: Value) -> Src {
        let f = self.forms;
        let form = if op == Binary::Min { f.min } else { f.max };
        for (constant, other) in [(x, y), (y, x)] {
            // Neither NaN nor zero, so that the second operand is right in both cases.
            if self.constant(constant).is_some_and(|c| !c.is_nan() && c != 0.0) {
                let operands = [self.value(constant), self.value(other)];
                return self.op(form, &operands);
            }
        }
        let (x, y) = (self.value(x), self.value(y));
        let (one, other) = (self.op(form, &[x, y]), self.op(form, &[y, x]));
        if op == Binary::Min {
            // The two differ only where one is -0 and the other +0, or where one is NaN: an exponent of all ones.
            return self.op(OR_PS, &[one, other]);
        }
        let both = self.op(AND_PS, &[one, other]);
        let unordered = self.op_with(f.compare, 0x03, &[x, y]);
        self.op(OR_PS, &[both, unordered])
    }

    /// The value of a float constant.
    fn constant(&self, v: Value) -> Option<f64> {
        match self.kernel.body[v.index()] {
            KernelInst::Op(Op::Const(Const::F32(bits))) => Some(f64::from(f32::from_bits(bits))),
            KernelInst::Op(Op::Const(Const::F64(bits))) => Some(f64::from_bits(bits)),
            _ => None,
        }
    }

    fn compare_ints(&mut self, op: Compare, x: Src, y: Src) -> Src {
        let f = self.forms;
        let (form, operands, holds) = match op {
            Compare::Eq => (f.int_equal, [x, y], true),
            Compare::Ne => (f.int_equal, [x, y], false),
            Compare::Gt => (f.int_greater, [x, y], true),
            Compare::Lt => (f.int_greater, [y, x], true),
            Compare::Le => (f.int_greater, [x, y], false),
            Compare::Ge => (f.int_greater, [y, x], false),
        };
        let mask = self.op(form, &operands);
        if holds { mask } else { self.not(mask) }
    }

    fn shift(&mut self, op: Binary, x: Value, count: Value) -> Src {
        let f = self.forms;
        let width = if self.is_double { 64 } else { 32 };
        let from = self.value(x);
        let known = match self.kernel.body[count.index()] {
            KernelInst::Op(Op::Const(Const::I32(n))) => Some(n as u8 & (width - 1)),
            KernelInst::Op(Op::Const(Const::I64(n))) => Some(n as u8 & (width - 1)),
            _ => None,
        };
        match (op, known) {
            (Binary::Shl, Some(n)) => self.op_with(f.shl, n, &[from]),
            (Binary::Shr, Some(n)) => self.op_with(f.shr, n, &[from]),
            (_, Some(n)) if !self.is_double => self.op_with(SAR_D, n, &[from]),
            _ => {
                let mask = self.lanes(u64::from(width - 1));
                let count = self.value(count);
                let count = self.op(AND, &[count, mask]);
                match op {
                    Binary::Shl => self.op(f.shl_each, &[from, count]),
                    Binary::Shr => self.op(f.shr_each, &[from, count]),
                    _ if !self.is_double => self.op(SAR_EACH_D, &[from, count]),
                    _ => {
                        // What the sign bit has become is spread upwards: (x ^ s) - s.
                        let sign = self.lanes(self.sign());
                        let sign = self.op(f.shr_each, &[sign, count]);
                        let shifted = self.op(f.shr_each, &[from, count]);
                        let flipped = self.op(XOR, &[shifted, sign]);
                        self.op(f.int_sub, &[flipped, sign])
                    }
                }
            }
        }
    }

    /// The instruction gives the least integer for NaN and for what is out of range.
    fn truncated_i32(&mut self, x: Src) -> Src {
        let truncated = self.op(TO_INT_D, &[x]);
        let limit = self.float(2_147_483_648.0);
        let above = self.op_with(COMPARE_PS, predicate(Compare::Ge), &[x, limit]);
        // Least and all ones is the greatest.
        let saturated = self.op(XOR, &[truncated, above]);
        let number = self.op_with(COMPARE_PS, 0x07, &[x, x]);
        self.op(AND, &[saturated, number])
    }

    /// By hand, because there is no such instruction before AVX-512: the significand, shifted by the exponent.
    fn truncated_i64(&mut self, x: Src) -> Src {
        let f = self.forms;
        let exponent = self.op_with(f.shl, 1, &[x]);
        let exponent = self.op_with(f.shr, 53, &[exponent]);
        let fraction = self.lanes((1 << 52) - 1);
        let significand = self.op(AND, &[x, fraction]);
        let one = self.lanes(1 << 52);
        let significand = self.op(OR, &[significand, one]);
        // Of 1075 and the exponent the difference is how far the significand's unit is from 1. In one direction it is
        // negative, which as a count is so large that the shift gives 0; if it is 0, both shifts give the same.
        let unit = self.lanes(1075);
        let right = self.op(f.int_sub, &[unit, exponent]);
        let left = self.op(f.int_sub, &[exponent, unit]);
        let below = self.op(f.shr_each, &[significand, right]);
        let above = self.op(f.shl_each, &[significand, left]);
        let magnitude = self.op(OR, &[below, above]);
        let zero = self.lanes(0);
        let negative = self.op(f.int_greater, &[zero, x]);
        let flipped = self.op(XOR, &[magnitude, negative]);
        let result = self.op(f.int_sub, &[flipped, negative]);
        let limit = self.float(9_223_372_036_854_775_808.0);
        let too_great = self.op_with(f.compare, predicate(Compare::Ge), &[x, limit]);
        let greatest = self.lanes(i64::MAX as u64);
        let result = self.op(f.blend, &[result, greatest, too_great]);
        let limit = self.float(-9_223_372_036_854_775_808.0);
        let too_small = self.op_with(f.compare, predicate(Compare::Le), &[x, limit]);
        let least = self.lanes(i64::MIN as u64);
        let result = self.op(f.blend, &[result, least, too_small]);
        let number = self.op_with(f.compare, 0x07, &[x, x]);
        self.op(AND, &[result, number])
    }

    /// By hand, because there is no such instruction before AVX-512: the lower 32 bits become the end of a significand of
    /// unit 1, the upper ones of unit 2^32 with the sign's bias; the last addition alone rounds.
    fn converted_i64(&mut self, x: Src) -> Src {
        let f = self.forms;
        let low_bias = self.lanes(0x4330_0000_0000_0000);
        let high_bias = self.lanes(0x4530_0000_8000_0000);
        let biases = self.lanes(0x4530_0000_8010_0000);
        // The lower half of each lane of the second operand.
        let low = self.op_with(BLEND_D, 0b0101_0101, &[low_bias, x]);
        let high = self.op_with(f.shr, 32, &[x]);
        let high = self.op(XOR, &[high, high_bias]);
        let high = self.op(f.sub, &[high, biases]);
        self.op(f.add, &[high, low])
    }
}

/// Ordered, but for `Ne`: with a NaN only that holds. None signals.
fn predicate(op: Compare) -> u8 {
    match op {
        Compare::Eq => 0x00,
        Compare::Ne => 0x04,
        Compare::Lt => 0x11,
        Compare::Le => 0x12,
        Compare::Ge => 0x1d,
        Compare::Gt => 0x1e,
    }
}
