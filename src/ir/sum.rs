//! Sums that have one value, and minima and maxima beside them.
//!
//! Comes in: the values of a run (all that reduce into one result) in segments of any length, or the rows of a matrix.
//! Goes out: an [`ExactSum`] or an [`Extreme`], which merge with those of other threads and shards of the same result.
//!
//! What is guaranteed: the value of a sum depends on the run alone, not on threads, vector widths, segments or shards.
//! A run is cut into blocks of [`BLOCK`] values from its start. A block has [`LANES`] lanes; the value at index i is
//! added to lane i mod 16, in order, from +0, in the type of the values; then the lanes are widened and added pairwise
//! in f64. The sums of blocks are added without any rounding, and the result is rounded once. Sums over columns add in
//! f64, in order from +0, [`BLOCK_ROWS`] rows at a time; the sums of these blocks are added without rounding as well.
//! NaN if any addend is NaN or the infinities differ in sign, else an infinity if there is one; a sum of zero is +0.
//!
//! What it does not do: it does not know extents, or which thread does what. A run that is shared out must be cut at
//! multiples of [`BLOCK`], a matrix that is summed by columns at multiples of [`BLOCK_ROWS`].
//!
//! [`RunSum`] and [`Extreme`] are what engines run. [`sum_run`], [`sum_columns`], [`min_run`] and [`max_run`] say the
//! same by the definition, for the oracle.

use std::ops::{Add, BitOr, Mul, Neg};

/// Values to a block of a run.
pub const BLOCK: usize = 1024;

/// Lanes of a block of a run.
pub const LANES: usize = 16;

/// Rows to a block of a sum over columns.
pub const BLOCK_ROWS: usize = 64;

// Exact addition. -----------------------------------------------------------------------------------------------------

/// Digits of 32 bits. An f64 is a multiple of 2^-1074 below 2^1024, so 66 digits hold one. Digit 66 takes what is
/// carried out of them: it is an i64, so 2^64 addends cannot overflow it.
const LIMBS: usize = 67;

/// Additions between two normalisations. Each adds less than 2^32 to a limb, which thus stays below 2^62.
const PENDING: u32 = 1 << 29;

/// A sum of f64s without rounding: addition is associative and commutative in it.
///
/// Limb k counts multiples of 2^(32k - 1074). A limb may hold more than its digit, and either sign, until the carries
/// are passed on. Infinities and NaNs are counted beside.
#[derive(Clone, Debug)]
pub struct ExactSum {
    limbs: [i64; LIMBS],
    /// Every limb but the last is below (pending + 1) * 2^32 in magnitude.
    pending: u32,
    /// How many addends were NaN, +inf and -inf.
    special: [u64; 3],
    /// How many elements the addends stand for.
    count: u64,
}

impl Default for ExactSum {
    fn default() -> ExactSum {
        ExactSum { limbs: [0; LIMBS], pending: 0, special: [0; 3], count: 0 }
    }
}

/// Equal sums of equally many elements, however the limbs hold them.
impl PartialEq for ExactSum {
    fn eq(&self, other: &ExactSum) -> bool {
        let (mut a, mut b) = (self.clone(), other.clone());
        a.normalise();
        b.normalise();
        (a.limbs, a.special, a.count) == (b.limbs, b.special, b.count)
    }
}

impl ExactSum {
    /// The length of a sum as words.
    pub const WORDS: usize = LIMBS + 4;

    /// Adds one element.
    #[inline]
    pub fn add(&mut self, x: f64) {
        self.add_block(x, 1);
    }

    /// Adds the sum of so many elements.
    #[inline]
    pub fn add_block(&mut self, sum: f64, elements: u64) {
        self.count += elements;
        let bits = sum.to_bits();
        let exponent = (bits >> 52) as usize & 0x7ff;
        if exponent == 0x7ff {
            self.special[if sum.is_nan() { 0 } else { 1 + usize::from(sum < 0.0) }] += 1;
            return;
        }
        if self.pending == PENDING {
            self.normalise();
        }
        self.pending += 1;
        // Subnormals have the scale of the least normal numbers, without the leading one.
        let leading = u64::from(exponent != 0);
        let significand = bits & ((1 << 52) - 1) | leading << 52;
        let shift = exponent - leading as usize;
        let wide = u128::from(significand) << (shift % 32);
        let sign = bits as i64 >> 63;
        let limbs = &mut self.limbs[shift / 32..][..3];
        for (i, limb) in limbs.iter_mut().enumerate() {
            let digit = i64::from((wide >> (32 * i)) as u32);
            *limb += (digit ^ sign) - sign;
        }
    }

