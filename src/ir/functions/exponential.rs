//! Exponentials, logarithms and powers.

use super::code::{Code, Format, Pair, Polynomial, power_of_two};
use crate::ir::op::{Binary, Compare, Op, Type, Unary, Value};

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

/// ((2 atanh(s) / s - 2) / s^2 - 2/3) / s^2 of s^2, for the same s.
const ATANH_TAIL: Polynomial = Polynomial {
    f32: &[0.4, 0.28571427, 0.22222506, 0.18155025, 0.16409859],
    f64: &[
        0.4,
        0.2857142857142857,
        0.22222222222222157,
        0.18181818181846662,
        0.1538461537834579,
        0.13333334125204882,
        0.11764645091999985,
        0.10529196317792427,
        0.09441761526249197,
        0.09972581099965594,
    ],
};

/// (exp(x) - 1 - x) / x^2, for |x| up to log(2)/2.
const EXP: Polynomial = Polynomial {
    f32: &[0.5, 0.16666667, 0.041666467, 0.0083333105, 0.001393365, 0.00019890991],
    f64: &[
        0.5,
        0.1666666666666667,
        0.04166666666666667,
        0.008333333333326136,
        0.0013888888888883748,
        0.00019841269874820627,
        2.4801587325547743e-05,
        2.7557255400206422e-06,
        2.75572736431103e-07,
        2.5105217004720745e-08,
        2.0914686968086876e-09,
    ],
};

/// 1 / cbrt(x), for x from 1 to 2: to 14 and 22 bits, as what begins an iteration.
const INVERSE_CBRT: Polynomial = Polynomial {
    f32: &[1.6662787, -1.1623974, 0.6846527, -0.21636185, 0.027782802],
    f64: &[
        1.9661760073258019,
        -2.4135343538941463,
        2.8771694045459224,
        -2.314242378738442,
        1.2169633521423517,
        -0.4021988326413755,
        0.07591445771837882,
        -0.0062478260538475945,
    ],
};

