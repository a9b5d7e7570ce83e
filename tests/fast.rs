//! Evaluation rule 5, `Math::Fast`, held apart from the compiler: each rule of the table stands beside a closure in plain
//! Rust that does what the rule of DESIGN says, in f32 and in f64. Both must give the same bits, wild values included.

use std::collections::BTreeMap;
use updraft::ir::{KernelInst, Op, lower};
use updraft::plan::plan;
use updraft::{Engine, Facts, Math, Outcome, Rule, Storage, Tensor};

/// One element of each array.
#[derive(Clone, Copy, Debug)]
struct Elements<R> {
    p: R,
    g: R,
    m: R,
    v: R,
}

/// The hypers.
#[derive(Clone, Copy, Debug)]
struct Hypers {
    a: f64,
    b: f64,
    c: f64,
}

type Case<R> = (&'static str, &'static str, fn(Elements<R>, Hypers) -> R);

/// The table for both types. `R` is the compute type; `=> expression` is p after the step. A scalar is f64 until `as R`.
macro_rules! table {
    ($($defs:literal $text:literal => |$e:ident, $s:ident| $value:expr;)*) => {
        #[allow(unused_variables, clippy::unnecessary_cast)]
        fn cases_f32() -> Vec<Case<f32>> {
            type R = f32;
            vec![$(($defs, $text, |$e: Elements<R>, $s: Hypers| -> R { $value })),*]
        }

        #[allow(unused_variables, clippy::unnecessary_cast)]
        fn cases_f64() -> Vec<Case<f64>> {
            type R = f64;
            vec![$(($defs, $text, |$e: Elements<R>, $s: Hypers| -> R { $value })),*]
        }
    };
}

