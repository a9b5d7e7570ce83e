//! What every operation means, in plain Rust, and kernels run by it.
//!
//! Comes in: an [`Op`] with its operands, or a [`Kernel`] with its arguments. Goes out: the bits that every other engine
//! must give, up to which NaN a NaN is. The meaning of an operation on one value of its type is stated once, in the
//! functions at the end of this file; [`apply`] does it for columns of any length (kernels by the block, steps by the
//! array), [`apply_scalar`] for the scalars of scalar code.
//!
//! This is the oracle of code generation, and the engine of hosts that forbid executable memory. It is written to be
//! right by reading; blocks of elements keep it within reach of compiled loops. It does not verify what it is given.

use super::args::{Args, Buffer, Uniforms};
use super::kernel::{Kernel, KernelInst};
use super::narrow::Narrow;
use super::op::{Binary, Compare, Const, Math1, Op, Storage, Type, Unary, Value};
use std::ops::Range;

/// The values of one instruction for a run of elements.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Column {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    Bool(Vec<bool>),
}

/// An empty column, which takes no memory: what an `out` is before its first use.
impl Default for Column {
    fn default() -> Column {
        Column::Bool(Vec::new())
    }
}

impl Column {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Column::F32(x) => x.len(),
            Column::F64(x) => x.len(),
            Column::I32(x) => x.len(),
            Column::I64(x) => x.len(),
            Column::Bool(x) => x.len(),
        }
    }

    /// Whether there is none.
    ///
    /// ```
    /// use updraft::ir::Column;
    /// assert!(Column::F32(vec![]).is_empty() && !Column::F32(vec![1.0]).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Their type.
    pub fn ty(&self) -> Type {
        match self {
            Column::F32(_) => Type::F32,
            Column::F64(_) => Type::F64,
            Column::I32(_) => Type::I32,
            Column::I64(_) => Type::I64,
            Column::Bool(_) => Type::Bool,
        }
    }

    /// Becomes `len` times the constant, in the memory that it has.
    pub fn fill(&mut self, c: Const, len: usize) {
        match c {
            Const::F32(bits) => refill(self, len, f32::from_bits(bits)),
            Const::F64(bits) => refill(self, len, f64::from_bits(bits)),
            Const::I32(x) => refill(self, len, x),
            Const::I64(x) => refill(self, len, x),
            Const::Bool(x) => refill(self, len, x),
        }
    }
}

fn refill<T: Element>(out: &mut Column, len: usize, x: T) {
    let out = T::start(out);
    out.resize(len, x);
}

/// The types of columns.
trait Element: Copy {
    /// `column` as an empty vector of this type, in its old memory if it was one.
    fn start(column: &mut Column) -> &mut Vec<Self>;
}

macro_rules! element {
    ($($ty:ty, $variant:ident);*) => {$(
        impl Element for $ty {
            fn start(column: &mut Column) -> &mut Vec<$ty> {
                if !matches!(column, Column::$variant(_)) {
                    *column = Column::$variant(Vec::new());
                }
                let Column::$variant(values) = column else { unreachable!("made so above") };
                values.clear();
                values
            }
        }
    )*};
}
element!(f32, F32; f64, F64; i32, I32; i64, I64; bool, Bool);

