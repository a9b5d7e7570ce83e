//! Sums are held to integer arithmetic, and the streams to the definition.

use super::*;

/// SplitMix64: numbers for tests.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn shuffle<T>(&mut self, values: &mut [T]) {
        for i in (1..values.len()).rev() {
            values.swap(i, self.below(i + 1));
        }
    }
}

fn sum(values: &[f64]) -> ExactSum {
    let mut sum = ExactSum::default();
    values.iter().for_each(|&x| sum.add(x));
    sum
}

/// 2^n, subnormals too.
fn power(n: i32) -> f64 {
    if n < -1022 { f64::from_bits(1 << (n + 1074)) } else { f64::from_bits(((n + 1023) as u64) << 52) }
}

/// Equal bits, or both NaN.
fn same(x: f64, y: f64) -> bool {
    x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan())
}

#[test]
fn sums_are_those_of_integers() {
    let mut random = Random(1);
    for round in 0..3000 {
        // A multiple of 2^base, of which the integer is at most 2^113 in magnitude.
        let base = [-1074, -1060, -500, -53, 0, 300, 850, 900, 909, 910, 911, 912][round % 12];
        let spread = [1, 4, 30, 55][round / 12 % 4];
        let (mut values, mut exact) = (Vec::new(), 0i128);
        for _ in 0..1 + random.below(40) {
            // A float within 53 bits, of a random length.
            let k = (random.next() >> 11) as i64 >> random.below(53);
            let k = if random.next() & 1 == 1 { -k } else { k };
            let up = random.below(spread) as i32;
            let mut x = k as f64 * power(base + up);
            if !x.is_finite() {
                x = 0.0;
            } else {
                exact += i128::from(k) << up;
            }
            values.push(x);
        }
        if round % 7 == 0 {
            // Cancels all but a little.
            let rest: Vec<f64> = values.iter().skip(1).map(|x| -x).collect();
            exact = (values[0] / power(base)) as i128;
            values.extend(rest);
        }
        random.shuffle(&mut values);
        // The cast to f64 rounds to nearest even, and the product is exact or overflows.
        let expected = exact as f64 * power(base);
        let found = sum(&values).round();
        assert!(same(found, expected), "{found:e} {expected:e} base {base} {values:?}");
    }
}

#[test]
fn rounding_has_its_edges_right() {
    let tiny = f64::from_bits(1);
    let cases: [(&[f64], f64); 16] = [
        (&[], 0.0),
        (&[-0.0], 0.0),
        (&[-0.0, -0.0], 0.0),
        (&[1.5, -1.5], 0.0),
        (&[tiny], tiny),
        (&[-tiny], -tiny),
        (&[f64::MIN_POSITIVE, -tiny], f64::from_bits(0x000f_ffff_ffff_ffff)),
        (&[1e300, 1.0, -1e300], 1.0),
        (&[1.0, power(-53)], 1.0),
        (&[1.0, power(-53), tiny], 1.0 + f64::EPSILON),
        (&[1.0, power(-53), -tiny], 1.0),
        (&[1.0 + f64::EPSILON, power(-53)], 1.0 + 2.0 * f64::EPSILON),
        (&[f64::MAX, power(970)], f64::INFINITY),
        (&[-f64::MAX, -power(970), tiny], -f64::MAX),
        (&[f64::MAX, f64::MAX, -f64::MAX], f64::MAX),
        (&[f64::MAX, f64::MAX, f64::MAX, f64::MAX], f64::INFINITY),
    ];
    for (values, expected) in cases {
        let found = sum(values).round();
        assert!(same(found, expected), "{values:?}: {found:e}");
    }
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    assert_eq!(sum(&[1.0, inf, -f64::MAX, inf]).round(), inf);
    assert_eq!(sum(&[-inf, f64::MAX]).round(), -inf);
    assert!(sum(&[-inf, 1.0, inf]).round().is_nan());
    assert!(sum(&[nan, inf]).round().is_nan());
    assert!(sum(&[-nan]).round().is_nan());
}

#[test]
fn neither_order_nor_grouping_matters() {
    let mut random = Random(2);
    for _ in 0..200 {
        let mut values: Vec<f64> = (0..random.below(60)).map(|_| f64::from_bits(random.next())).collect();
        values.retain(|x| x.is_finite());
        let whole = sum(&values);
        random.shuffle(&mut values);
        assert_eq!(sum(&values), whole);
        let mut parts: Vec<ExactSum> = values.chunks(7).map(sum).collect();
        let mut merged = ExactSum::default();
        parts.iter().for_each(|part| merged.merge(part));
        assert_eq!(merged, whole);
        let mut total = vec![0; ExactSum::WORDS];
        for part in &mut parts {
            let mut words = vec![0; ExactSum::WORDS];
            part.words(&mut words);
            total.iter_mut().zip(words).for_each(|(total, word)| *total += word);
        }
        let from_words = ExactSum::from_words(&total);
        assert_eq!(from_words, whole);
        assert!(same(from_words.round(), whole.round()));
        assert_eq!(from_words.count(), values.len() as u64);
    }
    assert_ne!(sum(&[1.0]), sum(&[f64::from_bits(1.0f64.to_bits() + 1)]));
    assert_ne!(sum(&[0.0]), sum(&[]), "the count differs");
}