    /// Adds all that the other has.
    pub fn merge(&mut self, other: &ExactSum) {
        self.limbs.iter_mut().zip(&other.limbs).for_each(|(limb, &other)| *limb += other);
        self.special.iter_mut().zip(other.special).for_each(|(n, other)| *n += other);
        self.count += other.count;
        self.pending += other.pending + 1;
        if self.pending >= PENDING {
            self.normalise();
        }
    }

    /// How many elements were added.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Passes the carries on: all limbs but the last become digits, and equal sums have equal limbs.
    fn normalise(&mut self) {
        let mut carry = 0;
        for limb in &mut self.limbs[..LIMBS - 1] {
            let total = *limb + carry;
            *limb = total & 0xffff_ffff;
            carry = total >> 32;
        }
        self.limbs[LIMBS - 1] += carry;
        self.pending = 0;
    }

    /// The sum rounded to nearest, ties to even. All NaNs are one.
    pub fn round(&self) -> f64 {
        match self.special {
            [0, 0, 0] => {}
            [0, _, 0] => return f64::INFINITY,
            [0, 0, _] => return f64::NEG_INFINITY,
            _ => return f64::NAN,
        }
        let mut sum = self.clone();
        sum.normalise();
        let negative = sum.limbs[LIMBS - 1] < 0;
        if negative {
            sum.limbs.iter_mut().for_each(|limb| *limb = -*limb);
            sum.normalise();
        }
        let magnitude = round_magnitude(&sum.limbs);
        if negative { -magnitude } else { magnitude }
    }

    /// Writes the sum as words, so that the words of up to 2^16 sums, added one by one, are those of their sum.
    ///
    /// # Panics
    /// If `out` has not the length [`WORDS`](ExactSum::WORDS).
    pub fn words(&mut self, out: &mut [i64]) {
        assert_eq!(out.len(), ExactSum::WORDS, "the length of a sum as words");
        self.normalise();
        let (limbs, counts) = out.split_at_mut(LIMBS);
        limbs.copy_from_slice(&self.limbs);
        counts.iter_mut().zip([self.special[0], self.special[1], self.special[2], self.count]).for_each(|(word, n)| {
            *word = n as i64;
        });
    }

    /// The sum that these words are: those of [`words`](ExactSum::words), or of several added one by one.
    ///
    /// # Panics
    /// If there are not [`WORDS`](ExactSum::WORDS) of them.
    pub fn from_words(words: &[i64]) -> ExactSum {
        assert_eq!(words.len(), ExactSum::WORDS, "the length of a sum as words");
        let mut sum = ExactSum::default();
        let (limbs, counts) = words.split_at(LIMBS);
        sum.limbs.copy_from_slice(limbs);
        sum.special = [0, 1, 2].map(|i| counts[i] as u64);
        sum.count = counts[3] as u64;
        sum.normalise();
        sum
    }
}

/// The f64 nearest to a number of digits, ties to even. None is negative, and all but the last are below 2^32.
fn round_magnitude(limbs: &[i64; LIMBS]) -> f64 {
    let Some(top) = limbs.iter().rposition(|&limb| limb != 0) else { return 0.0 };
    let top_bit = 32 * top + 63 - limbs[top].leading_zeros() as usize;
    // A number below 2^53 times the least subnormal has it as its bits.
    let window = |from: usize| -> u64 {
        let at = |i: usize| limbs.get(i).map_or(0, |&limb| limb as u128);
        let (limb, offset) = (from / 32, from % 32);
        // The last limb is longer than a digit, but only in numbers that overflow, which do not come here.
        ((at(limb) | at(limb + 1) << 32 | at(limb + 2) << 64) >> offset) as u64 & ((1 << 53) - 1)
    };
    if top_bit <= 52 {
        return f64::from_bits(window(0));
    }
    // The leading 53 bits begin here; one more may be carried into them, and then into the exponent.
    let shift = top_bit - 52;
    if shift > 2045 {
        return f64::INFINITY;
    }
    let significand = window(shift);
    let half = window(shift - 1) & 1 == 1;
    let (limb, offset) = ((shift - 1) / 32, (shift - 1) % 32);
    let rest = limbs[..limb].iter().any(|&limb| limb != 0) || limbs[limb] & ((1 << offset) - 1) != 0;
    let up = half && (rest || significand & 1 == 1);
    // The biased exponent is shift + 1, and the leading one of the significand is its last unit.
    f64::from_bits(((shift as u64) << 52) + significand + u64::from(up))
}