/// Does `op` on each of `len` elements. `operand` gives the columns of earlier instructions, each of that length; `out`
/// becomes the result, in the memory that it has.
///
/// # Panics
/// If the operands have not the types that [`verify`](super::verify) asks for. It is the compiler's fault then.
pub fn apply<'c>(op: Op, len: usize, operand: impl Fn(Value) -> &'c Column, out: &mut Column) {
    use Column::*;
    /// Matches the variant of an operation outside of the loop over elements, so that each loop is of one operation.
    macro_rules! each {
        ($op:expr, $enum:ident { $($variant:ident)* }, |$known:ident| $loop:expr $(, $other:pat => $end:expr)?) => {
            match $op {
                $($enum::$variant => { const $known: $enum = $enum::$variant; $loop })*
                $($other => $end,)?
            }
        };
    }
    // The loops of the operations that f32 and f64 share, or i32 and i64: one text for both.
    macro_rules! float1 {
        ($unary:expr, $a:expr) => {
            each!($unary, Unary { Neg Abs Sqrt Floor Ceil Round }, |OP| map1($a, out, |a| float1(OP, a)),
                _ => mismatch(op, $a))
        };
    }
    macro_rules! float2 {
        ($binary:expr, $a:expr, $b:expr) => {
            each!($binary, Binary { Add Sub Mul Div Min Max }, |OP| map2($a, $b, out, |a, b| float2(OP, a, b)),
                _ => mismatch(op, $a))
        };
    }
    macro_rules! int2 {
        ($binary:expr, $a:expr, $b:expr) => {
            each!($binary, Binary { And Or Xor IAdd ISub Shl Shr Sar }, |OP| map2($a, $b, out, |a, b| int2(OP, a, b)),
                _ => mismatch(op, $a))
        };
    }
    macro_rules! compare {
        ($compare:expr, $a:expr, $b:expr) => {
            each!($compare, Compare { Eq Ne Lt Le Gt Ge }, |OP| map2($a, $b, out, |a, b| holds(OP, a, b)))
        };
    }
    macro_rules! narrow {
        ($storage:expr, $a:expr) => {
            each!($storage, Storage { F32 F64 Bf16 F16 }, |STORAGE| map1($a, out, |a| a.narrow(STORAGE)))
        };
    }
    match op {
        Op::Const(c) => out.fill(c, len),
        Op::Unary(unary, a) => match (unary, operand(a)) {
            (Unary::Not, Bool(a)) => map1(a, out, |a: bool| !a),
            (Unary::Math(function), F64(a)) => map1(a, out, |a| math1(function, a)),
            (_, F32(a)) => float1!(unary, a),
            (_, F64(a)) => float1!(unary, a),
            (_, a) => mismatch(op, a),
        },
        Op::Binary(binary, a, b) => match (binary, operand(a), operand(b)) {
            (Binary::Rem, F64(a), F64(b)) => map2(a, b, out, rem),
            (Binary::Pow, F64(a), F64(b)) => map2(a, b, out, libm::pow),
            (Binary::And, Bool(a), Bool(b)) => map2(a, b, out, |a, b| a & b),
            (Binary::Or, Bool(a), Bool(b)) => map2(a, b, out, |a, b| a | b),
            (_, F32(a), F32(b)) => float2!(binary, a, b),
            (_, F64(a), F64(b)) => float2!(binary, a, b),
            (_, I32(a), I32(b)) => int2!(binary, a, b),
            (_, I64(a), I64(b)) => int2!(binary, a, b),
            (_, a, b) => mismatch(op, (a, b)),
        },
        Op::Fma(a, b, c) => match (operand(a), operand(b), operand(c)) {
            (F32(a), F32(b), F32(c)) => map3(a, b, c, out, f32::mul_add),
            (F64(a), F64(b), F64(c)) => map3(a, b, c, out, f64::mul_add),
            operands => mismatch(op, operands),
        },
        Op::Compare(compare, a, b) => match (operand(a), operand(b)) {
            (F32(a), F32(b)) => compare!(compare, a, b),
            (F64(a), F64(b)) => compare!(compare, a, b),
            (I32(a), I32(b)) => compare!(compare, a, b),
            (I64(a), I64(b)) => compare!(compare, a, b),
            operands => mismatch(op, operands),
        },
        Op::Select(c, a, b) => match (operand(c), operand(a), operand(b)) {
            (Bool(c), F32(a), F32(b)) => map3(c, a, b, out, select),
            (Bool(c), F64(a), F64(b)) => map3(c, a, b, out, select),
            (Bool(c), I32(a), I32(b)) => map3(c, a, b, out, select),
            (Bool(c), I64(a), I64(b)) => map3(c, a, b, out, select),
            (Bool(c), Bool(a), Bool(b)) => map3(c, a, b, out, select),
            operands => mismatch(op, operands),
        },
        Op::Bitcast(to, a) => match (to, operand(a)) {
            (Type::F32, I32(a)) => map1(a, out, |a: i32| f32::from_bits(a as u32)),
            (Type::F64, I64(a)) => map1(a, out, |a: i64| f64::from_bits(a as u64)),
            (Type::I32, F32(a)) => map1(a, out, |a: f32| a.to_bits() as i32),
            (Type::I64, F64(a)) => map1(a, out, |a: f64| a.to_bits() as i64),
            (_, a) => mismatch(op, a),
        },
        // Rust's `as` from float to integer saturates and takes NaN to 0, from integer to float rounds to nearest even.
        Op::ToInt(a) => match operand(a) {
            F32(a) => map1(a, out, |a: f32| a as i32),
            F64(a) => map1(a, out, |a: f64| a as i64),
            a => mismatch(op, a),
        },
        Op::ToFloat(a) => match operand(a) {
            I32(a) => map1(a, out, |a: i32| a as f32),
            I64(a) => map1(a, out, |a: i64| a as f64),
            a => mismatch(op, a),
        },
        Op::Narrow(storage, a) => match operand(a) {
            F32(a) => narrow!(storage, a),
            F64(a) => narrow!(storage, a),
            a => mismatch(op, a),
        },
    }
    debug_assert_eq!(out.len(), len, "{op:?}");
}