#[test]
fn words_of_many_ranks_add_up() {
    let mut sum = sum(&[-f64::MAX, f64::MIN_POSITIVE, f64::NAN, 1.0 / 3.0]);
    let mut words = vec![0; ExactSum::WORDS];
    sum.words(&mut words);
    words.iter_mut().for_each(|word| *word *= 1 << 16);
    let mut doubled = sum.clone();
    for _ in 0..16 {
        let once = doubled.clone();
        doubled.merge(&once);
    }
    assert_eq!(ExactSum::from_words(&words), doubled);
}

#[test]
fn carries_are_passed_on_before_a_limb_overflows() {
    let top = f64::from_bits(0x47ef_ffff_ffff_ffff);
    // 2^40 times one addend by doubling, with the greatest number of additions pending all along.
    let mut sum = sum(&[top]);
    for _ in 0..40 {
        sum.pending = sum.pending.max(PENDING - 1);
        let once = sum.clone();
        sum.merge(&once);
        assert!(sum.limbs[..LIMBS - 1].iter().all(|limb| (0..1 << 32).contains(limb)));
    }
    assert_eq!(sum.round(), top * power(40));
    let mut sum = ExactSum { pending: PENDING, limbs: [1 << 61; LIMBS], ..ExactSum::default() };
    sum.add(1.0);
    assert_eq!(sum.pending, 1);
    assert!(sum.limbs[..LIMBS - 1].iter().all(|limb| (0..1 << 34).contains(limb)));
}

/// Values of several characters: plain ones, ones that cancel, bits, and specials here and there.
fn values_f64(random: &mut Random, len: usize, kind: usize) -> Vec<f64> {
    (0..len)
        .map(|i| {
            let x = (random.next() >> 11) as f64 * power(-53) - 0.5;
            match kind {
                0 => x,
                1 => x * power(random.below(60) as i32),
                2 => [1e300, -1e300, x, power(-1074), -0.0][random.below(5)],
                3 if i % 100 == 77 => [f64::NAN, f64::INFINITY, f64::NEG_INFINITY][random.below(3)],
                4 if i % 300 == 77 => f64::INFINITY,
                5 => -0.0,
                6 => f64::MAX,
                7 => x * power(-1060),
                _ => x,
            }
        })
        .collect()
}

fn streams_agree<T: Lane>(of: impl Fn(f64) -> T) {
    let mut random = Random(3);
    for round in 0..400 {
        let len = [0, 1, 15, 16, 17, 33, 1023, 1024, 1025, 2048, 5000][round % 11] + random.below(20) * (round % 2);
        let a: Vec<T> = values_f64(&mut random, len, round % 8).into_iter().map(&of).collect();
        let b: Vec<T> = values_f64(&mut random, len, 0).into_iter().map(&of).collect();
        let products: Vec<T> = a.iter().zip(&b).map(|(&a, &b)| a * b).collect();
        let (mut run, mut dot) = (RunSum::new(), RunSum::new());
        let (mut least, mut greatest) = (Extreme::least(), Extreme::greatest());
        let mut start = 0;
        while start < len {
            let longest = [1, 7, 40, 3000][round / 8 % 4];
            let end = len.min(start + 1 + random.below(longest));
            run.push(&a[start..end]);
            dot.push_products(&a[start..end], &b[start..end]);
            if random.below(3) == 0 {
                let (mut other, mut another) = (Extreme::least(), Extreme::greatest());
                other.push(&a[start..end]);
                another.push(&a[start..end]);
                least.merge(&other);
                greatest.merge(&another);
            } else {
                least.push(&a[start..end]);
                greatest.push(&a[start..end]);
            }
            start = end;
        }
        let expected = sum_run(&a);
        assert_eq!(*run.finish(), expected, "{round}");
        assert_eq!(expected.count(), len as u64);
        let (taken, count) = run.take();
        assert!(same(taken, expected.round()) && count == len as u64, "{taken} {}", expected.round());
        // It has begun anew, and does not need to be finished.
        run.push(&b);
        let (taken, count) = run.take();
        assert!(same(taken, sum_run(&b).round()) && count == len as u64, "{taken}");
        assert_eq!(*dot.finish(), sum_run(&products), "{round}");
        assert!(same(least.value(), min_run(&a)), "{} {}", least.value(), min_run(&a));
        assert!(same(greatest.value(), max_run(&a)), "{} {}", greatest.value(), max_run(&a));
        // Pieces that begin at multiples of the block are the whole.
        let mut pieces = ExactSum::default();
        for piece in a.chunks(2 * BLOCK) {
            let mut run = RunSum::new();
            run.push(piece);
            pieces.merge(run.finish());
        }
        assert_eq!(pieces, expected);
    }
}

