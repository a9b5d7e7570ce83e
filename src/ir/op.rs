//! The operations that every form of the IR shares, and their types.
//!
//! A form of the IR (a [`Step`](super::Step), a scalar region, a [`Kernel`](super::Kernel)) is a list of instructions
//! in SSA: each instruction defines the [`Value`] of its own index, and reads only smaller ones. What differs between
//! the forms is where values come from and go to; what is done with them is an [`Op`] everywhere, so that its meaning
//! is stated once, here and in `eval`.

/// The value that the instruction of this index defines.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Value(pub u32);

impl Value {
    /// The index of the defining instruction.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The type of a value in registers. (What an array holds in memory is [`Storage`].)
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Type {
    F32,
    F64,
    I32,
    I64,
    Bool,
}

impl Type {
    /// As printed: `f32`.
    pub fn name(self) -> &'static str {
        match self {
            Type::F32 => "f32",
            Type::F64 => "f64",
            Type::I32 => "i32",
            Type::I64 => "i64",
            Type::Bool => "bool",
        }
    }

    /// Whether it is f32 or f64.
    pub fn is_float(self) -> bool {
        matches!(self, Type::F32 | Type::F64)
    }

    /// Whether it is i32 or i64.
    pub fn is_int(self) -> bool {
        matches!(self, Type::I32 | Type::I64)
    }
}

/// The type of the elements of an array in memory. It appears only where arrays are loaded and stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Storage {
    F32,
    F64,
    /// The upper half of an f32: its exponents, 8 bits of precision.
    Bf16,
    /// IEEE 754's binary16: 11 bits of precision, exponents from -14 to 15.
    F16,
}

impl Storage {
    /// Every one, in the order in which they are listed.
    pub const ALL: [Storage; 4] = [Storage::F32, Storage::F64, Storage::Bf16, Storage::F16];

    /// As printed: `f32`.
    pub fn name(self) -> &'static str {
        match self {
            Storage::F32 => "f32",
            Storage::F64 => "f64",
            Storage::Bf16 => "bf16",
            Storage::F16 => "f16",
        }
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Storage> {
        Storage::ALL.into_iter().find(|storage| storage.name() == name)
    }

    /// Bytes per element.
    pub fn bytes(self) -> usize {
        match self {
            Storage::F32 => 4,
            Storage::F64 => 8,
            Storage::Bf16 | Storage::F16 => 2,
        }
    }

    /// What holds the results of computing with values that are stored like this: f32 or f64.
    pub fn of_results(self) -> Storage {
        if self.compute() == Type::F64 { Storage::F64 } else { Storage::F32 }
    }

    /// The type that a parameter stored like this is computed in.
    pub fn compute(self) -> Type {
        match self {
            Storage::F32 | Storage::Bf16 | Storage::F16 => Type::F32,
            Storage::F64 => Type::F64,
        }
    }

    /// Whether it holds every value of this float type as it is.
    pub fn holds(self, float: Type) -> bool {
        match self {
            Storage::F64 => true,
            Storage::F32 => float == Type::F32,
            Storage::Bf16 | Storage::F16 => false,
        }
    }
}

/// A constant. Floats are held by their bits, so that constants have an equality and a hash and -0 is not 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Const {
    F32(u32),
    F64(u64),
    I32(i32),
    I64(i64),
    Bool(bool),
}

impl Const {
    /// The constant `x` of type f64.
    pub fn f64(x: f64) -> Const {
        Const::F64(x.to_bits())
    }

    /// The constant `x` of type f32.
    pub fn f32(x: f32) -> Const {
        Const::F32(x.to_bits())
    }

    /// Its type.
    pub fn ty(self) -> Type {
        match self {
            Const::F32(_) => Type::F32,
            Const::F64(_) => Type::F64,
            Const::I32(_) => Type::I32,
            Const::I64(_) => Type::I64,
            Const::Bool(_) => Type::Bool,
        }
    }
}