/// An operation on what it is not for.
#[cold]
fn mismatch(op: Op, operands: impl std::fmt::Debug) -> ! {
    panic!("ill-typed operation {op:?} on {operands:?}")
}

fn map1<A: Copy, R: Element>(a: &[A], out: &mut Column, f: impl Fn(A) -> R) {
    R::start(out).extend(a.iter().map(|&a| f(a)));
}

fn map2<A: Element, B: Element, R: Element>(a: &[A], b: &[B], out: &mut Column, f: impl Fn(A, B) -> R) {
    R::start(out).extend(a.iter().zip(b).map(|(&a, &b)| f(a, b)));
}

fn map3<A: Element, B: Element, C: Element, R: Element>(
    a: &[A],
    b: &[B],
    c: &[C],
    out: &mut Column,
    f: impl Fn(A, B, C) -> R,
) {
    R::start(out).extend(a.iter().zip(b).zip(c).map(|((&a, &b), &c)| f(a, b, c)));
}

/// A value of scalar code.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Scalar {
    F64(f64),
    Bool(bool),
}

/// Does `op` on scalars; `operand` gives the values of earlier instructions.
///
/// # Panics
/// If the operation is not of scalar code (f64 and bool) or its operands have not its types. It is the compiler's fault
/// then.
pub fn apply_scalar(op: Op, operand: impl Fn(Value) -> Scalar) -> Scalar {
    use Scalar::*;
    match op {
        Op::Const(Const::F64(bits)) => F64(f64::from_bits(bits)),
        Op::Const(Const::Bool(x)) => Bool(x),
        Op::Unary(unary, a) => match (unary, operand(a)) {
            (Unary::Not, Bool(a)) => Bool(!a),
            (Unary::Math(function), F64(a)) => F64(math1(function, a)),
            (_, F64(a)) => F64(float1(unary, a)),
            (_, a) => mismatch(op, a),
        },
        Op::Binary(binary, a, b) => match (binary, operand(a), operand(b)) {
            (Binary::Rem, F64(a), F64(b)) => F64(rem(a, b)),
            (Binary::Pow, F64(a), F64(b)) => F64(libm::pow(a, b)),
            (Binary::And, Bool(a), Bool(b)) => Bool(a & b),
            (Binary::Or, Bool(a), Bool(b)) => Bool(a | b),
            (_, F64(a), F64(b)) => F64(float2(binary, a, b)),
            (_, a, b) => mismatch(op, (a, b)),
        },
        Op::Fma(a, b, c) => match (operand(a), operand(b), operand(c)) {
            (F64(a), F64(b), F64(c)) => F64(a.mul_add(b, c)),
            operands => mismatch(op, operands),
        },
        Op::Compare(compare, a, b) => match (operand(a), operand(b)) {
            (F64(a), F64(b)) => Bool(holds(compare, a, b)),
            operands => mismatch(op, operands),
        },
        Op::Select(c, a, b) => match operand(c) {
            Bool(c) => select(c, operand(a), operand(b)),
            c => mismatch(op, c),
        },
        Op::Narrow(storage, a) => match operand(a) {
            F64(a) => F64(a.narrow(storage)),
            a => mismatch(op, a),
        },
        Op::Const(_) | Op::Bitcast(..) | Op::ToInt(_) | Op::ToFloat(_) => mismatch(op, "scalars"),
    }
}

