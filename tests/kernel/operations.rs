//! Each operation on every pair or triple of special values, in every lane, through loads and stores of every type: all
//! engines give what plain Rust gives.

use crate::data::{Array, Data, Engine, Generator, MARGIN, code, shipped};
use crate::generate::kernel::{COMPARE, FLOAT, INT, UNARY};
use crate::generate::{SPICE_F32, SPICE_F64};
use crate::halves::{HALVES, halves, value_of};
use updraft::codegen::{Codegen, Cranelift, Isa, Lanes, Target, Text, backend};
use updraft::ir::print::op_name;
use updraft::ir::{
    Access, Binary, Compare, Const, Kernel, KernelInst, Op, Storage, Stream, Type, Unary, Value, print_kernel,
    verify_kernel,
};

/// Every operation of kernels with every type of its last operand.
pub fn operations() -> Vec<(Op, Type)> {
    let (a, b, c) = (Value(0), Value(1), Value(2));
    let mut all = Vec::new();
    for (float, int) in [(Type::F32, Type::I32), (Type::F64, Type::I64)] {
        all.extend(UNARY.map(|op| (Op::Unary(op, a), float)));
        all.extend(FLOAT.map(|op| (Op::Binary(op, a, b), float)));
        all.extend(INT.map(|op| (Op::Binary(op, a, b), int)));
        all.extend(COMPARE.map(|op| (Op::Compare(op, a, b), float)));
        all.extend(COMPARE.map(|op| (Op::Compare(op, a, b), int)));
        all.extend([float, int].map(|ty| (Op::Select(c, a, b), ty)));
        all.extend([(Op::Fma(a, b, c), float), (Op::Bitcast(int, a), float), (Op::Bitcast(float, a), int)]);
        all.extend([(Op::ToInt(a), float), (Op::ToFloat(a), int)]);
        all.extend(Storage::ALL.map(|storage| (Op::Narrow(storage, a), float)));
        all.extend([(Op::Const(zero(float)), float), (Op::Const(zero(int)), int)]);
    }
    let ty = Type::Bool;
    all.extend([(Op::Select(c, a, b), ty), (Op::Unary(Unary::Not, a), ty), (Op::Const(zero(ty)), ty)]);
    all.extend([Binary::And, Binary::Or].map(|op| (Op::Binary(op, a, b), ty)));
    all
}

fn zero(ty: Type) -> Const {
    match ty {
        Type::F32 => Const::f32(0.0),
        Type::F64 => Const::f64(0.0),
        Type::I32 => Const::I32(0),
        Type::I64 => Const::I64(0),
        Type::Bool => Const::Bool(false),
    }
}

/// A kernel that does one operation on loaded values and stores all bits of the result. `constant` replaces the second
/// operand. Operands that are integers are the bits of what is loaded, bools whether it is above zero.
fn one_operation(op: Op, ty: Type, compute: Type, storage: Storage, constant: Option<Const>) -> Kernel {
    let int = if compute == Type::F32 { Type::I32 } else { Type::I64 };
    let stream = |name: &str, access| Stream { name: name.into(), storage, access, block: false };
    let streams = vec![
        stream("a", Access::Read),
        stream("b", Access::Read),
        stream("c", Access::Read),
        stream("low", Access::Write),
        stream("high", Access::Write),
    ];
    let mut body: Vec<KernelInst> = (0..3).map(KernelInst::Load).collect();
    let mut push = |op| {
        body.push(KernelInst::Op(op));
        Value(body.len() as u32 - 1)
    };
    let limit = push(Op::Const(zero(compute)));
    let operand = |v: Value, ty: Type, push: &mut dyn FnMut(Op) -> Value| match ty {
        Type::Bool => push(Op::Compare(Compare::Gt, v, limit)),
        ty if ty.is_int() => push(Op::Bitcast(ty, v)),
        _ => v,
    };
    let a = operand(Value(0), ty, &mut push);
    let b = constant.map(|c| push(Op::Const(c))).unwrap_or_else(|| operand(Value(1), ty, &mut push));
    let third = if matches!(op, Op::Select(..)) { Type::Bool } else { ty };
    let c = operand(Value(2), third, &mut push);
    let result = push(op.map_operands(|Value(v)| [a, b, c][v as usize]));
    let result_type = match op {
        Op::Compare(..) => Type::Bool,
        Op::Bitcast(to, _) => to,
        Op::ToInt(_) => int,
        Op::ToFloat(_) => compute,
        _ => ty,
    };
    let (low, high) = match result_type {
        Type::Bool => {
            let one = push(Op::Const(if compute == Type::F32 { Const::f32(1.0) } else { Const::f64(1.0) }));
            (push(Op::Select(result, one, limit)), limit)
        }
        // Each half of the bits is a float exactly.
        ty if ty.is_int() => {
            let (half, mask) = if ty == Type::I32 {
                (Const::I32(16), Const::I32(0xffff))
            } else {
                (Const::I64(32), Const::I64(0xffff_ffff))
            };
            let (half, mask) = (push(Op::Const(half)), push(Op::Const(mask)));
            let low = push(Op::Binary(Binary::And, result, mask));
            let high = push(Op::Binary(Binary::Shr, result, half));
            (push(Op::ToFloat(low)), push(Op::ToFloat(high)))
        }
        _ => (result, limit),
    };
    body.extend([KernelInst::Store(3, low), KernelInst::Store(4, high)]);
    Kernel { name: op_name(op).into(), compute, uniforms: Vec::new(), streams, body }
}

