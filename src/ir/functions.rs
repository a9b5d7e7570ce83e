//! Functions of elements that no instruction computes, as operations of the IR.
//!
//! Comes in: a value of a compute type, f32 or f64, and where to append operations. Goes out: the value of the function.
//!
//! What is guaranteed: every engine gives the same bits, for they are the bits of these [`Op`]s. There is no branch, call
//! or table in them, and only operations that kernels have. The error is below 1 unit in the last place in f32 and below
//! 2 in f64, over all inputs, subnormal ones and results included. NaN, infinities and signed zeros are as C has them.
//!
//! What it does not do: it is not rounded correctly in all cases, and not equal to the `libm` of scalar code. It does
//! not look for operations that it has appended before; a later pass shares them.
//!
//! A number that needs more precision than its type has is a [`Pair`]: an unevaluated sum of two, the second of which is
//! in the order of the rounding error of the first. Polynomials are in the powers from 0 up; they interpolate the
//! function at the Chebyshev nodes of the interval that is named, which is near to the best.

use super::op::{Binary, Compare, Const, Op, Type, Unary, Value};

/// Appends operations of one compute type.
struct Code<'b> {
    append: &'b mut dyn FnMut(Op) -> Value,
    ty: Type,
}

/// The sum of the two.
type Pair = (Value, Value);

/// What differs between f32 and f64.
struct Format {
    /// Bits of the significand that are stored.
    digits: i64,
    /// What is added to exponents.
    bias: i64,
    /// Bits of the whole.
    width: i64,
}

/// The bits of 2/pi, from the digit of value 2^24 on.
const TWO_OVER_PI_32: [u32; 7] = [0x51, 0x7cc1_b727, 0x220a_94fe, 0x13ab_e8fa, 0x9a6e_e06d, 0xb14a_cc9e, 0x21c8_20ff];

/// The bits of 2/pi, from the digit of value 2^53 on.
const TWO_OVER_PI_64: [u64; 20] = [
    0x28b,
    0xe60d_b939_1054_a7f0,
    0x9d5f_47d4_d377_036d,
    0x8a56_64f1_0e41_07f9,
    0x458e_af7a_ef15_86dc,
    0x91b8_e909_374b_8019,
    0x24bb_a827_4648_73f8,
    0x77ac_72c4_a69c_fba2,
    0x08d7_d4ba_ed12_13a6,
    0x71c0_9ad1_7df9_04e6,
    0x4758_e60d_4ce7_d272,
    0x117e_2ef7_e4a0_ec7f,
    0xe25f_ff78_1660_3fbc,
    0xbc46_2d68_29b4_7db4,
    0xd9fb_3c9f_2c26_dd3d,
    0x18fd_9a79_7fa8_b5d4,
    0x9eeb_1faf_97c5_ecf4,
    0x1ce7_de29_4a4b_a9af,
    0xed7e_c47e_3574_2158,
    0x0cc1_1bf1_edae_afc3,
];

/// A polynomial, whose degree is what the type needs.
struct Polynomial {
    f32: &'static [f32],
    f64: &'static [f64],
}

/// (2 atanh(s) / s - 2) / s^2 of s^2, for |s| up to (sqrt(2) - 1) / (sqrt(2) + 1).
const ATANH: Polynomial = Polynomial {
    f32: &[0.6666667, 0.40000123, 0.2855078, 0.23331614],
    f64: &[
        0.6666666666666666,
        0.40000000000000885,
        0.28571428570799784,
        0.22222222392581045,
        0.18181795547521137,
        0.15386244737621665,
        0.13268638369266825,
        0.13088034850927555,
    ],
};

/// (sin(x) / x - 1) / x^2 of x^2, for |x| up to pi/4.
const SIN: Polynomial = Polynomial {
    f32: &[-0.16666667, 0.008333332, -0.00019840087, 2.7249926e-06],
    f64: &[
        -0.16666666666666666,
        0.008333333333333331,
        -0.00019841269841265065,
        2.755731921933912e-06,
        -2.505210623243192e-08,
        1.6058531616504608e-10,
        -7.586696971425154e-13,
    ],
};

/// (cos(x) - 1 + x^2/2) / x^4 of x^2, for |x| up to pi/4.
const COS: Polynomial = Polynomial {
    f32: &[0.041666664, -0.0013888302, 2.4547942e-05],
    f64: &[
        0.041666666666666664,
        -0.0013888888888888887,
        2.4801587301584645e-05,
        -2.75573192214028e-07,
        2.087675579107172e-09,
        -1.1470460886230275e-11,
        4.74587182071329e-14,
    ],
};