// Runs. ---------------------------------------------------------------------------------------------------------------

/// The types of elements that are summed: f32 and f64.
pub trait Lane:
    Copy + Default + PartialOrd + Add<Output = Self> + Mul<Output = Self> + Neg<Output = Self> + std::fmt::Debug
{
    /// As bits.
    type Bits: Copy + Default + BitOr<Output = Self::Bits> + std::fmt::Debug;
    /// +0, from which sums begin.
    const ZERO: Self;
    /// The minimum of none.
    const INFINITY: Self;
    /// Widened, which is exact.
    fn wide(self) -> f64;
    /// Its bits.
    fn lane_bits(self) -> Self::Bits;
    /// Whether the bit of the sign is set.
    fn is_negative(bits: Self::Bits) -> bool;
    /// The lesser: NaN if either is, and -0 < +0.
    fn min(self, other: Self) -> Self;
    /// The greater: NaN if either is, and -0 < +0.
    fn max(self, other: Self) -> Self;
}

macro_rules! lane {
    ($($ty:ident as $bits:ident),*) => {$(
        impl Lane for $ty {
            type Bits = $bits;
            const ZERO: $ty = 0.0;
            const INFINITY: $ty = $ty::INFINITY;
            #[inline(always)]
            fn wide(self) -> f64 { self.into() }
            #[inline(always)]
            fn lane_bits(self) -> $bits { self.to_bits() }
            #[inline(always)]
            fn is_negative(bits: $bits) -> bool { bits >> ($bits::BITS - 1) == 1 }
            fn min(self, other: $ty) -> $ty {
                if self.is_nan() || other.is_nan() {
                    $ty::NAN
                } else if self.total_cmp(&other).is_lt() {
                    self
                } else {
                    other
                }
            }
            fn max(self, other: $ty) -> $ty { -Lane::min(-self, -other) }
        }
    )*};
}
lane!(f32 as u32, f64 as u64);

/// The sum of one run, or of a piece of one that begins at a multiple of [`BLOCK`]; fed in order, in segments of any
/// length.
#[derive(Clone, Debug, Default)]
pub struct RunSum<T> {
    lanes: [T; LANES],
    /// How many values of the current block were added; less than [`BLOCK`].
    filled: usize,
    /// The sum of the blocks before.
    blocks: ExactSum,
}

impl<T: Lane> RunSum<T> {
    /// No value yet.
    pub fn new() -> RunSum<T> {
        RunSum::default()
    }

    /// Adds the next values of the run.
    pub fn push(&mut self, values: &[T]) {
        let mut values = values;
        while !values.is_empty() {
            let (now, later) = values.split_at(values.len().min(BLOCK - self.filled));
            add_lanes(&mut self.lanes, self.filled, now);
            self.filled += now.len();
            if self.filled == BLOCK {
                self.flush();
            }
            values = later;
        }
    }

    /// Adds the products of the next values of two runs, each rounded in their type.
    ///
    /// # Panics
    /// If there are more of one than of the other.
    pub fn push_products(&mut self, a: &[T], b: &[T]) {
        assert_eq!(a.len(), b.len(), "factors without a partner");
        let (mut a, mut b) = (a, b);
        while !a.is_empty() {
            let len = a.len().min(BLOCK - self.filled);
            let ((a_now, a_later), (b_now, b_later)) = (a.split_at(len), b.split_at(len));
            add_lane_products(&mut self.lanes, self.filled, a_now, b_now);
            self.filled += len;
            if self.filled == BLOCK {
                self.flush();
            }
            (a, b) = (a_later, b_later);
        }
    }

    /// Ends the run, or this piece of it. Another piece may follow, whose start is a multiple of [`BLOCK`] too.
    pub fn finish(&mut self) -> &ExactSum {
        if self.filled > 0 {
            self.flush();
        }
        &self.blocks
    }