/// One operation as it stands in a kernel.
struct Case {
    op: Op,
    ty: Type,
    compute: Type,
    constant: Option<Const>,
}

impl Case {
    fn kernel(&self, storage: Storage) -> Kernel {
        one_operation(self.op, self.ty, self.compute, storage, self.constant)
    }

    /// How many of the three operands it has.
    fn operands(&self) -> u32 {
        let mut count = 0;
        self.op.for_each_operand(|_| count += 1);
        if self.constant.is_some() { 1 } else { count }
    }
}

/// Every operation, shifts by constants included.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (op, ty) in operations() {
        let computes = match ty {
            Type::F32 | Type::I32 => vec![Type::F32],
            Type::F64 | Type::I64 => vec![Type::F64],
            Type::Bool => vec![Type::F32, Type::F64],
        };
        for compute in computes {
            cases.push(Case { op, ty, compute, constant: None });
            if let Op::Binary(Binary::Shl | Binary::Shr | Binary::Sar, ..) = op {
                for count in [0, 1, 31, 32, 33, 63, 64, -1] {
                    let count = if ty == Type::I32 { Const::I32(count) } else { Const::I64(count.into()) };
                    cases.push(Case { op, ty, compute, constant: Some(count) });
                }
            }
        }
    }
    cases
}

// What is right. --------------------------------------------------------------------------------------------------------

/// Every half that is not negative, by its bits; then what infinity would be, if it were a number.
struct Ladder {
    values: Vec<f64>,
    infinity: u16,
}

impl Ladder {
    fn new(mantissa: u32, infinity: u16) -> Ladder {
        let mut values: Vec<f64> = (0..infinity).map(|bits| value_of(bits, mantissa)).collect();
        let greatest = values.len() - 1;
        values.push(2.0 * values[greatest] - values[greatest - 1]);
        Ladder { values, infinity }
    }

    /// The bits of the half that is nearest, of two the one with even bits.
    fn nearest(&self, x: f64) -> u16 {
        let sign = if x.is_sign_negative() { 0x8000 } else { 0 };
        let size = x.abs();
        if size.is_nan() {
            return self.infinity | 1;
        }
        let above = self.values.partition_point(|value| *value < size);
        if above == self.values.len() {
            return sign | self.infinity;
        }
        let below = above.saturating_sub(1);
        // Neighbours have few digits, so all of this is exact.
        let tie = (self.values[below] + self.values[above]) / 2.0;
        let even = if above % 2 == 0 { above } else { below };
        let bits = if size < tie || below == above { below } else { above };
        sign | if size == tie { even } else { bits } as u16
    }
}

/// Both halves' ladders, and rounding by them.
struct Narrowing {
    ladders: [Ladder; 2],
}

impl Narrowing {
    fn new() -> Narrowing {
        Narrowing { ladders: HALVES.map(|(_, mantissa, infinity)| Ladder::new(mantissa, infinity)) }
    }

    fn bits(&self, storage: Storage, x: f64) -> u16 {
        self.ladders[HALVES.iter().position(|(half, ..)| *half == storage).unwrap()].nearest(x)
    }

    fn narrow(&self, storage: Storage, x: f64) -> f64 {
        match HALVES.iter().find(|(half, ..)| *half == storage) {
            Some((_, mantissa, _)) => value_of(self.bits(storage, x), *mantissa),
            None if storage == Storage::F32 => f64::from(x as f32),
            None => x,
        }
    }
}

