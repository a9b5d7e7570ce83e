//! Reductions as the evaluation rules define them, written once and naively.
//!
//! A *run* is all values that make one result. It is cut into blocks of 1024 from its start; in a block 16 lanes add in the
//! type of the elements, and the lanes are added pairwise in `f64`. The sums of the blocks are added without any rounding,
//! as one long integer, and rounded once.

use super::Real;

/// One result per what; anything else is done by giving the right slices to [`sum`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    Matrix,
    Row,
    Col,
    Unit,
}

/// How many matrices, rows and columns a shape has; a vector is one row, and a number is a vector of one.
pub fn axes(shape: &[usize]) -> (usize, usize, usize) {
    match shape {
        [] => (1, 1, 1),
        [cols] => (1, 1, *cols),
        [others @ .., rows, cols] => (others.iter().product(), *rows, *cols),
    }
}

impl Per {
    /// How many results there are.
    pub fn results(self, shape: &[usize]) -> usize {
        let (matrices, rows, cols) = axes(shape);
        match self {
            Per::Matrix => matrices,
            Per::Row => matrices * rows,
            Per::Col => matrices * cols,
            Per::Unit => shape[0],
        }
    }

    /// How many elements make one of them.
    pub fn count(self, shape: &[usize]) -> usize {
        let (_, rows, cols) = axes(shape);
        match self {
            Per::Matrix => rows * cols,
            Per::Row => cols,
            Per::Col => rows,
            Per::Unit => shape[1..].iter().product(),
        }
    }

    /// To which of them an element belongs.
    pub fn of(self, element: usize, shape: &[usize]) -> usize {
        let (_, rows, cols) = axes(shape);
        match self {
            Per::Matrix => element / (rows * cols),
            Per::Row => element / cols,
            Per::Col => element / (rows * cols) * cols + element % cols,
            Per::Unit => element / self.count(shape),
        }
    }

    /// The elements of one of them, in order.
    fn run<T: Real>(self, result: usize, x: &[T], shape: &[usize]) -> Vec<T> {
        let all = x.iter().enumerate();
        all.filter(|(i, _)| self.of(*i, shape) == result).map(|(_, x)| *x).collect()
    }
}

/// The sum of a tensor, or of any other run.
pub fn sum<T: Real>(run: &[T]) -> f64 {
    exact(&blocks(run))
}

/// The sum over several tensors, each cut into blocks of its own.
pub fn sum_model<T: Real>(tensors: &[Vec<T>]) -> f64 {
    exact(&tensors.iter().flat_map(|x| blocks(x)).collect::<Vec<f64>>())
}

/// The mean of a tensor; NaN if it is empty.
pub fn mean<T: Real>(run: &[T]) -> f64 {
    sum(run) / run.len() as f64
}

/// The Euclidean norm of a tensor.
pub fn norm<T: Real>(run: &[T]) -> f64 {
    sum(&squares(run)).sqrt()
}

/// The root of the mean square of a tensor.
pub fn rms<T: Real>(run: &[T]) -> f64 {
    mean(&squares(run)).sqrt()
}

/// The inner product of two tensors.
pub fn dot<T: Real>(a: &[T], b: &[T]) -> f64 {
    sum(&products(a, b))
}

/// The norm over several tensors.
pub fn norm_model<T: Real>(tensors: &[Vec<T>]) -> f64 {
    sum_model(&tensors.iter().map(|x| squares(x)).collect::<Vec<_>>()).sqrt()
}

/// The largest value; NaN if any is, minus infinity if there is none.
pub fn max<T: Real>(run: &[T]) -> f64 {
    run.iter().fold(f64::NEG_INFINITY, |max, x| Real::max(max, x.wide()))
}

/// The smallest value; NaN if any is, infinity if there is none.
pub fn min<T: Real>(run: &[T]) -> f64 {
    run.iter().fold(f64::INFINITY, |min, x| Real::min(min, x.wide()))
}

/// Sums per matrix, row, column or unit, each rounded to the type of the elements.
pub fn sum_per<T: Real>(per: Per, x: &[T], shape: &[usize]) -> Vec<T> {
    let one = |result| {
        let run = per.run(result, x, shape);
        T::of(if per == Per::Col { column(&run) } else { sum(&run) })
    };
    (0..per.results(shape)).map(one).collect()
}

/// Means per matrix, row, column or unit; the division is one of elements.
pub fn mean_per<T: Real>(per: Per, x: &[T], shape: &[usize]) -> Vec<T> {
    let count = T::of(per.count(shape) as f64);
    sum_per(per, x, shape).into_iter().map(|sum| sum / count).collect()
}

/// Norms per matrix, row, column or unit; the root is one of elements.
pub fn norm_per<T: Real>(per: Per, x: &[T], shape: &[usize]) -> Vec<T> {
    sum_per(per, &squares(x), shape).into_iter().map(T::sqrt).collect()
}

/// The largest values per matrix, row, column or unit.
pub fn max_per<T: Real>(per: Per, x: &[T], shape: &[usize]) -> Vec<T> {
    (0..per.results(shape)).map(|result| T::of(max(&per.run(result, x, shape)))).collect()
}

/// Means of `results` runs that lie one behind the other, `count` values each: of what is one per row, one mean per matrix.
pub fn mean_runs<T: Real>(x: &[T], results: usize, count: usize) -> Vec<T> {
    let one = |k: usize| T::of(sum(&x[k * count..][..count])) / T::of(count as f64);
    (0..results).map(one).collect()
}