table! {
    // The scalar factors of a tree are gathered, rounded once and multiplied last.
    "" "p = a*(m/b)/v" => |e, s| (e.m / e.v) * (s.a / s.b) as R;
    "" "p = m/a" => |e, s| e.m * (1.0 / s.a) as R;
    "" "p = a*b*g" => |e, s| e.g * (s.a * s.b) as R;
    "" "p = a*g*b" => |e, s| e.g * (s.a * s.b) as R;
    "" "p = g*(a*b)*c" => |e, s| e.g * (s.a * s.b * s.c) as R;
    "" "p = c*g*(a*b)" => |e, s| e.g * (s.c * (s.a * s.b)) as R;
    "" "p = a*(b*g)*c" => |e, s| e.g * (s.a * s.b * s.c) as R;
    "" "p = a*m*b*g/c" => |e, s| (e.m * e.g) * (s.a * s.b / s.c) as R;
    "" "p = m/a/b" => |e, s| e.m * (1.0 / s.a / s.b) as R;
    "" "p = m/a*b" => |e, s| e.m * (s.b / s.a) as R;
    "" "p = m/a/b*c" => |e, s| e.m * (s.c / s.a / s.b) as R;
    // A maximal scalar subexpression is one factor; scalars that an element parts are two.
    "" "p = m/(a*b)" => |e, s| e.m * (1.0 / (s.a * s.b)) as R;
    "" "p = m/(a*g*b)" => |e, s| (e.m / e.g) * (1.0 / s.a / s.b) as R;
    "" "p = g*(a/b)" => |e, s| e.g * (s.a / s.b) as R;
    "" "p = (a + b)*g" => |e, s| e.g * (s.a + s.b) as R;
    "" "p = g*(a - b*c)/(a + c)" => |e, s| e.g * ((s.a - s.b * s.c) / (s.a + s.c)) as R;
    // Nested quotients turn numerators into denominators.
    "" "p = g/(m/a)/(v*b)" => |e, s| ((e.g / e.m) / e.v) * (s.a / s.b) as R;
    "" "p = g/(m/(a*v))" => |e, s| (e.g / (e.m / e.v)) * (1.0 * s.a) as R;
    // The first numerator without an element factor takes the whole factor; others are 1.
    "" "p = a/v*g" => |e, s| ((s.a as R) / e.v) * e.g;
    "" "p = a/v*g*b" => |e, s| (((s.a * s.b) as R) / e.v) * e.g;
    "" "p = a/m*(b/v)" => |e, s| (((s.a * s.b) as R) / e.m) * (1.0 / e.v);
    "" "p = m*(a/v)*b" => |e, s| e.m * (((s.a * s.b) as R) / e.v);
    "" "p = a/(b/m)*g" => |e, s| (((s.a / s.b) as R) / (1.0 / e.m)) * e.g;
    "" "p = 1/g" => |e, s| 1.0 / e.g;
    // In a denominator, a numerator without an element factor is 1, and its scalar divides.
    "" "p = g/(a/m)" => |e, s| (e.g / (1.0 / e.m)) * (1.0 / s.a) as R;
    "" "p = b*g/(a/m)" => |e, s| (e.g / (1.0 / e.m)) * (s.b / s.a) as R;
    // Powers are expanded first.
    "" "p = g^3" => |e, s| (e.g * e.g) * e.g;
    "" "p = g^5*a" => |e, s| (((e.g * e.g) * (e.g * e.g)) * e.g) * s.a as R;
    "" "p = (a*g)^2" => |e, s| (e.g * e.g) * (s.a * s.a) as R;
    "" "p = (g*a)^3*b" => |e, s| ((e.g * e.g) * e.g) * (s.a * s.a * s.a * s.b) as R;
    "" "p = (g/a)^-2" => |e, s| ((1.0 * s.a * s.a) as R) / (e.g * e.g);
    "" "p = g^-1*a" => |e, s| (s.a as R) / e.g;
    "" "p = m*g^-1" => |e, s| e.m * (1.0 / e.g);
    "" "p = a^3*g" => |e, s| e.g * ((s.a * s.a) * s.a) as R;
    "" "p = m*g^0" => |e, s| e.m * 1.0;
    // lerp is expanded first: a + w*(b - a).
    "" "p = lerp(m, g, a)" => |e, s| (e.g - e.m).mul_add(s.a as R, e.m);
    "" "p = lerp(m, g, v)" => |e, s| e.v.mul_add(e.g - e.m, e.m);
    "" "p = lerp(m, g, 1 - a)" => |e, s| (e.g - e.m).mul_add((1.0 - s.a) as R, e.m);
    "" "p = lerp(m, g, a*b*v)" => |e, s| (e.v * (s.a * s.b) as R).mul_add(e.g - e.m, e.m);
    "" "p = lerp(a, b, v)" => |e, s| e.v.mul_add((s.b - s.a) as R, s.a as R);
    // A def's body and its arguments are source expressions of their own.
    "def f(x) = a*x\n" "p -= f(g)" => |e, s| e.p - e.g * s.a as R;
    "def f(x) = x*b\n" "p = f(a*g)" => |e, s| (e.g * s.a as R) * s.b as R;
    "def f(x, y) = x*b - y\n" "p = f(a*g, c*m)" => |e, s| (e.g * s.a as R).mul_add(s.b as R, -(e.m * s.c as R));
    // So is what a `let` names.
    "" "let u = a*g\n    p -= u" => |e, s| e.p - e.g * s.a as R;
    "" "let u = a*g\n    p = u*b" => |e, s| (e.g * s.a as R) * s.b as R;
    // Parentheses do not end one.
    "" "p -= (a*(g))" => |e, s| e.g.mul_add(-s.a as R, e.p);
    "" "p = ((a*g))*(b)" => |e, s| e.g * (s.a * s.b) as R;
    // A unary minus on elements does; on a scalar it is part of the scalar.
    "" "p = m + -(a*g)" => |e, s| e.m + -(e.g * s.a as R);
    "" "p = -(a*g)*b" => |e, s| -(e.g * s.a as R) * s.b as R;
    "" "p = -a*g*b" => |e, s| e.g * (-s.a * s.b) as R;
    "" "p = m - -g*a" => |e, s| e.g.mul_add(s.a as R, e.m);
    // `x op= e` is `x = x op (e)`.
    "" "p *= a*g" => |e, s| (e.p * e.g) * s.a as R;
    "" "p /= a*g" => |e, s| (e.p / e.g) * (1.0 / s.a) as R;
    "" "p *= 1 - a*b" => |e, s| e.p * (1.0 - s.a * s.b) as R;
    "" "p += m/v" => |e, s| e.p + e.m / e.v;
    // Contraction: the right operand, else the left.
    "" "p -= a*g" => |e, s| e.g.mul_add(-s.a as R, e.p);
    "" "p -= a/v*g" => |e, s| (-((s.a as R) / e.v)).mul_add(e.g, e.p);
    "" "p -= a*(m/b)/(sqrt(v/c) + b)" => |e, s| {
        let d = (e.v * (1.0 / s.c) as R).sqrt() + s.b as R;
        (e.m / d).mul_add(-(s.a / s.b) as R, e.p)
    };
    "" "p = m*g + v*p" => |e, s| e.v.mul_add(e.p, e.m * e.g);
    "" "p = m*g - v*p" => |e, s| (-e.v).mul_add(e.p, e.m * e.g);
    "" "p = m - g*v" => |e, s| (-e.g).mul_add(e.v, e.m);
    "" "p = g*v - m" => |e, s| e.g.mul_add(e.v, -e.m);
    "" "p = g*v + m/p" => |e, s| e.g.mul_add(e.v, e.m / e.p);
    "" "p = a - g*m" => |e, s| (-e.g).mul_add(e.m, s.a as R);
    "" "p = g*m - a" => |e, s| e.g.mul_add(e.m, -s.a as R);
    "" "p = 2*g - m/3" => |e, s| (-e.m).mul_add((1.0 / 3.0) as R, e.g * 2.0);
    "" "p = a*g + b*g + c*g" => |e, s| e.g.mul_add(s.c as R, e.g.mul_add(s.b as R, e.g * s.a as R));
    // Scalars stay f64 until they meet an element: their products and sums never contract.
    "" "p = m + a*b" => |e, s| e.m + (s.a * s.b) as R;
    "" "p = a*b + c*g" => |e, s| e.g.mul_add(s.c as R, (s.a * s.b) as R);
    "" "p = g*m + a*b" => |e, s| e.g.mul_add(e.m, (s.a * s.b) as R);
    "" "p = a + b + g" => |e, s| (s.a + s.b) as R + e.g;
    "" "p = g + a + b" => |e, s| (e.g + s.a as R) + s.b as R;
    // Arms and arguments are source expressions of their own; so nothing in them joins what is outside.
    "" "p = if g > 0 then a*g*b else m/a" => |e, s| {
        if e.g > 0.0 { e.g * (s.a * s.b) as R } else { e.m * (1.0 / s.a) as R }
    };
    "" "p = m + (if g > 0 then a*g else v)" => |e, s| e.m + if e.g > 0.0 { e.g * s.a as R } else { e.v };
    "" "p = b*(if g > 0 then a*g else v)" => |e, s| (if e.g > 0.0 { e.g * s.a as R } else { e.v }) * s.b as R;
    "" "p = if a*g*b > m - c*v then g else m" => |e, s| {
        if e.g * (s.a * s.b) as R > e.v.mul_add(-s.c as R, e.m) { e.g } else { e.m }
    };
    "" "p = a*sqrt(v*b)/c" => |e, s| (e.v * s.b as R).sqrt() * (s.a / s.c) as R;
    "" "p = m + abs(a*g)" => |e, s| e.m + (e.g * s.a as R).abs();
    "" "p = g*rsqrt(v)*a" => |e, s| (e.g * (1.0 / e.v.sqrt())) * s.a as R;
    "" "p = fma(a*g, m, b*v)" => |e, s| (e.g * s.a as R).mul_add(e.m, e.v * s.b as R);
    "" "p = abs(m - c*v)*a" => |e, s| e.v.mul_add(-s.c as R, e.m).abs() * s.a as R;
}