/// The natural logarithm.
pub(super) fn log(append: &mut dyn FnMut(Op) -> Value, ty: Type, x: Value) -> Value {
    let mut code = Code { append, ty };
    let code = &mut code;
    // log(2^k m) = k log(2) + 2 atanh(s), where s is (m - 1) / (m + 1).
    let (m, k) = code.split_at_root_half(x);
    let one = code.float(1.0);
    let f = code.sub(m, one);
    let two = code.float(2.0);
    let denominator = code.add(f, two);
    let s = code.div(f, denominator);
    let z = code.mul(s, s);
    let rest = code.polynomial(&ATANH, z);
    let rest = code.mul(z, rest);
    // 2s is f - s f, and s f is f^2/2 - s f^2/2: all but the leading f is small, so that its rounding is.
    let half = code.float(0.5);
    let half_square = code.mul(half, f);
    let half_square = code.mul(half_square, f);
    let factor = code.add(half_square, rest);
    let (log2_high, log2_low) = code.log2();
    let high = code.mul(k, log2_high);
    let low = code.mul(k, log2_low);
    let small = code.fma(s, factor, low);
    let small = code.sub(small, half_square);
    let (sum, error) = code.sum_of_greater_and_lesser(high, f);
    let small = code.add(error, small);
    let result = code.add(sum, small);
    // Where x is not finite and positive.
    let zero = code.float(0.0);
    let infinity = code.float(f64::INFINITY);
    let minus_infinity = code.float(f64::NEG_INFINITY);
    let nan = code.float(f64::NAN);
    let positive = code.compare(Compare::Gt, x, zero);
    let finite = code.compare(Compare::Lt, x, infinity);
    let regular = code.and(positive, finite);
    let is_zero = code.compare(Compare::Eq, x, zero);
    let negative = code.compare(Compare::Lt, x, zero);
    let special = code.select(negative, nan, x);
    let special = code.select(is_zero, minus_infinity, special);
    code.select(regular, result, special)
}

/// The sine; -0 of -0, NaN of infinities.
pub(super) fn sin(append: &mut dyn FnMut(Op) -> Value, ty: Type, x: Value) -> Value {
    let mut code = Code { append, ty };
    let code = &mut code;
    let size = code.unary(Unary::Abs, x);
    let (quadrant, r) = code.reduce(size);
    let (sin, cos) = code.sin_and_cos(r);
    let odd = code.has_bit(quadrant, 1);
    let result = code.select(odd, cos, sin);
    // The sine of a positive number of quadrants, with the sign of x.
    let flip = code.sign_from_bit_1(quadrant);
    let bits = code.bits(x);
    let sign = code.sign_mask();
    let sign = code.int_and(bits, sign);
    let flip = code.integer(Binary::Xor, flip, sign);
    let result = code.flip(result, flip);
    code.nan_unless_finite(size, result)
}

/// The cosine; NaN of infinities.
pub(super) fn cos(append: &mut dyn FnMut(Op) -> Value, ty: Type, x: Value) -> Value {
    let mut code = Code { append, ty };
    let code = &mut code;
    let size = code.unary(Unary::Abs, x);
    let (quadrant, r) = code.reduce(size);
    let result = code.cos_in_quadrant(quadrant, r);
    code.nan_unless_finite(size, result)
}

/// The cosine of `x` turns, cos(2 pi x), for |x| up to 1000. It is a third of the operations of [`cos`].
pub(super) fn cos_turns(append: &mut dyn FnMut(Op) -> Value, ty: Type, x: Value) -> Value {
    let mut code = Code { append, ty };
    let code = &mut code;
    let four = code.float(4.0);
    let quadrants = code.mul(x, four);
    let whole = code.unary(Unary::Round, quadrants);
    let part = code.sub(quadrants, whole);
    let zero = code.float(0.0);
    let r = code.quadrants_to_radians((part, zero));
    let whole = code.small_to_int(whole);
    code.cos_in_quadrant(whole, r)
}

// What the functions share. --------------------------------------------------------------------------------------------