/// Each value times itself, rounded.
pub fn squares<T: Real>(x: &[T]) -> Vec<T> {
    products(x, x)
}

/// Each value of one times that of the other, rounded.
pub fn products<T: Real>(a: &[T], b: &[T]) -> Vec<T> {
    a.iter().zip(b).map(|(a, b)| *a * *b).collect()
}

/// The sums of the blocks of a run.
fn blocks<T: Real>(run: &[T]) -> Vec<f64> {
    run.chunks(1024).map(block).collect()
}

fn block<T: Real>(block: &[T]) -> f64 {
    let mut lanes = [T::of(0.0); 16];
    for (i, x) in block.iter().enumerate() {
        lanes[i % 16] = lanes[i % 16] + *x;
    }
    let mut sums: Vec<f64> = lanes.iter().map(|lane| lane.wide()).collect();
    while sums.len() > 1 {
        sums = sums.chunks(2).map(|pair| pair[0] + pair[1]).collect();
    }
    sums[0]
}

/// The sum of a column: `f64` in blocks of 64 rows.
fn column<T: Real>(column: &[T]) -> f64 {
    let blocks = column.chunks(64).map(|rows| rows.iter().fold(0.0, |sum, x| sum + x.wide()));
    exact(&blocks.collect::<Vec<f64>>())
}

/// The sum of numbers, rounded once; also that of scalars, one per tensor.
pub fn exact(addends: &[f64]) -> f64 {
    let positive = addends.contains(&f64::INFINITY);
    let negative = addends.contains(&f64::NEG_INFINITY);
    if addends.iter().any(|x| x.is_nan()) || positive && negative {
        return f64::NAN;
    }
    if positive || negative {
        return if positive { f64::INFINITY } else { f64::NEG_INFINITY };
    }
    // Two naturals: digits of 32 bits, the lowest first, in units of the smallest subnormal.
    let (mut above, mut below) = (vec![0_u32; 70], vec![0_u32; 70]);
    for x in addends {
        let bits = x.abs().to_bits();
        let (exponent, fraction) = ((bits >> 52) as usize, bits & ((1 << 52) - 1));
        // Of a subnormal the exponent is that of the smallest normal numbers, without their leading bit.
        let (shift, significand) = if exponent == 0 { (0, fraction) } else { (exponent - 1, fraction | 1 << 52) };
        add(if *x < 0.0 { &mut below } else { &mut above }, significand, shift);
    }
    if compare(&above, &below).is_lt() {
        -rounded(&difference(&below, &above))
    } else {
        rounded(&difference(&above, &below))
    }
}

/// Adds `significand << shift`.
fn add(digits: &mut [u32], significand: u64, shift: usize) {
    let mut rest = u128::from(significand) << (shift % 32);
    for digit in &mut digits[shift / 32..] {
        rest += u128::from(*digit);
        *digit = rest as u32;
        rest >>= 32;
    }
    assert_eq!(rest, 0, "too many addends");
}

fn compare(a: &[u32], b: &[u32]) -> std::cmp::Ordering {
    a.iter().rev().cmp(b.iter().rev())
}

/// `a - b`, which is not negative.
fn difference(a: &[u32], b: &[u32]) -> Vec<u32> {
    let mut borrow = 0;
    let digits = a.iter().zip(b).map(|(a, b)| {
        let digit = i64::from(*a) - i64::from(*b) - borrow;
        borrow = i64::from(digit < 0);
        digit as u32
    });
    digits.collect()
}

/// The nearest number, ties to even.
fn rounded(digits: &[u32]) -> f64 {
    let bit = |i: usize| digits[i / 32] >> (i % 32) & 1 == 1;
    let Some(top) = (0..digits.len() * 32).rev().find(|i| bit(*i)) else { return 0.0 };
    // Numbers of up to 53 bits are there as they are.
    let low = top.saturating_sub(52);
    let mut significand = (low..=top).rev().fold(0_u64, |all, i| all << 1 | u64::from(bit(i)));
    if low > 0 && bit(low - 1) && (significand & 1 == 1 || (0..low - 1).any(bit)) {
        significand += 1;
    }
    // 2^low in units of 2^-1074; both multiplications are exact, or overflow.
    let exponent = low as i32 - 1074;
    let half = exponent / 2;
    significand as f64 * libm::exp2(f64::from(half)) * libm::exp2(f64::from(exponent - half))
}

#[test]
fn sums_are_exact() {
    assert_eq!(exact(&[1e308, 1.0, -1e308]), 1.0);
    assert_eq!(exact(&[f64::MAX, f64::MAX, -f64::MAX]), f64::MAX);
    assert_eq!(exact(&[f64::MAX, f64::MAX]), f64::INFINITY);
    assert_eq!(exact(&[5e-324, 5e-324, -1e-323, 5e-324]), 5e-324);
    assert_eq!(exact(&[f64::MIN_POSITIVE, -5e-324]), f64::from_bits((1 << 52) - 1));
    assert_eq!(exact(&[1.0, f64::EPSILON / 2.0]), 1.0);
    assert_eq!(exact(&[1.0, f64::EPSILON / 2.0, 5e-324]), 1.0 + f64::EPSILON);
    assert_eq!(exact(&[-1.0, -1.5 * f64::EPSILON]), -1.0 - 2.0 * f64::EPSILON);
    assert!(exact(&[-0.0]).is_sign_positive());
    assert!(exact(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
    let mut word = 1_u64;
    for _ in 0..10_000 {
        word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let x = f64::from_bits(word);
        assert!(exact(&[x, 0.0]).same(x + 0.0), "{x:e}");
    }
}