/// What f32 and f64 have in common.
trait Real: updraft::runtime::Element + std::fmt::Debug {
    fn of(x: f64) -> Self;
    /// The bits, all NaNs alike.
    fn bits(self) -> u64;
}

macro_rules! real {
    ($($ty:ident)*) => {$(
        impl Real for $ty {
            fn of(x: f64) -> $ty {
                x as $ty
            }
            fn bits(self) -> u64 {
                if self.is_nan() { u64::MAX } else { self.to_bits().into() }
            }
        }
    )*};
}
real!(f32 f64);

/// Values from a seed: mostly ordinary, some wild.
fn values<R: Real>(seed: u64, len: usize) -> Vec<R> {
    const WILD: [f64; 14] = [
        0.0,
        -0.0,
        1.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        1e-40,
        -1e-45,
        5e-324,
        -1e-310,
        3.4e38,
        -1.7e308,
        1e-20,
        -1e19,
    ];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut value = || match next() % 6 {
        0 => WILD[(next() % WILD.len() as u64) as usize],
        _ => (next() >> 11) as f64 / (1u64 << 51) as f64 - 2.0,
    };
    (0..len).map(|_| R::of(value())).collect()
}

/// Scalars whose products and quotients round, and some that overflow or underflow f32 on the way.
const HYPERS: [Hypers; 4] = [
    Hypers { a: 0.3, b: -1.7, c: 2.9 },
    Hypers { a: 1e-3, b: 0.1, c: 1.0 - 0.999 },
    Hypers { a: 1e30, b: 1e-25, c: -7e18 },
    Hypers { a: -1e-42, b: 1e20, c: 1e-300 },
];