/// Operations of one operand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Unary {
    /// Float: the sign bit flipped, of NaN too.
    Neg,
    /// Float: the sign bit cleared.
    Abs,
    /// Float: correctly rounded; NaN below -0.
    Sqrt,
    /// Float: to the integer below.
    Floor,
    /// Float: to the integer above.
    Ceil,
    /// Float: to the nearest integer, ties to even.
    Round,
    /// Bool.
    Not,
    /// f64 in scalar code only: the pinned `libm` crate's function of that name.
    Math(Math1),
}

/// Functions of one f64 that only scalar code has; each is the pinned `libm` crate's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Math1 {
    Exp,
    Log,
    Tanh,
    Sin,
    Cos,
    Cbrt,
    /// 1 / (1 + exp(-x)).
    Sigmoid,
}

/// Operations of two operands of one type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Binary {
    /// Float: one rounding.
    Add,
    /// Float: one rounding.
    Sub,
    /// Float: one rounding.
    Mul,
    /// Float: one rounding.
    Div,
    /// Float: NaN if either is NaN; -0 is less than 0.
    Min,
    /// Float: NaN if either is NaN; -0 is less than 0.
    Max,
    /// f64 in scalar code only: floored remainder, `x - floor(x/y)*y` exactly, with the sign of y.
    Rem,
    /// f64 in scalar code only: the pinned `libm` crate's `pow`.
    Pow,
    /// Bool, and integers bit by bit.
    And,
    /// Bool, and integers bit by bit.
    Or,
    /// Integers bit by bit.
    Xor,
    /// Integers, wrapping.
    IAdd,
    /// Integers, wrapping.
    ISub,
    /// Integers: left shift; the count is taken modulo the width.
    Shl,
    /// Integers: logical right shift; the count is taken modulo the width.
    Shr,
    /// Integers: arithmetic right shift; the count is taken modulo the width.
    Sar,
}

/// Comparisons. With a NaN only `Ne` holds.
pub use crate::syntax::ast::CompareOp as Compare;

/// A pure operation: equal operands, equal bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Op {
    Const(Const),
    Unary(Unary, Value),
    Binary(Binary, Value, Value),
    /// Float: `a*b + c` with one rounding.
    Fma(Value, Value, Value),
    /// Floats of one type, or signed integers of one type; the result is Bool.
    Compare(Compare, Value, Value),
    /// The second operand where the first (Bool) holds, else the third. Both are of one type, any.
    Select(Value, Value, Value),
    /// The same bits as another type of equal width: f32 and i32, f64 and i64.
    Bitcast(Type, Value),
    /// A float to the signed integer of its own width (f32 to i32, f64 to i64), towards zero; saturating; NaN is 0.
    ToInt(Value),
    /// A signed integer to the float of its own width, to nearest even.
    ToFloat(Value),
    /// A float as an array of that storage type would give it back: rounded once, to nearest even, and still of its own
    /// type. What is too large becomes an infinity, a NaN stays one.
    Narrow(Storage, Value),
}

impl Op {
    /// Calls `f` with each operand, in order.
    pub fn for_each_operand(self, mut f: impl FnMut(Value)) {
        self.map_operands(|v| {
            f(v);
            v
        });
    }

    /// The same operation on other operands.
    pub fn map_operands(self, mut f: impl FnMut(Value) -> Value) -> Op {
        match self {
            Op::Const(c) => Op::Const(c),
            Op::Unary(op, a) => Op::Unary(op, f(a)),
            Op::Binary(op, a, b) => {
                let a = f(a);
                Op::Binary(op, a, f(b))
            }
            Op::Fma(a, b, c) => {
                let (a, b) = (f(a), f(b));
                Op::Fma(a, b, f(c))
            }
            Op::Compare(op, a, b) => {
                let a = f(a);
                Op::Compare(op, a, f(b))
            }
            Op::Select(c, a, b) => {
                let (c, a) = (f(c), f(a));
                Op::Select(c, a, f(b))
            }
            Op::Bitcast(ty, a) => Op::Bitcast(ty, f(a)),
            Op::ToInt(a) => Op::ToInt(f(a)),
            Op::ToFloat(a) => Op::ToFloat(f(a)),
            Op::Narrow(storage, a) => Op::Narrow(storage, f(a)),
        }
    }
}
