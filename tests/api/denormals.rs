//! Denormal numbers: kept by every engine, or taken for zeros by machine code of any width on any number of threads.

use crate::{bytes, rule, values};
use std::hint::black_box;
use updraft::codegen::Lanes;
use updraft::{Denormals, Engine, OptimizerBuilder, Tensor};

/// Divisions, roots, products and selections, of an element state that stays as small as the gradient.
const RULE: &str = "hyper lr = 0.5\nstate m = 0\nstate v = 0\n\nm = 0.5*m + g\nv = max(v, abs(g)) * 0.75\n\
                    p -= lr * m / (sqrt(v) + 1) + (if m < 0 then v else -v)\n";

/// Parameters and states after three steps, as bytes. Many values are denormal, the others are near to it.
fn run(build: impl FnOnce(OptimizerBuilder) -> OptimizerBuilder) -> Vec<Vec<u8>> {
    let mut opt = build(rule(RULE).optimizer()).build().unwrap();
    let small = |seed: u64, len: usize| -> Vec<f32> { values(seed, len).iter().map(|x| (x * 1e-38) as f32).collect() };
    let wide = |seed: u64, len: usize| -> Vec<f64> { values(seed, len).iter().map(|x| x * 2e-308).collect() };
    let (mut a, mut b, mut c) = (small(1, 70_001), small(2, 13), wide(3, 40_003));
    let (ga, gb, gc) = (small(4, a.len()), small(5, b.len()), wide(6, c.len()));
    for _ in 0..3 {
        let tensors = [Tensor::new("a", &mut a, &ga), Tensor::new("b", &mut b, &gb)];
        let [first, second] = tensors;
        opt.step(&mut [first, second, Tensor::new("c", &mut c, &gc)]).unwrap();
    }
    let mut all: Vec<Vec<u8>> =
        [&a, &b].into_iter().map(|x| x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()).collect();
    all.push(c.iter().flat_map(|x| x.to_le_bytes()).collect());
    all.push(bytes(&opt));
    all
}

#[test]
fn kept_denormals_are_the_evaluators() {
    let kept = run(|builder| builder);
    assert!(kept == run(|builder| builder.engine(Engine::Eval)));
    assert!(kept == run(|builder| builder.lanes(Lanes::One)));
    // The evaluator keeps them, whatever is asked for.
    assert!(kept == run(|builder| builder.engine(Engine::Eval).denormals(Denormals::Flush)));
}

#[test]
fn flushed_denormals_do_not_depend_on_width_and_threads() {
    let flushed = run(|builder| builder.denormals(Denormals::Flush));
    assert!(flushed != run(|builder| builder), "there are denormals");
    assert!(flushed == run(|builder| builder.denormals(Denormals::Flush).lanes(Lanes::One)), "one lane");
    for threads in [2, 3, 7] {
        for lanes in [Lanes::One, Lanes::Simd] {
            let many = run(|builder| builder.denormals(Denormals::Flush).lanes(lanes).threads(threads));
            assert!(flushed == many, "{lanes:?} on {threads} threads");
        }
    }
    let is_denormal = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap()).is_subnormal();
    assert!(!flushed[0].chunks_exact(4).any(is_denormal));
}

/// Whoever calls `step` goes on with denormals of its own.
#[test]
fn the_caller_keeps_its_denormals() {
    for threads in [1, 2] {
        run(|builder| builder.denormals(Denormals::Flush).threads(threads));
        assert!(black_box(f32::MIN_POSITIVE) / black_box(2.0) > 0.0);
        assert!(black_box(1e-40f32) * black_box(2.0) > 0.0);
    }
}