/// What `one_operation` computes of three loaded values, in plain Rust.
macro_rules! meaning {
    ($name:ident, $float:ident, $int:ident, $unsigned:ident) => {
        #[allow(clippy::unnecessary_cast, clippy::cast_lossless, reason = "for both types")]
        fn $name(case: &Case, [a, b, c]: [$float; 3], narrowing: &Narrowing) -> [$float; 2] {
            let half = <$unsigned>::BITS / 2;
            let of_float = |x: $float| [x, 0.0];
            let of_bool = |x: bool| [if x { 1.0 } else { 0.0 }, 0.0];
            let of_int = |x: $int| {
                let x = x as $unsigned;
                [(x & (<$unsigned>::MAX >> half)) as $float, (x >> half) as $float]
            };
            let i = a.to_bits() as $int;
            let j = match case.constant {
                Some(Const::I32(x)) => x as $int,
                Some(Const::I64(x)) => x as $int,
                _ => b.to_bits() as $int,
            };
            // Modulo the width, which divides 2^32.
            let count = j as u32;
            let (x, y, z) = (a > 0.0, b > 0.0, c > 0.0);
            fn holds<T: PartialOrd>(op: Compare, a: T, b: T) -> bool {
                match op {
                    Compare::Eq => a == b,
                    Compare::Ne => a != b,
                    Compare::Lt => a < b,
                    Compare::Le => a <= b,
                    Compare::Gt => a > b,
                    Compare::Ge => a >= b,
                }
            }
            let (bool, float) = (case.ty == Type::Bool, case.ty.is_float());
            match case.op {
                Op::Const(_) => [0.0; 2],
                Op::Unary(Unary::Neg, _) => of_float(-a),
                Op::Unary(Unary::Abs, _) => of_float(a.abs()),
                Op::Unary(Unary::Sqrt, _) => of_float(a.sqrt()),
                Op::Unary(Unary::Floor, _) => of_float(a.floor()),
                Op::Unary(Unary::Ceil, _) => of_float(a.ceil()),
                Op::Unary(Unary::Round, _) => of_float(a.round_ties_even()),
                Op::Unary(Unary::Not, _) => of_bool(!x),
                Op::Binary(Binary::Add, ..) => of_float(a + b),
                Op::Binary(Binary::Sub, ..) => of_float(a - b),
                Op::Binary(Binary::Mul, ..) => of_float(a * b),
                Op::Binary(Binary::Div, ..) => of_float(a / b),
                Op::Binary(Binary::Min | Binary::Max, ..) if a.is_nan() || b.is_nan() => of_float($float::NAN),
                Op::Binary(Binary::Min, ..) if a == b => of_float(if a.is_sign_negative() { a } else { b }),
                Op::Binary(Binary::Max, ..) if a == b => of_float(if a.is_sign_negative() { b } else { a }),
                Op::Binary(Binary::Min, ..) => of_float(if a < b { a } else { b }),
                Op::Binary(Binary::Max, ..) => of_float(if a > b { a } else { b }),
                Op::Binary(Binary::And, ..) if bool => of_bool(x && y),
                Op::Binary(Binary::Or, ..) if bool => of_bool(x || y),
                Op::Binary(Binary::And, ..) => of_int(i & j),
                Op::Binary(Binary::Or, ..) => of_int(i | j),
                Op::Binary(Binary::Xor, ..) => of_int(i ^ j),
                Op::Binary(Binary::IAdd, ..) => of_int(i.wrapping_add(j)),
                Op::Binary(Binary::ISub, ..) => of_int(i.wrapping_sub(j)),
                Op::Binary(Binary::Shl, ..) => of_int(i.wrapping_shl(count)),
                Op::Binary(Binary::Shr, ..) => of_int((i as $unsigned).wrapping_shr(count) as $int),
                Op::Binary(Binary::Sar, ..) => of_int(i.wrapping_shr(count)),
                Op::Fma(..) => of_float(a.mul_add(b, c)),
                Op::Compare(op, ..) if float => of_bool(holds(op, a, b)),
                Op::Compare(op, ..) => of_bool(holds(op, i, j)),
                Op::Select(..) if bool => of_bool(if z { x } else { y }),
                Op::Select(..) if float => of_float(if z { a } else { b }),
                Op::Select(..) => of_int(if z { i } else { j }),
                Op::Bitcast(..) if float => of_int(i),
                Op::Bitcast(..) => of_float(a),
                Op::ToInt(_) => of_int(a as $int),
                Op::ToFloat(_) => of_float(i as $float),
                Op::Narrow(storage, _) => of_float(narrowing.narrow(storage, f64::from(a)) as $float),
                Op::Unary(Unary::Math(_), _) | Op::Binary(Binary::Rem | Binary::Pow, ..) => {
                    unreachable!("operations of scalar code")
                }
            }
        }
    };
}

