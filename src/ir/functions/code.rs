//! What writes operations of one compute type, and the small computations that the functions share.

use crate::ir::op::{Binary, Compare, Const, Op, Type, Unary, Value};

/// Appends operations of one compute type.
pub(super) struct Code<'b> {
    pub append: &'b mut dyn FnMut(Op) -> Value,
    pub ty: Type,
}

/// The sum of the two.
pub(super) type Pair = (Value, Value);

/// What differs between f32 and f64.
pub(super) struct Format {
    /// Bits of the significand that are stored.
    pub digits: i64,
    /// What is added to exponents.
    pub bias: i64,
    /// Bits of the whole.
    pub width: i64,
}

/// A polynomial, whose degree is what the type needs.
pub(super) struct Polynomial {
    pub f32: &'static [f32],
    pub f64: &'static [f64],
}

/// 2^n, for exponents of normal numbers.
pub(super) fn power_of_two(n: i64) -> f64 {
    f64::from_bits(((n + 1023) as u64) << 52)
}

impl Code<'_> {
    // Sums with their rounding errors.

    /// a + b, exactly.
    pub(super) fn sum(&mut self, a: Value, b: Value) -> Pair {
        let sum = self.add(a, b);
        let b_part = self.sub(sum, a);
        let a_part = self.sub(sum, b_part);
        let a_error = self.sub(a, a_part);
        let b_error = self.sub(b, b_part);
        (sum, self.add(a_error, b_error))
    }

    /// a + b, exactly if a is zero or not less than b in magnitude.
    pub(super) fn sum_of_greater_and_lesser(&mut self, a: Value, b: Value) -> Pair {
        let sum = self.add(a, b);
        let b_part = self.sub(sum, a);
        (sum, self.sub(b, b_part))
    }

    /// a * b, exactly.
    pub(super) fn product(&mut self, a: Value, b: Value) -> Pair {
        let product = self.mul(a, b);
        let minus = self.unary(Unary::Neg, product);
        (product, self.fma(a, b, minus))
    }

    /// a / b, and about what is missing. Of both the second is in the order of the rounding error of the first.
    pub(super) fn quotient(&mut self, a: Pair, b: Pair) -> Pair {
        let one = self.float(1.0);
        let inverse = self.div(one, b.0);
        let quotient = self.mul(a.0, inverse);
        let minus = self.unary(Unary::Neg, quotient);
        let rest = self.fma(minus, b.0, a.0);
        let rest = self.fma(minus, b.1, rest);
        let rest = self.add(rest, a.1);
        (quotient, self.mul(rest, inverse))
    }

    /// The polynomial at x.
    pub(super) fn polynomial(&mut self, polynomial: &Polynomial, x: Value) -> Value {
        let coefficients: Vec<f64> = match self.ty {
            Type::F32 => polynomial.f32.iter().map(|&c| f64::from(c)).collect(),
            _ => polynomial.f64.to_vec(),
        };
        let mut result = None;
        for c in coefficients.into_iter().rev() {
            let c = self.float(c);
            result = Some(result.map_or(c, |result| self.fma(result, x, c)));
        }
        result.unwrap_or(x)
    }

    // Between floats and integers.

    /// A whole float, far smaller than the type could hold, as an integer: by its bits, since not every machine can
    /// convert vectors of 64 bits.
    pub(super) fn small_to_int(&mut self, x: Value) -> Value {
        let (base, base_bits) = self.base_of_wholes();
        let sum = self.add(x, base);
        let bits = self.bits_of(sum);
        self.integer(Binary::ISub, bits, base_bits)
    }

    /// The reverse.
    pub(super) fn int_to_small(&mut self, x: Value) -> Value {
        let (base, base_bits) = self.base_of_wholes();
        let bits = self.integer(Binary::IAdd, x, base_bits);
        let sum = self.float_of_bits(bits);
        self.sub(sum, base)
    }

    /// A number around which the unit of the last place is 1, and its bits.
    pub(super) fn base_of_wholes(&mut self) -> (Value, Value) {
        let Format { digits, bias, .. } = self.format();
        let base = self.float(1.5 * power_of_two(digits));
        let bits = self.int((bias + digits) << digits | 1 << (digits - 1));
        (base, bits)
    }

    /// Whether an integer has this bit set.
    pub(super) fn has_bit(&mut self, x: Value, bit: i64) -> Value {
        let bit = self.int(bit);
        let zero = self.int(0);
        let bit = self.int_and(x, bit);
        self.compare(Compare::Ne, bit, zero)
    }

    pub(super) fn sign_mask(&mut self) -> Value {
        self.int(if self.ty == Type::F32 { i64::from(i32::MIN) } else { i64::MIN })
    }

    /// The float with these bits flipped.
    pub(super) fn flip(&mut self, x: Value, flip: Value) -> Value {
        let bits = self.bits_of(x);
        let bits = self.integer(Binary::Xor, bits, flip);
        self.float_of_bits(bits)
    }

    /// The sign bit of x, and no other.
    pub(super) fn sign_of(&mut self, x: Value) -> Value {
        let bits = self.bits_of(x);
        let sign = self.sign_mask();
        self.int_and(bits, sign)
    }

    /// 2^k for an integer k, where that is a normal number.
    pub(super) fn power_of_two(&mut self, k: Value) -> Value {
        let Format { digits, bias, .. } = self.format();
        let (digits, bias) = (self.int(digits), self.int(bias));
        let exponent = self.integer(Binary::IAdd, k, bias);
        let bits = self.integer(Binary::Shl, exponent, digits);
        self.float_of_bits(bits)
    }

    pub(super) fn bits_of(&mut self, x: Value) -> Value {
        let int = if self.ty == Type::F32 { Type::I32 } else { Type::I64 };
        (self.append)(Op::Bitcast(int, x))
    }

    pub(super) fn float_of_bits(&mut self, x: Value) -> Value {
        (self.append)(Op::Bitcast(self.ty, x))
    }

    // Single operations.

    pub(super) fn format(&self) -> Format {
        match self.ty {
            Type::F32 => Format { digits: 23, bias: 127, width: 32 },
            _ => Format { digits: 52, bias: 1023, width: 64 },
        }
    }

    /// A constant, rounded to the type.
    pub(super) fn float(&mut self, x: f64) -> Value {
        let c = if self.ty == Type::F32 { Const::f32(x as f32) } else { Const::f64(x) };
        (self.append)(Op::Const(c))
    }

    /// A constant that differs between the types.
    pub(super) fn float_by_type(&mut self, f32: f32, f64: f64) -> Value {
        self.float(if self.ty == Type::F32 { f32.into() } else { f64 })
    }

    /// A constant of the integer type of equal width, in which it fits.
    pub(super) fn int(&mut self, x: i64) -> Value {
        let c = if self.ty == Type::F32 { Const::I32(x as i32) } else { Const::I64(x) };
        (self.append)(Op::Const(c))
    }

    pub(super) fn unary(&mut self, op: Unary, x: Value) -> Value {
        (self.append)(Op::Unary(op, x))
    }

    pub(super) fn add(&mut self, a: Value, b: Value) -> Value {
        (self.append)(Op::Binary(Binary::Add, a, b))
    }

    pub(super) fn sub(&mut self, a: Value, b: Value) -> Value {
        (self.append)(Op::Binary(Binary::Sub, a, b))
    }

    pub(super) fn mul(&mut self, a: Value, b: Value) -> Value {
        (self.append)(Op::Binary(Binary::Mul, a, b))
    }

    pub(super) fn div(&mut self, a: Value, b: Value) -> Value {
        (self.append)(Op::Binary(Binary::Div, a, b))
    }

    pub(super) fn fma(&mut self, a: Value, b: Value, c: Value) -> Value {
        (self.append)(Op::Fma(a, b, c))
    }

    pub(super) fn min(&mut self, a: Value, b: Value) -> Value {
        (self.append)(Op::Binary(Binary::Min, a, b))
    }

    pub(super) fn max(&mut self, a: Value, b: Value) -> Value {
        (self.append)(Op::Binary(Binary::Max, a, b))
    }

    /// Of two conditions.
    pub(super) fn or(&mut self, a: Value, b: Value) -> Value {
        (self.append)(Op::Binary(Binary::Or, a, b))
    }

    /// Of two conditions.
    pub(super) fn and(&mut self, a: Value, b: Value) -> Value {
        (self.append)(Op::Binary(Binary::And, a, b))
    }

    pub(super) fn int_and(&mut self, a: Value, b: Value) -> Value {
        (self.append)(Op::Binary(Binary::And, a, b))
    }

    pub(super) fn integer(&mut self, op: Binary, a: Value, b: Value) -> Value {
        (self.append)(Op::Binary(op, a, b))
    }

    pub(super) fn compare(&mut self, op: Compare, a: Value, b: Value) -> Value {
        (self.append)(Op::Compare(op, a, b))
    }

    pub(super) fn select(&mut self, c: Value, a: Value, b: Value) -> Value {
        (self.append)(Op::Select(c, a, b))
    }
}