/// Elements to a block: columns of this length stay in the first-level cache.
const BLOCK: usize = 256;

/// Runs `kernel` over the arrays of `args`.
///
/// # Panics
/// If `args` do not fit `kernel`, or it is not well-formed.
pub fn eval_kernel(kernel: &Kernel, args: &mut Args<'_>) {
    if let Err(error) = args.check_kernel(kernel) {
        panic!("arguments of another kernel: {error}");
    }
    let mut columns = vec![Column::default(); kernel.body.len()];
    let mut start = 0;
    while start < args.len() {
        let range = start..args.len().min(start + BLOCK);
        for (index, &inst) in kernel.body.iter().enumerate() {
            let (before, rest) = columns.split_at_mut(index);
            let out = &mut rest[0];
            match inst {
                KernelInst::Uniform(i) => match args.uniforms {
                    Uniforms::F32(values) => out.fill(Const::f32(values[i as usize]), range.len()),
                    Uniforms::F64(values) => out.fill(Const::f64(values[i as usize]), range.len()),
                },
                KernelInst::Load(i) => load(kernel.compute, &args.buffers[i as usize], range.clone(), out),
                KernelInst::Store(i, v) => store(&before[v.index()], &mut args.buffers[i as usize], range.clone()),
                KernelInst::Op(op) => apply(op, range.len(), |v| &before[v.index()], out),
            }
        }
        start = range.end;
    }
}

/// A run of an array as the compute type: widened exactly, or rounded to nearest even.
fn load(compute: Type, from: &Buffer<'_>, range: Range<usize>, out: &mut Column) {
    fn convert(compute: Type, from: &[impl Copy + Into<f64>], out: &mut Column) {
        match compute {
            Type::F32 => map1(from, out, |x| x.into() as f32),
            _ => map1(from, out, |x| x.into()),
        }
    }
    match from {
        Buffer::F32(from) => convert(compute, &from[range], out),
        Buffer::F32Mut(from) => convert(compute, &from[range], out),
        Buffer::F64(from) => convert(compute, &from[range], out),
        Buffer::F64Mut(from) => convert(compute, &from[range], out),
        Buffer::Bf16(from) => convert(compute, &from[range], out),
        Buffer::Bf16Mut(from) => convert(compute, &from[range], out),
        Buffer::F16(from) => convert(compute, &from[range], out),
        Buffer::F16Mut(from) => convert(compute, &from[range], out),
    }
}

/// The reverse: values of the compute type become a run of an array, rounded to nearest even where it is narrower.
fn store(from: &Column, to: &mut Buffer<'_>, range: Range<usize>) {
    fn convert<A: Copy, B>(from: &[A], to: &mut [B], f: impl Fn(A) -> B) {
        to.iter_mut().zip(from).for_each(|(to, &x)| *to = f(x));
    }
    match (from, to) {
        (Column::F32(from), Buffer::F32Mut(to)) => to[range].copy_from_slice(from),
        (Column::F64(from), Buffer::F64Mut(to)) => to[range].copy_from_slice(from),
        (Column::F64(from), Buffer::F32Mut(to)) => convert(from, &mut to[range], |x| x as f32),
        (Column::F32(from), Buffer::F64Mut(to)) => convert(from, &mut to[range], f64::from),
        (Column::F32(from), Buffer::Bf16Mut(to)) => convert(from, &mut to[range], f32::to_bf16),
        (Column::F64(from), Buffer::Bf16Mut(to)) => convert(from, &mut to[range], f64::to_bf16),
        (Column::F32(from), Buffer::F16Mut(to)) => convert(from, &mut to[range], f32::to_f16),
        (Column::F64(from), Buffer::F16Mut(to)) => convert(from, &mut to[range], f64::to_f16),
        (from, to) => panic!("a store of {} to {to:?}", from.ty().name()),
    }
}

// The meaning of each operation on one value. -------------------------------------------------------------------------

