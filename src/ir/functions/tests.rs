//! The functions are held to libm's in f64, which are exact enough to judge f32.

use super::code::power_of_two;
use super::*;
use crate::ir::eval::{Column, apply};
use crate::ir::op::{Binary, Op, Type, Unary, Value};

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
    let found = if found.is_infinite() { power_of_two(128).copysign(exact) } else { found.into() };
    (found - exact).abs() / power_of_two(i64::from(exponent) - 23)
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
        let x: Vec<f32> =
            (0..4096).map(|i| next + i * stride).filter(|&x| x < 1 << 32).map(|x| f32::from_bits(x as u32)).collect();
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
            f64::from_bits(if i % 2 == 0 { bits } else { bits & !(0x7ff << 52) | near << 52 })
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

/// From one f32 of a test to the next. All of them take minutes a function: `UPDRAFT_ALL_F32=1 cargo test --release functions`.
fn stride() -> u64 {
    if std::env::var_os("UPDRAFT_ALL_F32").is_some() { 1 } else { 1999 }
}

#[track_caller]
fn is_accurate(function: Function, libm: fn(f64) -> f64) {
    let (units, x) = worst_f32(function, libm, stride());
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
    let hard = [f64::from_bits(0x4419_5a8e_9d1c_3b3a), 6381956970095103.0 * power_of_two(797), f64::MAX, 1.7e308];
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
    let all: Vec<f64> = (0..1024).map(|e| 1.2345678901234567 * power_of_two(e)).collect();
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

#[test]
fn exponentials() {
    is_accurate(exp, libm::exp);
    has_values(exp, &[(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0), (NAN, NAN), (1e4, INF), (-1e4, 0.0)]);
    // Results that are subnormal.
    for x in [-88.0f32, -95.5, -103.0, -103.9, -103.98, -87.34] {
        assert!(units_f32(run_f32(exp, vec![x])[0], libm::exp(x.into())) < 1.0, "{x}");
    }
    for x in [-708.5, -720.25, -744.0, -745.1, -745.2] {
        assert!(steps_f64(run_f64(exp, vec![x])[0], libm::exp(x)) <= 1.0, "{x}");
    }
}

#[test]
fn sigmoids() {
    // exp(x) where that is nearer: 1 + exp(-x) overflows.
    let exact = |x: f64| if x < -700.0 { libm::exp(x) } else { 1.0 / (1.0 + libm::exp(-x)) };
    is_accurate(sigmoid, exact);
    has_values(sigmoid, &[(0.0, 0.5), (-0.0, 0.5), (INF, 1.0), (-INF, 0.0), (NAN, NAN), (1e4, 1.0), (-1e4, 0.0)]);
}

#[test]
fn hyperbolic_tangents() {
    is_accurate(tanh, libm::tanh);
    has_values(tanh, &[(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (NAN, NAN), (100.0, 1.0), (-1e30, -1.0)]);
}

#[test]
fn cube_roots() {
    is_accurate(cbrt, libm::cbrt);
    has_values(cbrt, &[(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (NAN, NAN), (27.0, 3.0), (-0.125, -0.5)]);
    let powers: Vec<(f64, f64)> = (-49..=42).map(|n| (power_of_two(3 * n), power_of_two(n))).collect();
    has_values(cbrt, &powers[7..]);
}

/// x to the power y, in both types.
fn run_pow(x: &[f64], y: &[f64]) -> (Vec<f32>, Vec<f64>) {
    let narrow = |x: &[f64]| Column::F32(x.iter().map(|&x| x as f32).collect());
    let build = |ty| move |append: &mut dyn FnMut(Op) -> Value| pow(append, ty, Value(0), Value(1));
    let found32 = run(build(Type::F32), &[narrow(x), narrow(y)]);
    match (found32, run(build(Type::F64), &[Column::F64(x.to_vec()), Column::F64(y.to_vec())])) {
        (Column::F32(found32), Column::F64(found)) => (found32, found),
        other => panic!("{other:?}"),
    }
}

#[test]
fn powers() {
    // The first of a pair is anything; the second such that the power is within or slightly beyond the range of f32, or
    // of f64, or anything.
    let sample = sample_f64(150_000);
    for (turn, limit) in [(0, 106.0), (1, 750.0), (2, f64::NAN)] {
        let x: Vec<f64> = sample.iter().map(|&x| if turn == 0 { f64::from(x as f32) } else { x }).collect();
        let y: Vec<f64> = sample
            .iter()
            .rev()
            .zip(&x)
            .map(|(&y, &x)| {
                let to = (y.to_bits() >> 2 & 0xffff_ffff) as f64 * power_of_two(-31) - 1.0;
                if limit.is_nan() { y } else { f64::from((to * limit / libm::log(x.abs())) as f32) }
            })
            .collect();
        for (x, y) in x.chunks(4096).zip(y.chunks(4096)) {
            let (found32, found) = run_pow(x, y);
            for (i, (&x, &y)) in x.iter().zip(y).enumerate() {
                let units = units_f32(found32[i], libm::pow((x as f32).into(), (y as f32).into()));
                assert!(units < 1.0, "{units} units of f32 at {x:e}^{y:e}: {:e}", found32[i]);
                let steps = steps_f64(found[i], libm::pow(x, y));
                assert!(steps <= 2.0, "{steps} steps of f64 at {x:e}^{y:e}: {:e}", found[i]);
            }
        }
    }
    // Whole powers of negative numbers too, which the sample has few of.
    for x in [-1.5, -3.0, -0.7, 2.0, 10.0] {
        for n in -30..30 {
            let (found32, found) = run_pow(&[x], &[f64::from(n)]);
            assert!(units_f32(found32[0], libm::pow((x as f32).into(), n.into())) < 1.0, "{x}^{n}: {}", found32[0]);
            assert!(steps_f64(found[0], libm::pow(x, n.into())) <= 1.0, "{x}^{n}: {}", found[0]);
        }
    }
}

#[test]
fn powers_have_the_special_cases_of_c() {
    let tiny = f64::from(f32::from_bits(1));
    let values = [
        0.0,
        1.0,
        2.0,
        3.0,
        0.5,
        1.5,
        5e8,
        16777215.0,
        16777216.0,
        f32::MAX.into(),
        tiny,
        1.0 + f64::from(f32::EPSILON),
        INF,
        NAN,
    ];
    let values: Vec<f64> = values.iter().flat_map(|&x| [x, -x]).collect();
    for &x in &values {
        for &y in &values {
            let (found32, found) = run_pow(&[x], &[y]);
            let exact = libm::pow(x, y);
            assert!(units_f32(found32[0], exact) < 1.0, "{x}^{y} = {} not {exact}", found32[0]);
            assert!(steps_f64(found[0], exact) <= 1.0, "{x}^{y} = {} not {exact}", found[0]);
        }
    }
}