/// The natural logarithm; -inf of zeros, NaN below them.
pub(in crate::ir) fn log(append: &mut dyn FnMut(Op) -> Value, ty: Type, x: Value) -> Value {
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

/// The exponential function.
pub(in crate::ir) fn exp(append: &mut dyn FnMut(Op) -> Value, ty: Type, x: Value) -> Value {
    let mut code = Code { append, ty };
    let zero = code.float(0.0);
    code.exp_of_pair((x, zero))
}

/// 1 / (1 + exp(-x)).
pub(in crate::ir) fn sigmoid(append: &mut dyn FnMut(Op) -> Value, ty: Type, x: Value) -> Value {
    let mut code = Code { append, ty };
    let code = &mut code;
    // With e = exp(-|x|) it is e / (1 + e) for a negative x and 1 / (1 + e) for others.
    let size = code.unary(Unary::Abs, x);
    let minus = code.unary(Unary::Neg, size);
    let minus = code.clamp_for_exp(minus);
    let zero = code.float(0.0);
    let one = code.float(1.0);
    let (k, (h, l)) = code.exp_minus_one((minus, zero));
    let (high, error) = code.sum_of_greater_and_lesser(one, h);
    let low = code.add(error, l);
    let (high, low) = code.sum_of_greater_and_lesser(high, low);
    // Below 2^-64 it does not matter beside 1.
    let least = code.float(-64.0);
    let near = code.max(k, least);
    let near = code.small_to_int(near);
    let scale = code.power_of_two(near);
    let e_high = code.mul(scale, high);
    let e_low = code.mul(scale, low);
    let (sum, error) = code.sum_of_greater_and_lesser(one, e_high);
    let sum_low = code.add(error, e_low);
    let negative = code.compare(Compare::Lt, x, zero);
    let high = code.select(negative, high, one);
    let low = code.select(negative, low, zero);
    let (high, low) = code.quotient((high, low), (sum, sum_low));
    let quotient = code.add(high, low);
    let k = code.select(negative, k, zero);
    code.scale(quotient, k)
}

/// The hyperbolic tangent; -0 of -0.
pub(in crate::ir) fn tanh(append: &mut dyn FnMut(Op) -> Value, ty: Type, x: Value) -> Value {
    let mut code = Code { append, ty };
    let code = &mut code;
    // With e = exp(-2|x|) - 1 its magnitude is -e / (2 + e). Beyond 30 it is 1.
    let size = code.unary(Unary::Abs, x);
    let minus_two = code.float(-2.0);
    let minus = code.mul(size, minus_two);
    let least = code.float(-60.0);
    let minus = code.max(minus, least);
    let zero = code.float(0.0);
    let (k, (h, l)) = code.exp_minus_one((minus, zero));
    // e is 2^k - 1 + 2^k (h + l), of which the first is 0 or at least 1/2 in magnitude.
    let k = code.small_to_int(k);
    let scale = code.power_of_two(k);
    let minus_one = code.float(-1.0);
    let (first, first_error) = code.sum_of_greater_and_lesser(minus_one, scale);
    let second = code.mul(scale, h);
    let (e, error) = code.sum_of_greater_and_lesser(first, second);
    let low = code.fma(scale, l, first_error);
    let low = code.add(error, low);
    let (e, low) = code.sum_of_greater_and_lesser(e, low);
    let two = code.float(2.0);
    let (sum, error) = code.sum_of_greater_and_lesser(two, e);
    let sum_low = code.add(error, low);
    let (high, low) = code.quotient((e, low), (sum, sum_low));
    let quotient = code.add(high, low);
    let magnitude = code.unary(Unary::Abs, quotient);
    let sign = code.sign_of(x);
    code.flip(magnitude, sign)
}

/// The cube root, of negative numbers too; -0 of -0.
pub(in crate::ir) fn cbrt(append: &mut dyn FnMut(Op) -> Value, ty: Type, x: Value) -> Value {
    let mut code = Code { append, ty };
    let code = &mut code;
    let size = code.unary(Unary::Abs, x);
    // size = 2^(3 third) a, where a is 1, 2 or 4 times m, which is from 1 to 2.
    let Format { digits, bias, .. } = code.format();
    let (lifted, lift) = code.lift_subnormal(size);
    let bits = code.bits_of(lifted);
    let (digits, bias) = (code.int(digits), code.int(bias));
    let exponent = code.integer(Binary::Shr, bits, digits);
    let exponent = code.integer(Binary::ISub, exponent, bias);
    let shifted = code.integer(Binary::Shl, exponent, digits);
    let m = code.integer(Binary::ISub, bits, shifted);
    let m = code.float_of_bits(m);
    let exponent = code.int_to_small(exponent);
    let exponent = code.sub(exponent, lift);
    // The half keeps the quotient away from whole numbers.
    let half = code.float(0.5);
    let one_third = code.float(1.0 / 3.0);
    let third = code.add(exponent, half);
    let third = code.mul(third, one_third);
    let third = code.unary(Unary::Floor, third);
    let minus_three = code.float(-3.0);
    let rest = code.fma(third, minus_three, exponent);
    let (one, two, four) = (code.float(1.0), code.float(2.0), code.float(4.0));
    let is_one = code.compare(Compare::Eq, rest, one);
    let is_two = code.compare(Compare::Eq, rest, two);
    let factor = code.select(is_one, two, one);
    let factor = code.select(is_two, four, factor);
    let a = code.mul(m, factor);
    let (root_of_half, root_of_quarter) = (code.float(0.7937005259840998), code.float(0.6299605249474366));
    let factor = code.select(is_one, root_of_half, one);
    let factor = code.select(is_two, root_of_quarter, factor);
    let start = code.polynomial(&INVERSE_CBRT, m);
    let start = code.mul(start, factor);
    // Newton's iteration for 1 / cbrt(a), and one for cbrt(a) with the cube in more than the precision of the type.
    let square = code.mul(start, start);
    let cube = code.mul(square, start);
    let minus = code.unary(Unary::Neg, a);
    let error = code.fma(minus, cube, one);
    let error = code.mul(error, one_third);
    let inverse = code.fma(start, error, start);
    let square = code.mul(inverse, inverse);
    let root = code.mul(a, square);
    let (root_square, low) = code.product(root, root);
    let minus = code.unary(Unary::Neg, root);
    let error = code.fma(root_square, minus, a);
    let error = code.fma(low, minus, error);
    let slope = code.mul(square, one_third);
    let root = code.fma(error, slope, root);
    let third = code.small_to_int(third);
    let scale = code.power_of_two(third);
    let root = code.mul(root, scale);
    let sign = code.sign_of(x);
    let root = code.flip(root, sign);
    // Zeros, infinities and NaN are their own roots.
    let zero = code.float(0.0);
    let infinity = code.float(f64::INFINITY);
    let positive = code.compare(Compare::Gt, size, zero);
    let finite = code.compare(Compare::Lt, size, infinity);
    let regular = code.and(positive, finite);
    code.select(regular, root, x)
}

/// x to the power y, with the special cases of C99: 1 if y is 0 or x is 1, even where the other is NaN; a negative x
/// has powers of whole exponents only.
pub(in crate::ir) fn pow(append: &mut dyn FnMut(Op) -> Value, ty: Type, x: Value, y: Value) -> Value {
    let mut code = Code { append, ty };
    let code = &mut code;
    let zero = code.float(0.0);
    let one = code.float(1.0);
    let infinity = code.float(f64::INFINITY);
    let nan = code.float(f64::NAN);
    let size = code.unary(Unary::Abs, x);
    let y_size = code.unary(Unary::Abs, y);
    // exp(y log(|x|)).
    let (log, log_low) = code.log_as_pair(size);
    let (product, error) = code.product(y, log);
    let low = code.fma(y, log_low, error);
    // Of products that are far too great the error may not be finite.
    let product_size = code.unary(Unary::Abs, product);
    let bound = code.float(2000.0);
    let moderate = code.compare(Compare::Lt, product_size, bound);
    let low = code.select(moderate, low, zero);
    let power = code.exp_of_pair((product, low));
    // Where |x| is zero or infinite, or y is infinite, it is zero, infinite, or 1.
    let below_one = code.compare(Compare::Lt, size, one);
    let is_one = code.compare(Compare::Eq, size, one);
    let y_positive = code.compare(Compare::Gt, y, zero);
    let y_negative = code.compare(Compare::Lt, y, zero);
    let vanishes = code.select(below_one, y_positive, y_negative);
    let extreme = code.select(vanishes, zero, infinity);
    let extreme = code.select(is_one, one, extreme);
    let positive = code.compare(Compare::Gt, size, zero);
    let finite = code.compare(Compare::Lt, size, infinity);
    let y_finite = code.compare(Compare::Lt, y_size, infinity);
    let regular = code.and(positive, finite);
    let regular = code.and(regular, y_finite);
    let magnitude = code.select(regular, power, extreme);
    // The sign of x, if y is odd.
    let floor = code.unary(Unary::Floor, y);
    let whole = code.compare(Compare::Eq, floor, y);
    let half = code.float(0.5);
    let half = code.mul(y, half);
    let floor = code.unary(Unary::Floor, half);
    let not_even = code.compare(Compare::Ne, floor, half);
    let odd = code.and(whole, not_even);
    let sign = code.sign_of(x);
    let signed = code.flip(magnitude, sign);
    let result = code.select(odd, signed, magnitude);
    // NaN of a negative finite x with a broken y, and of NaN.
    let minus_infinity = code.float(f64::NEG_INFINITY);
    let negative = code.compare(Compare::Lt, x, zero);
    let not_infinite = code.compare(Compare::Gt, x, minus_infinity);
    let negative = code.and(negative, not_infinite);
    let broken = code.unary(Unary::Not, whole);
    let undefined = code.and(negative, broken);
    let x_nan = code.compare(Compare::Ne, x, x);
    let y_nan = code.compare(Compare::Ne, y, y);
    let either_nan = code.or(x_nan, y_nan);
    let undefined = code.or(undefined, either_nan);
    let result = code.select(undefined, nan, result);
    let y_zero = code.compare(Compare::Eq, y, zero);
    let x_one = code.compare(Compare::Eq, x, one);
    let trivial = code.or(y_zero, x_one);
    code.select(trivial, one, result)
}

impl Code<'_> {
    /// exp(x + low), where low is small.
    fn exp_of_pair(&mut self, (x, low): Pair) -> Value {
        let x = self.clamp_for_exp(x);
        let (k, (h, l)) = self.exp_minus_one((x, low));
        let one = self.float(1.0);
        let (sum, error) = self.sum_of_greater_and_lesser(one, h);
        let small = self.add(error, l);
        let sum = self.add(sum, small);
        self.scale(sum, k)
    }

    /// x, or a number of which the exponential is zero or infinite as well.
    fn clamp_for_exp(&mut self, x: Value) -> Value {
        let least = self.float_by_type(-110.0, -760.0);
        let greatest = self.float_by_type(90.0, 720.0);
        let x = self.max(x, least);
        self.min(x, greatest)
    }

    /// exp(x + low) = 2^k (1 + h + l), for an x that is clamped; k is a whole float, h at most about log(2)/2.
    fn exp_minus_one(&mut self, (x, low): Pair) -> (Value, Pair) {
        let log2_e = self.float(std::f64::consts::LOG2_E);
        let k = self.mul(x, log2_e);
        let k = self.unary(Unary::Round, k);
        let minus = self.unary(Unary::Neg, k);
        let (log2_high, log2_low) = self.log2();
        let rest = self.fma(minus, log2_high, x);
        let correction = self.mul(minus, log2_low);
        let (h, error) = self.sum_of_greater_and_lesser(rest, correction);
        let low = self.add(error, low);
        // exp(h + low) - 1 = h + h^2 p + low exp(h), nearly.
        let p = self.polynomial(&EXP, h);
        let square = self.mul(h, h);
        let near = self.fma(square, p, h);
        let l = self.fma(low, near, low);
        (k, (h, self.fma(square, p, l)))
    }

    /// 2^k x, rounded once, for a whole float k. Of two factors, since 2^k itself may be no normal number.
    fn scale(&mut self, x: Value, k: Value) -> Value {
        let k = self.small_to_int(k);
        let one = self.int(1);
        let first = self.integer(Binary::Sar, k, one);
        let second = self.integer(Binary::ISub, k, first);
        let first = self.power_of_two(first);
        let second = self.power_of_two(second);
        let x = self.mul(x, first);
        self.mul(x, second)
    }

    /// The logarithm of a positive finite number with about half as many bits again as the type has.
    fn log_as_pair(&mut self, x: Value) -> Pair {
        // As in `log`: k log(2) + 2s + 2/3 s^3 + s^5 p, but all terms except the last are pairs.
        let (m, k) = self.split_at_root_half(x);
        let one = self.float(1.0);
        let zero = self.float(0.0);
        let f = self.sub(m, one);
        let denominator = self.sum_of_greater_and_lesser(one, m);
        let (s, s_low) = self.quotient((f, zero), denominator);
        let double = self.add(s, s);
        let double_low = self.add(s_low, s_low);
        let (square, error) = self.product(s, s);
        let square_low = self.fma(double, s_low, error);
        let (cube, error) = self.product(square, s);
        let cube_low = self.fma(square, s_low, error);
        let cube_low = self.fma(square_low, s, cube_low);
        let two_thirds = self.float(2.0 / 3.0);
        let two_thirds_low = self.float_by_type(-1.9868216e-8, 3.700743415417188e-17);
        let (third, error) = self.product(cube, two_thirds);
        let third_low = self.fma(cube, two_thirds_low, error);
        let third_low = self.fma(cube_low, two_thirds, third_low);
        let p = self.polynomial(&ATANH_TAIL, square);
        let fifth = self.mul(cube, square);
        let small = self.fma(fifth, p, third_low);
        let small = self.add(small, double_low);
        let (sum, error) = self.sum_of_greater_and_lesser(double, third);
        let small = self.add(error, small);
        let (log2_high, log2_low) = self.log2();
        let high = self.mul(k, log2_high);
        let small = self.fma(k, log2_low, small);
        let (sum, error) = self.sum_of_greater_and_lesser(high, sum);
        let small = self.add(error, small);
        self.sum_of_greater_and_lesser(sum, small)
    }

    /// x = 2^k m, where m is from sqrt(1/2) to sqrt(2); both are floats, k whole. For a positive finite x.
    fn split_at_root_half(&mut self, x: Value) -> (Value, Value) {
        let (x, lift) = self.lift_subnormal(x);
        let bits = self.bits_of(x);
        let root = self.int(if self.ty == Type::F32 { 0x3f35_04f3 } else { 0x3fe6_a09e_667f_3bcd });
        let above = self.integer(Binary::ISub, bits, root);
        let digits = self.int(self.format().digits);
        let k = self.integer(Binary::Sar, above, digits);
        let exponent = self.integer(Binary::Shl, k, digits);
        let m = self.integer(Binary::ISub, bits, exponent);
        let m = self.float_of_bits(m);
        let k = self.int_to_small(k);
        (m, self.sub(k, lift))
    }

    /// A normal number instead of a subnormal one, and the exponent of the power of two that it was multiplied by.
    fn lift_subnormal(&mut self, x: Value) -> (Value, Value) {
        let Format { digits, bias, .. } = self.format();
        let least = self.float(power_of_two(1 - bias));
        let tiny = self.compare(Compare::Lt, x, least);
        let factor = self.float(power_of_two(digits + 1));
        let lifted = self.mul(x, factor);
        let lift = self.float((digits + 1) as f64);
        let zero = self.float(0.0);
        (self.select(tiny, lifted, x), self.select(tiny, lift, zero))
    }

    /// log(2) as a number of so few digits that its product with an exponent is exact, and the rest.
    fn log2(&mut self) -> Pair {
        let high = self.float_by_type(0.69314575, 0.6931471805598903);
        (high, self.float_by_type(1.4286068e-6, 5.497923018708371e-14))
    }
}
