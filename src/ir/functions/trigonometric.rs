//! Sines and cosines.

use super::code::{Code, Format, Pair, Polynomial, power_of_two};
use crate::ir::op::{Binary, Compare, Op, Type, Unary, Value};

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

/// The sine; -0 of -0, NaN of infinities.
pub(in crate::ir) fn sin(append: &mut dyn FnMut(Op) -> Value, ty: Type, x: Value) -> Value {
    let mut code = Code { append, ty };
    let code = &mut code;
    let size = code.unary(Unary::Abs, x);
    let (quadrant, r) = code.reduce(size);
    let (sin, cos) = code.sin_and_cos(r);
    let odd = code.has_bit(quadrant, 1);
    let result = code.select(odd, cos, sin);
    // The sine of a positive number of quadrants, with the sign of x.
    let flip = code.sign_from_bit_1(quadrant);
    let sign = code.sign_of(x);
    let flip = code.integer(Binary::Xor, flip, sign);
    let result = code.flip(result, flip);
    code.nan_unless_finite(size, result)
}

/// The cosine; NaN of infinities.
pub(in crate::ir) fn cos(append: &mut dyn FnMut(Op) -> Value, ty: Type, x: Value) -> Value {
    let mut code = Code { append, ty };
    let code = &mut code;
    let size = code.unary(Unary::Abs, x);
    let (quadrant, r) = code.reduce(size);
    let result = code.cos_in_quadrant(quadrant, r);
    code.nan_unless_finite(size, result)
}

/// The cosine of `x` turns, cos(2 pi x), for |x| up to 1000. It is a third of the operations of [`cos`].
pub(in crate::ir) fn cos_turns(append: &mut dyn FnMut(Op) -> Value, ty: Type, x: Value) -> Value {
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

impl Code<'_> {
    /// The angle `size`, not negative, as quadrants (an integer, of which the lowest two bits are right) and the rest
    /// in radians, at most slightly over pi/4 in magnitude. The rest has more than the precision of the type for every
    /// finite angle. This is the method of Payne and Hanek.
    fn reduce(&mut self, size: Value) -> (Value, Pair) {
        // size = n 2^(e - digits) with a whole n below 2^(digits + 1), and n * 2/pi * 2^(e - digits) is wanted modulo
        // 4: digits of 2/pi that only contribute multiples of 4 are left out.
        let (n, exponent) = self.whole_significand(size);
        let chunks = self.two_over_pi(exponent);
        // Exact products: high[i] + low[i] is n * chunks[i].
        let products = [0, 1, 2].map(|i| self.product(n, chunks[i]));
        let (high, low) = (products.map(|p| p.0), products.map(|p| p.1));
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
        let last = self.fma(n, chunks[3], low[2]);
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
        (self.small_to_int(whole), (high, low))
    }

    /// `size` = n 2^(e - digits): n and e, at least 0, which is an integer. n is whole where size is at least 1/2.
    fn whole_significand(&mut self, size: Value) -> (Value, Value) {
        let Format { digits, bias, .. } = self.format();
        let bits = self.bits_of(size);
        let (digits_value, bias_value) = (self.int(digits), self.int(bias));
        let exponent = self.integer(Binary::Shr, bits, digits_value);
        let exponent = self.integer(Binary::ISub, exponent, bias_value);
        let zero = self.int(0);
        let negative = self.compare(Compare::Lt, exponent, zero);
        let exponent = self.select(negative, zero, exponent);
        let unit = self.int(bias + digits);
        let scale = self.integer(Binary::ISub, unit, exponent);
        let scale = self.integer(Binary::Shl, scale, digits_value);
        let scale = self.float_of_bits(scale);
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
            let number = self.float_of_bits(number);
            let one = self.float(1.0);
            let number = self.sub(number, one);
            let scale = self.float(power_of_two(2 - i * digits));
            self.mul(number, scale)
        })
    }

    /// Times pi/2.
    fn quadrants_to_radians(&mut self, (high, low): Pair) -> Pair {
        let factor_high = self.float(std::f64::consts::FRAC_PI_2);
        let factor_low = self.float_by_type(-4.371139e-8, 6.123233995736766e-17);
        let (product, error) = self.product(high, factor_high);
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
}