    /// Ends the run, and gives its sum rounded and how many values it had. A new run may follow.
    ///
    /// A run of one block, as a short row is, does without exact addition.
    pub fn take(&mut self) -> (f64, u64) {
        if self.blocks.count == 0 {
            let result = (add_pairs(&self.lanes), self.filled as u64);
            (self.lanes, self.filled) = ([T::ZERO; LANES], 0);
            return result;
        }
        let result = (self.finish().round(), self.blocks.count);
        self.blocks = ExactSum::default();
        result
    }

    /// Ends the block.
    fn flush(&mut self) {
        self.blocks.add_block(add_pairs(&self.lanes), self.filled as u64);
        (self.lanes, self.filled) = ([T::ZERO; LANES], 0);
    }
}

/// Adds values to the lanes; the first has index `start` in its block, modulo the number of lanes.
#[inline]
fn add_lanes<T: Lane>(lanes: &mut [T; LANES], start: usize, values: &[T]) {
    let first = start % LANES;
    let head = if first == 0 { 0 } else { values.len().min(LANES - first) };
    let (head, values) = values.split_at(head);
    lanes[first..].iter_mut().zip(head).for_each(|(lane, &x)| *lane = *lane + x);
    let (chunks, tail) = values.as_chunks::<LANES>();
    // A local array stays in registers.
    let mut sums = *lanes;
    for chunk in chunks {
        for (sum, &x) in sums.iter_mut().zip(chunk) {
            *sum = *sum + x;
        }
    }
    sums.iter_mut().zip(tail).for_each(|(lane, &x)| *lane = *lane + x);
    *lanes = sums;
}

/// The same for products, each rounded before it is added. They never lie in memory.
#[inline]
fn add_lane_products<T: Lane>(lanes: &mut [T; LANES], start: usize, a: &[T], b: &[T]) {
    let first = start % LANES;
    let head = if first == 0 { 0 } else { a.len().min(LANES - first) };
    let ((a_head, a), (b_head, b)) = (a.split_at(head), b.split_at(head));
    let add = |lanes: &mut [T], a: &[T], b: &[T]| {
        lanes.iter_mut().zip(a.iter().zip(b)).for_each(|(lane, (&a, &b))| *lane = *lane + a * b);
    };
    add(&mut lanes[first..], a_head, b_head);
    let ((a_chunks, a_tail), (b_chunks, b_tail)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    *lanes = add_chunk_products(*lanes, a_chunks, b_chunks);
    add(lanes, a_tail, b_tail);
}

/// The loop of [`add_lane_products`]. Inlined it becomes scalar code, three times as slow: the compiler then sees the lanes
/// as sixteen variables.
#[inline(never)]
fn add_chunk_products<T: Lane>(mut sums: [T; LANES], a: &[[T; LANES]], b: &[[T; LANES]]) -> [T; LANES] {
    for (a, b) in a.iter().zip(b) {
        let mut products = [T::ZERO; LANES];
        products.iter_mut().zip(a.iter().zip(b)).for_each(|(product, (&a, &b))| *product = a * b);
        sums.iter_mut().zip(products).for_each(|(sum, product)| *sum = *sum + product);
    }
    sums
}

/// The sum of the lanes, pairwise in f64.
fn add_pairs<T: Lane>(lanes: &[T; LANES]) -> f64 {
    let mut sums = lanes.map(T::wide);
    let mut len = LANES;
    while len > 1 {
        len /= 2;
        for i in 0..len {
            sums[i] = sums[2 * i] + sums[2 * i + 1];
        }
    }
    sums[0]
}

/// Adds a row to the sums of the columns. They begin at +0, and go to [`ExactSum`]s after every [`BLOCK_ROWS`] rows.
pub fn add_rows<T: Lane>(columns: &mut [f64], row: &[T]) {
    columns.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x.wide());
}

// Minimum and maximum. ------------------------------------------------------------------------------------------------

/// The least or the greatest of values that come in any order. NaN if any is; -0 is less than +0.
#[derive(Clone, Debug)]
pub struct Extreme<T: Lane> {
    /// Whether the greatest is meant. Then all that follows is of the values negated.
    greatest: bool,
    /// The least of the values of each lane; which zero is not known. NaN if any is.
    least: [T; LANES],
    /// The bits of all values, or-ed. Where the least is a zero, none is negative but -0.
    bits: [T::Bits; LANES],
}