#[test]
fn streams_agree_with_the_definition() {
    streams_agree(|x| x);
    streams_agree(|x| x as f32);
}

#[test]
fn the_definition_is_as_stated() {
    // Lanes add in f32: 2^24 swallows a one in its own lane only.
    let mut values = vec![0.0f32; 1030];
    values[3] = 16777216.0;
    values[19] = 1.0;
    values[20] = 1.0;
    assert_eq!(sum_run(&values).round(), 16777217.0);
    // A new block has lanes of its own.
    values[1024 + 3] = 1.0;
    assert_eq!(sum_run(&values).round(), 16777218.0);
    // Pairs of neighbours come first: the one is lost if its neighbour is large, kept if that cancels.
    let big = power(60);
    let lanes = |at: [(usize, f64); 3]| {
        let mut values = [0.0; 16];
        at.into_iter().for_each(|(i, x)| values[i] = x);
        sum_run(&values).round()
    };
    assert_eq!(lanes([(0, big), (1, 1.0), (2, -big)]), 0.0);
    assert_eq!(lanes([(0, big), (1, -big), (2, 1.0)]), 1.0);
    assert_eq!(lanes([(0, big), (2, 1.0), (4, -big)]), 0.0);
    assert_eq!(lanes([(4, big), (0, 1.0), (6, -big)]), 1.0);
    // An overflow within a lane is an infinity; across blocks the exact sum may come back from beyond.
    assert_eq!(sum_run(&[f32::MAX; 17]).round(), f64::INFINITY);
    let mut values = vec![f64::MAX; 1];
    values.resize(1024, 0.0);
    values.push(f64::MAX);
    values.resize(2048, 0.0);
    values.push(-f64::MAX);
    assert_eq!(sum_run(&values).round(), f64::MAX);
}

#[test]
fn extremes_order_zeros_and_keep_nans() {
    let of = |values: &[f32]| {
        let (mut least, mut greatest) = (Extreme::least(), Extreme::greatest());
        least.push(values);
        greatest.push(values);
        assert!(same(least.value(), min_run(values)) && same(greatest.value(), max_run(values)), "{values:?}");
        (least.value(), greatest.value())
    };
    assert_eq!(of(&[]), (f64::INFINITY, f64::NEG_INFINITY));
    for values in [[0.0, -0.0], [-0.0, 0.0]] {
        let (least, greatest) = of(&values);
        assert!(same(least, -0.0) && same(greatest, 0.0));
    }
    let (least, greatest) = of(&[-0.0; 17]);
    assert!(same(least, -0.0) && same(greatest, -0.0));
    let (least, greatest) = of(&[0.0, 2.0, 0.0]);
    assert!(same(least, 0.0) && greatest == 2.0);
    let (least, greatest) = of(&[-3.0, -0.0]);
    assert!(least == -3.0 && same(greatest, -0.0));
    assert_eq!(of(&[f32::INFINITY, 1e-45]), (f64::from(1e-45f32), f64::INFINITY));
    for at in 0..40 {
        let mut values = [1.0f32; 40];
        values[at] = -f32::NAN;
        let (least, greatest) = of(&values);
        assert!(least.is_nan() && greatest.is_nan());
    }
}

#[test]
fn columns_are_summed_by_blocks_of_rows() {
    let mut random = Random(4);
    for (rows, cols) in [(0, 3), (1, 1), (5, 0), (64, 7), (65, 7), (200, 33), (129, 1)] {
        for kind in 0..8 {
            let matrix: Vec<f32> = values_f64(&mut random, rows * cols, kind).into_iter().map(|x| x as f32).collect();
            let mut sums = vec![ExactSum::default(); cols];
            let mut block = vec![0.0; cols];
            for row in 0..rows {
                add_rows(&mut block, &matrix[row * cols..][..cols]);
                if row % BLOCK_ROWS == BLOCK_ROWS - 1 || row + 1 == rows {
                    let elements = (row % BLOCK_ROWS + 1) as u64;
                    sums.iter_mut().zip(&mut block).for_each(|(sum, total)| {
                        sum.add_block(std::mem::take(total), elements);
                    });
                }
            }
            assert_eq!(sums, sum_columns(&matrix, cols));
        }
    }
    // Within a block f64 additions round; between blocks they do not.
    let mut column = vec![0.0; 130];
    (column[0], column[1], column[2]) = (power(60), 1.0, -power(60));
    assert_eq!(sum_columns(&column, 1)[0].round(), 0.0);
    (column[1], column[64]) = (0.0, 1.0);
    (column[2], column[128]) = (0.0, -power(60));
    assert_eq!(sum_columns(&column, 1)[0].round(), 1.0);
    assert_eq!(sum_columns(&column, 1)[0].count(), 130);
}