/// What f32 and f64 have in common.
trait Float:
    Copy
    + PartialOrd
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::Neg<Output = Self>
{
    const NAN: Self;
    fn is_nan(self) -> bool;
    fn is_sign_negative(self) -> bool;
    fn abs(self) -> Self;
    fn sqrt(self) -> Self;
    fn floor(self) -> Self;
    fn ceil(self) -> Self;
    fn round_ties_even(self) -> Self;
}

macro_rules! float {
    ($($ty:ident)*) => {$(
        impl Float for $ty {
            const NAN: $ty = $ty::NAN;
            fn is_nan(self) -> bool { $ty::is_nan(self) }
            fn is_sign_negative(self) -> bool { $ty::is_sign_negative(self) }
            fn abs(self) -> $ty { $ty::abs(self) }
            fn sqrt(self) -> $ty { $ty::sqrt(self) }
            fn floor(self) -> $ty { $ty::floor(self) }
            fn ceil(self) -> $ty { $ty::ceil(self) }
            fn round_ties_even(self) -> $ty { $ty::round_ties_even(self) }
        }
    )*};
}
float!(f32 f64);

/// Float operations of one operand. Each is exact or correctly rounded, so the host's instruction gives the same bits.
#[inline(always)]
fn float1<T: Float>(op: Unary, x: T) -> T {
    match op {
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Sqrt => x.sqrt(),
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        Unary::Round => x.round_ties_even(),
        Unary::Not | Unary::Math(_) => unreachable!("not an operation on floats: {op:?}"),
    }
}

/// Float operations of two operands.
#[inline(always)]
fn float2<T: Float>(op: Binary, x: T, y: T) -> T {
    match op {
        Binary::Add => x + y,
        Binary::Sub => x - y,
        Binary::Mul => x * y,
        Binary::Div => x / y,
        Binary::Min => min(x, y),
        Binary::Max => -min(-x, -y),
        _ => unreachable!("not an operation on two floats: {op:?}"),
    }
}

/// The lesser, where NaN is less than everything and -0 less than +0. (Rust's `f32::min` drops a NaN.)
#[inline(always)]
fn min<T: Float>(x: T, y: T) -> T {
    if x.is_nan() || y.is_nan() {
        T::NAN
    } else if x < y || (x == y && x.is_sign_negative()) {
        x
    } else {
        y
    }
}

/// What i32 and i64 have in common.
trait Int:
    Copy + std::ops::BitAnd<Output = Self> + std::ops::BitOr<Output = Self> + std::ops::BitXor<Output = Self>
{
    fn wrapping_add(self, other: Self) -> Self;
    fn wrapping_sub(self, other: Self) -> Self;
    fn shift_left(self, count: Self) -> Self;
    fn shift_right_logical(self, count: Self) -> Self;
    fn shift_right_arithmetic(self, count: Self) -> Self;
}

macro_rules! int {
    ($($ty:ident as $unsigned:ident),*) => {$(
        impl Int for $ty {
            fn wrapping_add(self, other: $ty) -> $ty { $ty::wrapping_add(self, other) }
            fn wrapping_sub(self, other: $ty) -> $ty { $ty::wrapping_sub(self, other) }
            // The wrapping shifts take the count modulo the width, of which the low 32 bits of the count tell enough.
            fn shift_left(self, count: $ty) -> $ty { self.wrapping_shl(count as u32) }
            fn shift_right_logical(self, count: $ty) -> $ty { (self as $unsigned).wrapping_shr(count as u32) as $ty }
            fn shift_right_arithmetic(self, count: $ty) -> $ty { self.wrapping_shr(count as u32) }
        }
    )*};
}
int!(i32 as u32, i64 as u64);

/// Integer operations of two operands.
#[inline(always)]
fn int2<T: Int>(op: Binary, x: T, y: T) -> T {
    match op {
        Binary::And => x & y,
        Binary::Or => x | y,
        Binary::Xor => x ^ y,
        Binary::IAdd => x.wrapping_add(y),
        Binary::ISub => x.wrapping_sub(y),
        Binary::Shl => x.shift_left(y),
        Binary::Shr => x.shift_right_logical(y),
        Binary::Sar => x.shift_right_arithmetic(y),
        _ => unreachable!("not an operation on two integers: {op:?}"),
    }
}