meaning!(meaning_f32, f32, i32, u32);
meaning!(meaning_f64, f64, i64, u64);

// The grid. -------------------------------------------------------------------------------------------------------------

/// The values that every operation is held to, of both signs: zero, the least and the greatest subnormal, the least
/// normal, one, the greatest, infinity, a quiet and a signalling NaN.
pub fn grid_f32() -> Vec<f32> {
    let positive = [0, 1, 0x007f_ffff, 0x0080_0000, 0x3f80_0000, 0x7f7f_ffff, 0x7f80_0000, 0x7fc0_0000, 0x7f80_0001];
    positive.iter().flat_map(|bits| [*bits, bits | 1 << 31]).map(f32::from_bits).collect()
}

/// The same of f64.
pub fn grid_f64() -> Vec<f64> {
    let greatest = f64::MAX.to_bits();
    let normal = f64::MIN_POSITIVE.to_bits();
    let infinity = f64::INFINITY.to_bits();
    let positive = [0, 1, normal - 1, normal, 1f64.to_bits(), greatest, infinity, f64::NAN.to_bits(), infinity | 1];
    positive.iter().flat_map(|bits| [*bits, bits | 1 << 63]).map(f64::from_bits).collect()
}

/// The same of a half: its bits.
pub fn grid_half(mantissa: u32, infinity: u16) -> Vec<u16> {
    let normal = 1 << mantissa;
    let one = (infinity >> 1) & infinity;
    let quiet = infinity | 1 << (mantissa - 1);
    let positive = [0, 1, normal - 1, normal, one, infinity - 1, infinity, quiet, infinity | 1];
    // And both sides of one, whose sums with the least ones are ties.
    positive.iter().chain(&[one - 1, one + 1]).flat_map(|bits| [*bits, bits | 1 << 15]).collect()
}

/// Every tuple of as many values as a case has operands; the operands that it has not take their turns.
pub fn tuples(operands: u32, values: usize) -> Vec<[usize; 3]> {
    let count = values.pow(operands.max(1));
    let place = |i: usize, operand: u32| match operands.max(1) > operand {
        true => i / values.pow(operand) % values,
        false => (i * 7 + i / values) % values,
    };
    (0..count).map(|i| [place(i, 0), place(i, 1), place(i, 2)]).collect()
}

/// What is shipped, and Cranelift's code without its optimisations.
pub fn engines(kernel: &Kernel) -> Vec<(String, Engine)> {
    let mut all = shipped();
    if Codegen::Cranelift.is_available() {
        let unoptimized = Generator::Cranelift(Cranelift { unoptimized: true, ..Cranelift::default() });
        all.extend([(unoptimized, Lanes::One), (unoptimized, Lanes::Simd)]);
    }
    let codes =
        all.into_iter().map(|(generator, lanes)| (format!("{generator:?}, {lanes:?}"), code(kernel, generator, lanes)));
    std::iter::once(("the evaluator".to_string(), Engine::Eval)).chain(codes).collect()
}

/// Holds every engine to the results that are expected of the tuples, each in every lane of vectors of up to 8.
fn holds(kernel: &Kernel, operands: [Array; 3], results: [Array; 2]) {
    verify_kernel(kernel).unwrap();
    let len = operands[0].len() - MARGIN;
    let uniforms = if kernel.compute == Type::F32 { Array::F32(vec![]) } else { Array::F64(vec![]) };
    let arrays: Vec<Array> = operands.into_iter().chain(results).collect();
    let mut expected = Data { arrays, uniforms, offsets: vec![0; 5], len };
    let mut before = expected.clone();
    before.arrays[3..].iter_mut().for_each(Array::clear);
    for (name, engine) in engines(kernel) {
        for first in 0..8 {
            (expected.offsets, before.offsets) = (vec![first; 5], vec![first; 5]);
            let mut found = before.clone();
            found.run(kernel, &engine);
            if let Some(difference) = expected.difference(&found, &before) {
                panic!("{name}: {difference}, from {first}\n{}", print_kernel(kernel));
            }
        }
    }
}