fn run<R: Real>((defs, text, expected): Case<R>, engine: Engine) {
    const LEN: usize = 203;
    let rule = format!(
        "optimizer r\nhyper a = 1\nhyper b = 1\nhyper c = 1\ninput phase\nstate m = 0\nstate v = 0\n{defs}\n\
         if phase == 0 {{\n    m = g\n}} else if phase == 1 {{\n    v = g\n}} else {{\n    {text}\n}}\n"
    );
    let rule = Rule::parse("r", &rule).unwrap_or_else(|e| panic!("{text}: {e}"));
    for (k, s) in HYPERS.into_iter().enumerate() {
        let builder = rule.optimizer().set("a", s.a).unwrap().set("b", s.b).unwrap().set("c", s.c).unwrap();
        let mut opt = builder.engine(engine).build().unwrap();
        let [before, g, m, v] = [1, 2, 3, 4].map(|i| values::<R>(10 * k as u64 + i, LEN));
        let mut p = before.clone();
        for (phase, grad) in [&m, &v, &g].into_iter().enumerate() {
            opt.input("phase", phase as f64).unwrap();
            opt.step(&mut [Tensor::new("w", &mut p, grad)]).unwrap();
        }
        for i in 0..LEN {
            let e = Elements { p: before[i], g: g[i], m: m[i], v: v[i] };
            let want = expected(e, s);
            assert!(p[i].bits() == want.bits(), "{text}: {:?}, not {want:?}, of {e:?} and {s:?}", p[i]);
        }
    }
}

#[test]
fn the_rule_in_f32() {
    for case in cases_f32() {
        run(case, Engine::Eval);
        #[cfg(feature = "jit")]
        run(case, Engine::Jit);
    }
}

#[test]
fn the_rule_in_f64() {
    for case in cases_f64() {
        run(case, Engine::Eval);
        #[cfg(feature = "jit")]
        run(case, Engine::Jit);
    }
}

/// The element operations of a rule's one sweep, by name.
fn operations(rule: &Rule, outcomes: Vec<Outcome>) -> BTreeMap<String, usize> {
    let facts = Facts::new(Storage::F32, Math::Fast, outcomes);
    let plan = plan(&lower(rule.program(), &facts));
    let mut counts = BTreeMap::new();
    for inst in plan.sweeps().flat_map(|sweep| &sweep.kernel.body) {
        let name = match inst {
            KernelInst::Op(Op::Unary(op, _)) => format!("{op:?}"),
            KernelInst::Op(Op::Binary(op, ..)) => format!("{op:?}"),
            KernelInst::Op(Op::Fma(..)) => "Fma".to_string(),
            KernelInst::Op(Op::Const(_)) | KernelInst::Uniform(_) | KernelInst::Load(_) | KernelInst::Store(..) => {
                continue;
            }
            KernelInst::Op(op) => format!("{op:?}"),
        };
        *counts.entry(name).or_insert(0) += 1;
    }
    counts
}

#[test]
fn adam_takes_ten_operations() {
    let rule = Rule::shipped("adam").unwrap();
    // Neither `maximize` nor weight decay.
    let counts = operations(&rule, vec![Outcome::False; rule.program().conditions.len()]);
    let expected = [("Add", 1), ("Div", 1), ("Fma", 3), ("Mul", 4), ("Sqrt", 1)];
    assert_eq!(counts, expected.map(|(name, n)| (name.to_string(), n)).into());
}