impl<T: Lane> Extreme<T> {
    /// For the least; of none it is +inf.
    pub fn least() -> Extreme<T> {
        Extreme { greatest: false, least: [T::INFINITY; LANES], bits: [T::Bits::default(); LANES] }
    }

    /// For the greatest; of none it is -inf.
    pub fn greatest() -> Extreme<T> {
        Extreme { greatest: true, ..Extreme::least() }
    }

    /// Takes more values.
    pub fn push(&mut self, values: &[T]) {
        // One loop for each, so that neither asks in it.
        if self.greatest {
            self.feed(values, |x| -x);
        } else {
            self.feed(values, |x| x);
        }
    }

    #[inline(always)]
    fn feed(&mut self, values: &[T], sign: impl Fn(T) -> T) {
        let (chunks, tail) = values.as_chunks::<LANES>();
        let (mut least, mut bits) = (self.least, self.bits);
        for chunk in chunks {
            for i in 0..LANES {
                let x = sign(chunk[i]);
                least[i] = keep_least(least[i], x);
                bits[i] = bits[i] | x.lane_bits();
            }
        }
        for (i, &x) in tail.iter().enumerate() {
            least[i] = keep_least(least[i], sign(x));
            bits[i] = bits[i] | sign(x).lane_bits();
        }
        (self.least, self.bits) = (least, bits);
    }

    /// Takes the values that another of the same kind took.
    pub fn merge(&mut self, other: &Extreme<T>) {
        debug_assert_eq!(self.greatest, other.greatest, "a minimum and a maximum");
        for i in 0..LANES {
            self.least[i] = keep_least(self.least[i], other.least[i]);
            self.bits[i] = self.bits[i] | other.bits[i];
        }
    }

    /// The least or the greatest of the values so far.
    pub fn value(&self) -> f64 {
        let least = self.least.into_iter().reduce(keep_least).map_or(f64::INFINITY, T::wide);
        let negative = self.bits.iter().any(|&bits| T::is_negative(bits));
        let least = match least {
            x if x.is_nan() => return f64::NAN,
            0.0 if negative => -0.0,
            0.0 => 0.0,
            x => x,
        };
        if self.greatest { -least } else { least }
    }
}

/// The lesser, or NaN if either is; of two zeros either.
#[inline(always)]
#[expect(clippy::eq_op, reason = "only a NaN differs from itself")]
fn keep_least<T: Lane>(least: T, x: T) -> T {
    if x < least || x != x { x } else { least }
}

// By the definition. --------------------------------------------------------------------------------------------------

/// The sum of a run.
pub fn sum_run<T: Lane>(values: &[T]) -> ExactSum {
    let mut sum = ExactSum::default();
    for start in (0..values.len()).step_by(BLOCK) {
        let end = values.len().min(start + BLOCK);
        let lane = |lane: usize| {
            let mut total = T::ZERO;
            for i in (start + lane..end).step_by(LANES) {
                total = total + values[i];
            }
            total.wide()
        };
        let two = |i: usize| lane(i) + lane(i + 1);
        let four = |i: usize| two(i) + two(i + 2);
        let eight = |i: usize| four(i) + four(i + 4);
        sum.add_block(eight(0) + eight(8), (end - start) as u64);
    }
    sum
}

/// The sum of each column of a row-major matrix.
pub fn sum_columns<T: Lane>(matrix: &[T], cols: usize) -> Vec<ExactSum> {
    let mut sums = vec![ExactSum::default(); cols];
    let rows = matrix.len().checked_div(cols).unwrap_or(0);
    for (col, sum) in sums.iter_mut().enumerate() {
        for start in (0..rows).step_by(BLOCK_ROWS) {
            let end = rows.min(start + BLOCK_ROWS);
            let mut total = 0.0;
            for row in start..end {
                total += matrix[row * cols + col].wide();
            }
            sum.add_block(total, (end - start) as u64);
        }
    }
    sums
}

/// The least of a run: +inf if it is empty.
pub fn min_run<T: Lane>(values: &[T]) -> f64 {
    let mut least = f64::INFINITY;
    for &x in values {
        least = Lane::min(least, x.wide());
    }
    least
}

/// The greatest of a run: -inf if it is empty.
pub fn max_run<T: Lane>(values: &[T]) -> f64 {
    let mut greatest = f64::NEG_INFINITY;
    for &x in values {
        greatest = Lane::max(greatest, x.wide());
    }
    greatest
}

#[cfg(test)]
mod tests;