/// So many elements and a margin, over and over.
pub fn around<T: Copy>(values: &[T]) -> Vec<T> {
    values.iter().cycle().take(values.len() + MARGIN).copied().collect()
}

#[test]
fn every_operation_on_special_values_in_every_lane() {
    let bits32 = [-1, 2, 31, 32, 33, 1 << 30, i32::MAX].map(|x: i32| f32::from_bits(x as u32));
    let bits64 = [-1, 2, 63, 64, 65, 1 << 62, i64::MAX].map(|x: i64| f64::from_bits(x as u64));
    let values32: Vec<f32> = SPICE_F32.into_iter().chain(bits32).chain(grid_f32()).collect();
    let values64: Vec<f64> = SPICE_F64.into_iter().chain(bits64).chain(grid_f64()).collect();
    let narrowing = Narrowing::new();
    for case in cases() {
        let tuples = tuples(case.operands(), values32.len());
        match case.compute {
            Type::F32 => {
                let results: Vec<[f32; 2]> =
                    tuples.iter().map(|tuple| meaning_f32(&case, tuple.map(|i| values32[i]), &narrowing)).collect();
                let operand = |n: usize| Array::F32(around(&tuples.iter().map(|t| values32[t[n]]).collect::<Vec<_>>()));
                let result = |n: usize| Array::F32(around(&results.iter().map(|r| r[n]).collect::<Vec<_>>()));
                holds(&case.kernel(Storage::F32), [0, 1, 2].map(operand), [0, 1].map(result));
            }
            _ => {
                let results: Vec<[f64; 2]> =
                    tuples.iter().map(|tuple| meaning_f64(&case, tuple.map(|i| values64[i]), &narrowing)).collect();
                let operand = |n: usize| Array::F64(around(&tuples.iter().map(|t| values64[t[n]]).collect::<Vec<_>>()));
                let result = |n: usize| Array::F64(around(&results.iter().map(|r| r[n]).collect::<Vec<_>>()));
                holds(&case.kernel(Storage::F64), [0, 1, 2].map(operand), [0, 1].map(result));
            }
        }
    }
}

/// The bits of a NaN are its own affair, so no operation here makes an integer of them.
#[test]
fn every_operation_on_special_halves_in_every_lane() {
    let narrowing = Narrowing::new();
    let told = |case: &Case| case.ty == Type::Bool || case.ty.is_float() && !matches!(case.op, Op::Bitcast(..));
    for case in cases().iter().filter(|case| told(case)) {
        for (storage, mantissa, infinity) in HALVES {
            let bits = grid_half(mantissa, infinity);
            let values: Vec<f64> = bits.iter().map(|bits| value_of(*bits, mantissa)).collect();
            let tuples = tuples(case.operands(), bits.len());
            let results = tuples.iter().map(|tuple| match case.compute {
                Type::F32 => meaning_f32(case, tuple.map(|i| values[i] as f32), &narrowing).map(f64::from),
                _ => meaning_f64(case, tuple.map(|i| values[i]), &narrowing),
            });
            let results: Vec<[u16; 2]> = results.map(|r| r.map(|x| narrowing.bits(storage, x))).collect();
            let operand =
                |n: usize| halves(storage, around(&tuples.iter().map(|t| bits[t[n]]).collect::<Vec<_>>()).into_iter());
            let result =
                |n: usize| halves(storage, around(&results.iter().map(|r| r[n]).collect::<Vec<_>>()).into_iter());
            holds(&case.kernel(storage), [0, 1, 2].map(operand), [0, 1].map(result));
        }
    }
}

#[test]
fn every_operation_compiles_for_every_target() {
    for case in cases() {
        let kernel = case.kernel(if case.compute == Type::F32 { Storage::F32 } else { Storage::F64 });
        for isa in Isa::ALL {
            for lanes in [Lanes::One, Lanes::Simd] {
                let text = backend(isa).text(&kernel, Target { isa, lanes }, Text::Asm);
                let text = text.unwrap_or_else(|error| panic!("{}: {error}\n{}", isa.name(), print_kernel(&kernel)));
                let calls = |line: &str| ["call", "bl ", "blr "].iter().any(|call| line.trim_start().starts_with(call));
                assert!(!text.lines().any(calls), "{text}");
            }
        }
    }
}