/// Comparisons: with a NaN only `Ne` holds, as in Rust.
#[inline(always)]
fn holds<T: PartialOrd>(op: Compare, x: T, y: T) -> bool {
    match op {
        Compare::Eq => x == y,
        Compare::Ne => x != y,
        Compare::Lt => x < y,
        Compare::Le => x <= y,
        Compare::Gt => x > y,
        Compare::Ge => x >= y,
    }
}

#[inline(always)]
fn select<T>(c: bool, x: T, y: T) -> T {
    if c { x } else { y }
}

/// Functions of scalar code. Always the pinned crate's: std's differ between hosts.
fn math1(function: Math1, x: f64) -> f64 {
    match function {
        Math1::Exp => libm::exp(x),
        Math1::Log => libm::log(x),
        Math1::Tanh => libm::tanh(x),
        Math1::Sin => libm::sin(x),
        Math1::Cos => libm::cos(x),
        Math1::Cbrt => libm::cbrt(x),
        Math1::Sigmoid => 1.0 / (1.0 + libm::exp(-x)),
    }
}

/// The floored remainder: `x - floor(x/y)*y` as if exact, rounded once; it has the sign of `y`, a zero too. The
/// truncated remainder that it begins with is exact for all operands.
///
/// By an infinite `y` that is `x` where the signs agree or `x` is zero, else `y`. By a zero or a NaN, or of an infinite
/// or NaN `x`, it is NaN.
fn rem(x: f64, y: f64) -> f64 {
    let r = libm::fmod(x, y);
    if r == 0.0 {
        r.abs().copysign(y)
    } else if (r < 0.0) != (y < 0.0) {
        r + y
    } else {
        r
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(op: Op, operands: &[f64]) -> f64 {
        match apply_scalar(op, |v| Scalar::F64(operands[v.index()])) {
            Scalar::F64(x) => x,
            Scalar::Bool(_) => panic!("a bool"),
        }
    }

    fn binary(op: Binary, x: f64, y: f64) -> f64 {
        scalar(Op::Binary(op, Value(0), Value(1)), &[x, y])
    }

    #[test]
    fn minimum_and_maximum_order_zeros_and_keep_nans() {
        for (least, greatest) in [(-0.0, 0.0), (1.0, 2.0), (f64::NEG_INFINITY, f64::INFINITY), (-5e-324, -0.0)] {
            for (x, y) in [(least, greatest), (greatest, least)] {
                assert_eq!(binary(Binary::Min, x, y).to_bits(), f64::to_bits(least));
                assert_eq!(binary(Binary::Max, x, y).to_bits(), f64::to_bits(greatest));
            }
        }
        for op in [Binary::Min, Binary::Max] {
            assert!(binary(op, f64::NAN, f64::NEG_INFINITY).is_nan());
            assert!(binary(op, f64::INFINITY, f64::NAN).is_nan());
        }
    }

    #[test]
    fn the_remainder_is_floored() {
        let inf = f64::INFINITY;
        let cases = [
            (7.0, 3.0, 1.0),
            (-7.0, 3.0, 2.0),
            (7.0, -3.0, -2.0),
            (-7.0, -3.0, -1.0),
            (6.0, 3.0, 0.0),
            (-6.0, 3.0, 0.0),
            (6.0, -3.0, -0.0),
            (1.0, inf, 1.0),
            (-1.0, inf, inf),
            (1.0, -inf, -inf),
            (-0.0, inf, 0.0),
            (-1e-300, 1.0, 1.0),
            (1e300, 3.0, libm::fmod(1e300, 3.0)),
        ];
        for (x, y, expected) in cases {
            let found = binary(Binary::Rem, x, y);
            assert_eq!(found.to_bits(), f64::to_bits(expected), "{x} % {y} = {found}");
        }
        for (x, y) in [(1.0, 0.0), (1.0, -0.0), (0.0, 0.0), (inf, 1.0), (inf, inf), (1.0, f64::NAN), (f64::NAN, 1.0)] {
            assert!(binary(Binary::Rem, x, y).is_nan(), "{x} % {y}");
        }
    }

    #[test]
    fn scalar_functions_are_those_of_libm() {
        let call = |function, x| scalar(Op::Unary(Unary::Math(function), Value(0)), &[x]);
        for x in [-3.5, -0.0, 0.25, 1.0, 700.0, 1e-300] {
            assert_eq!(call(Math1::Exp, x).to_bits(), libm::exp(x).to_bits());
            assert_eq!(call(Math1::Tanh, x).to_bits(), libm::tanh(x).to_bits());
            assert_eq!(call(Math1::Sin, x).to_bits(), libm::sin(x).to_bits());
            assert_eq!(call(Math1::Cos, x).to_bits(), libm::cos(x).to_bits());
            assert_eq!(call(Math1::Cbrt, x).to_bits(), libm::cbrt(x).to_bits());
            assert_eq!(call(Math1::Sigmoid, x).to_bits(), (1.0 / (1.0 + libm::exp(-x))).to_bits());
            assert_eq!(call(Math1::Log, x.abs()).to_bits(), libm::log(x.abs()).to_bits());
            assert_eq!(binary(Binary::Pow, x.abs(), 1.5).to_bits(), libm::pow(x.abs(), 1.5).to_bits());
        }
        assert_eq!(call(Math1::Sigmoid, f64::NEG_INFINITY), 0.0);
    }

    #[test]
    fn scalars_and_columns_mean_the_same() {
        let spice =
            [f64::NAN, f64::INFINITY, -f64::INFINITY, 0.0, -0.0, 5e-324, -1e-310, f64::MAX, 0.5, -1.5, 2.5, 3.0];
        let columns = [0, 1, 2].map(|turn| {
            let mut values: Vec<f64> = Vec::new();
            for i in 0..spice.len() * spice.len() {
                values.push(spice[(if turn == 0 { i / spice.len() } else { i * turn + turn }) % spice.len()]);
            }
            values
        });
        let (a, b, c) = (Value(0), Value(1), Value(2));
        let mut ops: Vec<Op> = vec![Op::Fma(a, b, c), Op::Const(Const::f64(-0.0))];
        use {Binary::*, Compare::*, Math1::*, Unary::*};
        ops.extend([Neg, Abs, Sqrt, Floor, Ceil, Round].map(|op| Op::Unary(op, a)));
        ops.extend([Exp, Log, Tanh, Sin, Cos, Cbrt, Sigmoid].map(|op| Op::Unary(Math(op), a)));
        ops.extend([Add, Sub, Mul, Div, Min, Max, Rem, Pow].map(|op| Op::Binary(op, a, b)));
        ops.extend([Eq, Ne, Lt, Le, Gt, Ge].map(|op| Op::Compare(op, a, b)));
        for op in ops {
            let operands = columns.clone().map(Column::F64);
            let mut out = Column::default();
            apply(op, columns[0].len(), |v| &operands[v.index()], &mut out);
            for i in 0..columns[0].len() {
                let one = apply_scalar(op, |v| Scalar::F64(columns[v.index()][i]));
                match (&out, one) {
                    (Column::F64(many), Scalar::F64(one)) => {
                        assert!(many[i].to_bits() == one.to_bits() || (many[i].is_nan() && one.is_nan()), "{op:?} {i}");
                    }
                    (Column::Bool(many), Scalar::Bool(one)) => assert_eq!(many[i], one, "{op:?} {i}"),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    #[test]
    fn shifts_take_the_count_modulo_the_width() {
        let operands = [Column::I32(vec![-8, -8, -8, 1]), Column::I32(vec![1, 33, -31, -1])];
        let mut out = Column::default();
        for (op, expected) in [
            (Binary::Sar, [-4, -4, -4, 0]),
            (Binary::Shr, [0x7fff_fffc, 0x7fff_fffc, 0x7fff_fffc, 0]),
            (Binary::Shl, [-16, -16, -16, i32::MIN]),
        ] {
            apply(Op::Binary(op, Value(0), Value(1)), 4, |v| &operands[v.index()], &mut out);
            assert!(matches!(&out, Column::I32(x) if *x == expected), "{op:?}: {out:?}");
        }
    }
}