impl Code<'_> {
    /// x = 2^k m, where m is from sqrt(1/2) to sqrt(2); both are floats, k whole. For a positive finite x.
    fn split_at_root_half(&mut self, x: Value) -> (Value, Value) {
        let (x, lift) = self.lift_subnormal(x);
        let bits = self.bits(x);
        let root = self.int(if self.ty == Type::F32 { 0x3f35_04f3 } else { 0x3fe6_a09e_667f_3bcd });
        let above = self.integer(Binary::ISub, bits, root);
        let digits = self.int(self.format().digits);
        let k = self.integer(Binary::Sar, above, digits);
        let exponent = self.integer(Binary::Shl, k, digits);
        let m = self.integer(Binary::ISub, bits, exponent);
        let m = self.from_bits(m);
        let k = self.int_to_small(k);
        (m, self.sub(k, lift))
    }

    /// A normal number instead of a subnormal one, and the exponent of the power of two that it was multiplied by.
    fn lift_subnormal(&mut self, x: Value) -> (Value, Value) {
        let Format { digits, bias, .. } = self.format();
        let least = self.float(2f64.powi(1 - bias as i32));
        let tiny = self.compare(Compare::Lt, x, least);
        let factor = self.float(2f64.powi(digits as i32 + 1));
        let lifted = self.mul(x, factor);
        let lift = self.float((digits + 1) as f64);
        let zero = self.float(0.0);
        (self.select(tiny, lifted, x), self.select(tiny, lift, zero))
    }

    /// The angle `size`, not negative, as quadrants (an integer, of which the lowest two bits are right) and the rest in
    /// radians, at most slightly over pi/4 in magnitude. The rest has more than the precision of the type for every
    /// finite angle. This is the method of Payne and Hanek.
    fn reduce(&mut self, size: Value) -> (Value, Pair) {
        let digits = self.format().digits as usize;
        // size = n 2^(e - digits) with a whole n below 2^(digits + 1), and n * 2/pi * 2^(e - digits) is wanted modulo 4:
        // digits of 2/pi that only contribute multiples of 4 are left out.
        let (n, exponent) = self.whole_significand(size);
        let chunks = self.two_over_pi(exponent);
        // Exact products: high[i] + low[i] is n * chunks[i]. The last need not be exact.
        let high = chunks.map(|chunk| self.mul(n, chunk));
        let low = [0, 1, 2].map(|i| {
            let minus = self.unary(Unary::Neg, high[i]);
            self.fma(n, chunks[i], minus)
        });
        // Whole numbers of quadrants go to `whole` by and by. The first product may be as great as 2^(digits + 3), but
        // high[0] and low[0] are multiples of 2^(2 - digits), so that all that follows down to `sum` is exact.
        let four = self.float(4.0);
        let quarter = self.float(0.25);
        let turns = self.mul(high[0], quarter);
        let turns = self.unary(Unary::Round, turns);
        let turns = self.mul(turns, four);
        let first = self.sub(high[0], turns);
        let (whole, first) = self.whole_and_rest(first);
        let first = self.add(first, low[0]);
        let (more, first) = self.whole_and_rest(first);
        let whole = self.add(whole, more);
        let (more, second) = self.whole_and_rest(high[1]);
        let whole = self.add(whole, more);
        let (sum, error) = self.sum(first, second);
        let (more, sum) = self.whole_and_rest(sum);
        let whole = self.add(whole, more);
        // Here the greater parts may cancel, hence sums with their errors.
        let (sum, error) = self.sum(sum, error);
        let (third, third_error) = self.sum(low[1], high[2]);
        let (sum, sum_error) = self.sum(sum, third);
        let last = self.add(low[2], high[3]);
        let last = self.add(third_error, last);
        let last = self.add(sum_error, last);
        let last = self.add(error, last);
        let part = self.sum(sum, last);
        let (high, low) = self.quadrants_to_radians(part);
        // An angle in the first half of the first quadrant is its own rest, however small it is.
        let bound = self.float(std::f64::consts::FRAC_PI_4);
        let small = self.compare(Compare::Le, size, bound);
        let zero = self.float(0.0);
        let whole = self.select(small, zero, whole);
        let high = self.select(small, size, high);
        let low = self.select(small, zero, low);
        debug_assert!(digits == 23 || digits == 52);
        (self.small_to_int(whole), (high, low))
    }

    /// `size` = n 2^(e - digits): n and e, at least 0, which is an integer. n is whole where size is at least 1/2.
    fn whole_significand(&mut self, size: Value) -> (Value, Value) {
        let Format { digits, bias, .. } = self.format();
        let bits = self.bits(size);
        let (digits_value, bias_value) = (self.int(digits), self.int(bias));
        let exponent = self.integer(Binary::Shr, bits, digits_value);
        let exponent = self.integer(Binary::ISub, exponent, bias_value);
        let zero = self.int(0);
        let negative = self.compare(Compare::Lt, exponent, zero);
        let exponent = self.select(negative, zero, exponent);
        let unit = self.int(bias + digits);
        let scale = self.integer(Binary::ISub, unit, exponent);
        let scale = self.integer(Binary::Shl, scale, digits_value);
        let scale = self.from_bits(scale);
        (self.mul(size, scale), exponent)
    }

    /// 2/pi * 2^(e - digits) modulo 4, for e from 0 to the greatest exponent, as four numbers to be added, each of
    /// `digits` bits that follow on those of the one before.
    fn two_over_pi(&mut self, exponent: Value) -> [Value; 4] {
        let Format { digits, bias, width } = self.format();
        let mut words: Vec<Value> = match self.ty {
            Type::F32 => TWO_OVER_PI_32.iter().map(|&word| self.int(i64::from(word as i32))).collect(),
            _ => TWO_OVER_PI_64.iter().map(|&word| self.int(word as i64)).collect(),
        };
        // The window begins at bit e. First whole words, by halving: `kept` words are needed in the end.
        let kept = (4 * digits - 1) / width + 2;
        let mut step = (bias + 1) / width;
        while step > 1 {
            step /= 2;
            let set = self.has_bit(exponent, step * width);
            words =
                (0..(kept + step - 1) as usize).map(|i| self.select(set, words[i + step as usize], words[i])).collect();
        }
        // Then bits: the lower ones of a word and the higher ones of the next, which are shifted in two parts, since
        // the count of a shift is less than the width.
        let mask = self.int(width - 1);
        let count = self.int_and(exponent, mask);
        let rest = self.integer(Binary::Xor, count, mask);
        let one = self.int(1);
        let words: Vec<Value> = (0..(kept - 1) as usize)
            .map(|i| {
                let upper = self.integer(Binary::Shl, words[i], count);
                let lower = self.integer(Binary::Shr, words[i + 1], one);
                let lower = self.integer(Binary::Shr, lower, rest);
                self.integer(Binary::Or, upper, lower)
            })
            .collect();
        [0, 1, 2, 3].map(|i| {
            let (word, offset) = ((i * digits / width) as usize, i * digits % width);
            let shift = self.int(offset);
            let mut bits = self.integer(Binary::Shl, words[word], shift);
            if offset + digits > width {
                let shift = self.int(width - offset);
                let lower = self.integer(Binary::Shr, words[word + 1], shift);
                bits = self.integer(Binary::Or, bits, lower);
            }
            // As the digits of a number from 1 to 2, from which the 1 is taken.
            let shift = self.int(width - digits);
            let bits = self.integer(Binary::Shr, bits, shift);
            let one = self.int(bias << digits);
            let number = self.integer(Binary::Or, bits, one);
            let number = self.from_bits(number);
            let one = self.float(1.0);
            let number = self.sub(number, one);
            let scale = self.float(2f64.powi((2 - i * digits) as i32));
            self.mul(number, scale)
        })
    }

    /// Times pi/2.
    fn quadrants_to_radians(&mut self, (high, low): Pair) -> Pair {
        let (factor_high, factor_low) = match self.ty {
            Type::F32 => (f64::from(std::f32::consts::FRAC_PI_2), f64::from(-4.371139e-8f32)),
            _ => (std::f64::consts::FRAC_PI_2, 6.123233995736766e-17),
        };
        let (factor_high, factor_low) = (self.float(factor_high), self.float(factor_low));
        let product = self.mul(high, factor_high);
        let minus = self.unary(Unary::Neg, product);
        let error = self.fma(high, factor_high, minus);
        let cross = self.mul(high, factor_low);
        let cross = self.fma(low, factor_high, cross);
        (product, self.add(error, cross))
    }

    /// The sine and the cosine of at most about pi/4.
    fn sin_and_cos(&mut self, (x, low): Pair) -> (Value, Value) {
        let one = self.float(1.0);
        let half = self.float(0.5);
        let square = self.mul(x, x);
        let half_square = self.mul(square, half);
        let near_cos = self.sub(one, half_square);
        // sin(x + low) is x + x^3 p + low cos(x).
        let p = self.polynomial(&SIN, square);
        let cube = self.mul(square, x);
        let small = self.mul(low, near_cos);
        let small = self.fma(cube, p, small);
        let sin = self.add(x, small);
        // cos(x + low) is 1 - x^2/2 + x^4 p - low sin(x), and near_cos has an error that is known.
        let p = self.polynomial(&COS, square);
        let fourth = self.mul(square, square);
        let small = self.mul(fourth, p);
        let minus = self.unary(Unary::Neg, low);
        let small = self.fma(minus, x, small);
        let error = self.sub(one, near_cos);
        let error = self.sub(error, half_square);
        let small = self.add(error, small);
        (sin, self.add(near_cos, small))
    }

    /// The cosine of so many quadrants and a rest.
    fn cos_in_quadrant(&mut self, quadrant: Value, r: Pair) -> Value {
        let (sin, cos) = self.sin_and_cos(r);
        let odd = self.has_bit(quadrant, 1);
        let result = self.select(odd, sin, cos);
        let one = self.int(1);
        let next = self.integer(Binary::IAdd, quadrant, one);
        let flip = self.sign_from_bit_1(next);
        self.flip(result, flip)
    }

    /// The sign bit, if the bit of value 2 is set.
    fn sign_from_bit_1(&mut self, quadrant: Value) -> Value {
        let shift = self.int(self.format().width - 2);
        let bits = self.integer(Binary::Shl, quadrant, shift);
        let sign = self.sign_mask();
        self.int_and(bits, sign)
    }

    /// `result`, but NaN where `size` is infinite or NaN.
    fn nan_unless_finite(&mut self, size: Value, result: Value) -> Value {
        let infinity = self.float(f64::INFINITY);
        let nan = self.float(f64::NAN);
        let finite = self.compare(Compare::Lt, size, infinity);
        self.select(finite, result, nan)
    }

    /// The nearest whole number and what is left.
    fn whole_and_rest(&mut self, x: Value) -> (Value, Value) {
        let whole = self.unary(Unary::Round, x);
        (whole, self.sub(x, whole))
    }

    /// log(2) as a number of so few digits that its product with an exponent is exact, and the rest.
    fn log2(&mut self) -> Pair {
        let (high, low) = match self.ty {
            Type::F32 => (0.693145751953125, f64::from(1.4286068e-6f32)),
            _ => (0.6931471805598903, 5.497923018708371e-14),
        };
        (self.float(high), self.float(low))
    }

    // Sums with their rounding errors.

    /// a + b, exactly.
    fn sum(&mut self, a: Value, b: Value) -> Pair {
        let sum = self.add(a, b);
        let b_part = self.sub(sum, a);
        let a_part = self.sub(sum, b_part);
        let a_error = self.sub(a, a_part);
        let b_error = self.sub(b, b_part);
        (sum, self.add(a_error, b_error))
    }

    /// a + b, exactly if a is zero or not less than b in magnitude.
    fn sum_of_greater_and_lesser(&mut self, a: Value, b: Value) -> Pair {
        let sum = self.add(a, b);
        let b_part = self.sub(sum, a);
        (sum, self.sub(b, b_part))
    }

    /// The polynomial at x.
    fn polynomial(&mut self, polynomial: &Polynomial, x: Value) -> Value {
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
    fn small_to_int(&mut self, x: Value) -> Value {
        let (base, base_bits) = self.base_of_wholes();
        let sum = self.add(x, base);
        let bits = self.bits(sum);
        self.integer(Binary::ISub, bits, base_bits)
    }

    /// The reverse.
    fn int_to_small(&mut self, x: Value) -> Value {
        let (base, base_bits) = self.base_of_wholes();
        let bits = self.integer(Binary::IAdd, x, base_bits);
        let sum = self.from_bits(bits);
        self.sub(sum, base)
    }

    /// A number around which the unit of the last place is 1, and its bits.
    fn base_of_wholes(&mut self) -> (Value, Value) {
        let Format { digits, bias, .. } = self.format();
        let base = self.float(1.5 * 2f64.powi(digits as i32));
        let bits = self.int((bias + digits) << digits | 1 << (digits - 1));
        (base, bits)
    }

    /// Whether an integer has this bit set.
    fn has_bit(&mut self, x: Value, bit: i64) -> Value {
        let bit = self.int(bit);
        let zero = self.int(0);
        let bit = self.int_and(x, bit);
        self.compare(Compare::Ne, bit, zero)
    }

    fn sign_mask(&mut self) -> Value {
        self.int(if self.ty == Type::F32 { i64::from(i32::MIN) } else { i64::MIN })
    }

    /// The float with these bits flipped.
    fn flip(&mut self, x: Value, flip: Value) -> Value {
        let bits = self.bits(x);
        let bits = self.integer(Binary::Xor, bits, flip);
        self.from_bits(bits)
    }

    fn bits(&mut self, x: Value) -> Value {
        let int = if self.ty == Type::F32 { Type::I32 } else { Type::I64 };
        (self.append)(Op::Bitcast(int, x))
    }

    fn from_bits(&mut self, x: Value) -> Value {
        (self.append)(Op::Bitcast(self.ty, x))
    }

    // Single operations.

    fn format(&self) -> Format {
        match self.ty {
            Type::F32 => Format { digits: 23, bias: 127, width: 32 },
            _ => Format { digits: 52, bias: 1023, width: 64 },
        }
    }

    /// A constant, rounded to the type.
    fn float(&mut self, x: f64) -> Value {
        let c = if self.ty == Type::F32 { Const::f32(x as f32) } else { Const::f64(x) };
        (self.append)(Op::Const(c))
    }

    /// A constant of the integer type of equal width, in which it fits.
    fn int(&mut self, x: i64) -> Value {
        let c = if self.ty == Type::F32 { Const::I32(x as i32) } else { Const::I64(x) };
        (self.append)(Op::Const(c))
    }

    fn unary(&mut self, op: Unary, x: Value) -> Value {
        (self.append)(Op::Unary(op, x))
    }

    fn add(&mut self, a: Value, b: Value) -> Value {
        (self.append)(Op::Binary(Binary::Add, a, b))
    }

    fn sub(&mut self, a: Value, b: Value) -> Value {
        (self.append)(Op::Binary(Binary::Sub, a, b))
    }

    fn mul(&mut self, a: Value, b: Value) -> Value {
        (self.append)(Op::Binary(Binary::Mul, a, b))
    }

    fn div(&mut self, a: Value, b: Value) -> Value {
        (self.append)(Op::Binary(Binary::Div, a, b))
    }

    fn fma(&mut self, a: Value, b: Value, c: Value) -> Value {
        (self.append)(Op::Fma(a, b, c))
    }

    /// Of two conditions.
    fn and(&mut self, a: Value, b: Value) -> Value {
        (self.append)(Op::Binary(Binary::And, a, b))
    }

    fn int_and(&mut self, a: Value, b: Value) -> Value {
        (self.append)(Op::Binary(Binary::And, a, b))
    }

    fn integer(&mut self, op: Binary, a: Value, b: Value) -> Value {
        (self.append)(Op::Binary(op, a, b))
    }

    fn compare(&mut self, op: Compare, a: Value, b: Value) -> Value {
        (self.append)(Op::Compare(op, a, b))
    }

    fn select(&mut self, c: Value, a: Value, b: Value) -> Value {
        (self.append)(Op::Select(c, a, b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::eval::{Column, apply};

    /// A function of one operand, as it is appended.
    type Function = fn(&mut dyn FnMut(Op) -> Value, Type, Value) -> Value;

    /// Runs what `build` appends. The operands are columns of equal length.
    fn run(build: impl Fn(&mut dyn FnMut(Op) -> Value) -> Value, operands: &[Column]) -> Column {
        let first = operands.len();
        let mut ops = Vec::new();
        let result = build(&mut |op| {
            op.for_each_operand(|v| assert!(v.index() < first + ops.len(), "{op:?} reads ahead"));
            assert!(
                !matches!(op, Op::Unary(Unary::Math(_), _) | Op::Binary(Binary::Rem | Binary::Pow, ..)),
                "{op:?} is not for kernels"
            );
            ops.push(op);
            Value((first + ops.len() - 1) as u32)
        });
        let mut columns = operands.to_vec();
        for op in ops {
            let mut out = Column::default();
            apply(op, operands[0].len(), |v| &columns[v.index()], &mut out);
            columns.push(out);
        }
        columns.swap_remove(result.index())
    }

    fn run_f32(function: Function, x: Vec<f32>) -> Vec<f32> {
        match run(|append| function(append, Type::F32, Value(0)), &[Column::F32(x)]) {
            Column::F32(y) => y,
            other => panic!("{other:?}"),
        }
    }

    fn run_f64(function: Function, x: Vec<f64>) -> Vec<f64> {
        match run(|append| function(append, Type::F64, Value(0)), &[Column::F64(x)]) {
            Column::F64(y) => y,
            other => panic!("{other:?}"),
        }
    }

    /// The distance from what is exact up to far beyond f32, in units of the last place of f32. Infinite if they do not
    /// agree about NaN, or in sign.
    fn units_f32(found: f32, exact: f64) -> f64 {
        if found.is_nan() || exact.is_nan() {
            return if found.is_nan() && exact.is_nan() { 0.0 } else { f64::INFINITY };
        }
        if found.is_sign_negative() != exact.is_sign_negative() {
            return f64::INFINITY;
        }
        if found.to_bits() == (exact as f32).to_bits() && (found.is_infinite() || found == 0.0) {
            return 0.0;
        }
        // The binade of the exact value, or of the least normal number; the unit of 2^128 is that of those below.
        let exponent = ((exact.to_bits() >> 52 & 0x7ff) as i32 - 1023).clamp(-126, 127);
        let found = if found.is_infinite() { 2f64.powi(128).copysign(exact) } else { found.into() };
        (found - exact).abs() / 2f64.powi(exponent - 23)
    }

    /// How many floats lie between the two, and one more; infinite if they do not agree about NaN, or in sign.
    fn steps_f64(found: f64, expected: f64) -> f64 {
        if found.is_nan() || expected.is_nan() {
            return if found.is_nan() && expected.is_nan() { 0.0 } else { f64::INFINITY };
        }
        if found.is_sign_negative() != expected.is_sign_negative() {
            return f64::INFINITY;
        }
        found.to_bits().abs_diff(expected.to_bits()) as f64
    }

    /// The greatest error over every `stride`th f32, and where it is.
    fn worst_f32(function: Function, exact: fn(f64) -> f64, stride: u64) -> (f64, f32) {
        let mut worst = (0.0, 0.0);
        let mut next = 0;
        while next < 1 << 32 {
            let x: Vec<f32> = (0..4096)
                .map(|i| next + i * stride)
                .filter(|&x| x < 1 << 32)
                .map(|x| f32::from_bits(x as u32))
                .collect();
            next += 4096 * stride;
            for (&y, &x) in run_f32(function, x.clone()).iter().zip(&x) {
                let units = units_f32(y, exact(x.into()));
                if units > worst.0 {
                    worst = (units, x);
                }
            }
        }
        worst
    }

    /// SplitMix64: bits for tests.
    fn random_bits(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Any f64s, and as many again with exponents near to that of 1.
    fn sample_f64(count: usize) -> Vec<f64> {
        let mut state = 1;
        (0..2 * count)
            .map(|i| {
                let bits = random_bits(&mut state);
                let near = 1016 + (bits >> 52) % 16;
                f64::from_bits(if i % 2 == 0 { bits } else { bits & (1 << 63 | (1 << 52) - 1) | near << 52 })
            })
            .collect()
    }

    /// The greatest distance from libm's function in steps, and where it is.
    fn worst_f64(function: Function, libm: fn(f64) -> f64, count: usize) -> (f64, f64) {
        let x = sample_f64(count);
        let mut worst = (0.0, 0.0);
        for (x, y) in x.chunks(4096).flat_map(|x| x.iter().zip(run_f64(function, x.to_vec()))) {
            let steps = steps_f64(y, libm(*x));
            if steps > worst.0 {
                worst = (steps, *x);
            }
        }
        worst
    }

    /// How many f32s a test leaves out between two. With 1 every f32 is tested.
    const STRIDE: u64 = 1999;

    #[track_caller]
    fn is_accurate(function: Function, libm: fn(f64) -> f64) {
        let (units, x) = worst_f32(function, libm, STRIDE);
        assert!(units < 1.0, "{units} units of f32 at {x:e} = {:#x}", x.to_bits());
        // libm has an error of its own.
        let (steps, x) = worst_f64(function, libm, 200_000);
        assert!(steps <= 2.0, "{steps} steps of f64 at {x:e} = {:#x}", x.to_bits());
    }

    /// Both types have these values, up to the sign of zero and with any NaN.
    #[track_caller]
    fn has_values(function: Function, values: &[(f64, f64)]) {
        let found = run_f64(function, values.iter().map(|v| v.0).collect());
        let found32 = run_f32(function, values.iter().map(|v| v.0 as f32).collect());
        for (&(x, y), (found, found32)) in values.iter().zip(found.into_iter().zip(found32)) {
            assert_eq!(steps_f64(found, y), 0.0, "f64 {x}: {found} {y}");
            assert_eq!(units_f32(found32, y), 0.0, "f32 {x}: {found32} {y}");
        }
    }

    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;

    #[test]
    fn logarithms() {
        is_accurate(log, libm::log);
        has_values(log, &[(0.0, -INF), (-0.0, -INF), (1.0, 0.0), (-1.0, NAN), (INF, INF), (-INF, NAN), (NAN, NAN)]);
    }

    #[test]
    fn sines_and_cosines() {
        is_accurate(sin, libm::sin);
        is_accurate(cos, libm::cos);
        has_values(sin, &[(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN), (NAN, NAN)]);
        has_values(cos, &[(0.0, 1.0), (-0.0, 1.0), (INF, NAN), (-INF, NAN), (NAN, NAN)]);
    }

    /// 2/pi is stored by its digits: they are right if they agree with libm's where angles are hardest.
    #[test]
    fn the_hardest_angles_are_reduced() {
        // Those nearest to a multiple of pi/2 among f32s and f64s, and the greatest.
        let hard = [f64::from_bits(0x4419_5a8e_9d1c_3b3a), 6381956970095103.0 * 2f64.powi(797), f64::MAX, 1.7e308];
        for (function, libm) in [(sin as Function, libm::sin as fn(f64) -> f64), (cos, libm::cos)] {
            for (x, y) in hard.iter().zip(run_f64(function, hard.to_vec())) {
                assert!(steps_f64(y, libm(*x)) <= 1.0, "{x:e}: {y:e} {:e}", libm(*x));
            }
            let hard = [16367173.0f32 * 2f32.powi(72), f32::MAX, 1.9e37];
            for (x, y) in hard.iter().zip(run_f32(function, hard.to_vec())) {
                assert!(units_f32(y, libm((*x).into())) < 1.0, "{x:e}: {y:e}");
            }
        }
        // The first of the words is needed for small angles only, the last for great ones.
        let all: Vec<f64> = (0..1024).map(|e| 1.2345678901234567 * 2f64.powi(e)).collect();
        for (x, y) in all.iter().zip(run_f64(sin, all.clone())) {
            assert!(steps_f64(y, libm::sin(*x)) <= 2.0, "{x:e}: {y:e} {:e}", libm::sin(*x));
        }
    }

    #[test]
    fn cosines_of_turns() {
        // By the angle to the nearest multiple of a quarter, which is exact.
        let exact = |x: f64| {
            let quarter = (x * 4.0).round_ties_even();
            let angle = std::f64::consts::TAU * (x - quarter / 4.0);
            match quarter.rem_euclid(4.0) as i32 {
                0 => libm::cos(angle),
                1 => -libm::sin(angle),
                2 => -libm::cos(angle),
                _ => libm::sin(angle),
            }
        };
        let x: Vec<f32> = (0..1 << 20).map(|i| (i - (1 << 19)) as f32 / (1 << 18) as f32).collect();
        for (x, y) in x.iter().zip(run_f32(cos_turns, x.clone())) {
            let exact = exact((*x).into());
            assert!(exact == 0.0 && y == 0.0 || units_f32(y, exact) < 1.0, "{x}: {y} {exact}");
        }
        let x: Vec<f64> = x.iter().map(|&x| f64::from(x) / 3.0).collect();
        for (x, y) in x.iter().zip(run_f64(cos_turns, x.clone())) {
            let exact = exact(*x);
            assert!(exact == 0.0 && y == 0.0 || steps_f64(y, exact) <= 2.0, "{x}: {y} {exact}");
        }
        let quarters = [(0.0, 1.0), (0.5, -1.0), (1.0, 1.0), (-0.5, -1.0), (0.125, std::f64::consts::FRAC_1_SQRT_2)];
        let found = run_f64(cos_turns, quarters.map(|q| q.0).to_vec());
        assert!(quarters.iter().zip(&found).all(|(q, y)| (q.1 - y).abs() < 2e-16), "{found:?}");
        assert!(run_f64(cos_turns, vec![0.25, 0.75, -0.25]).iter().all(|&y| y == 0.0));
    }
}
