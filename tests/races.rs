//! Many threads on one step and on one kernel's code: the same bits, and no races.
//!
//! ThreadSanitizer sees races, of Rust's code though not of machine code, so the evaluator is run too:
//!
//! ```text
//! RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" CARGO_TARGET_DIR=target/tsan \
//!     cargo test --target x86_64-unknown-linux-gnu --no-default-features --features jit --test races
//! ```
//!
//! With `-- --ignored` it runs a race, which it must report.
#![cfg(feature = "jit")]
#![allow(unsafe_code)]

use ndarray::Array2;
use updraft::codegen::{Codegen, Lanes, Target, backend};
use updraft::ir::{Args, Buffer, Uniforms, parse_kernel};
use updraft::{Engine, Rule, Tensor};

/// Long enough to be cut, and short ones beside it.
const SHAPES: [(usize, usize); 5] = [(301, 331), (70_001, 1), (1, 40_000), (3, 5), (0, 7)];

/// Bits of the parameters after two steps.
fn run(rule: &Rule, engine: Engine, threads: usize) -> Vec<u32> {
    let mut opt = rule.optimizer().engine(engine).threads(threads).seed(5).build().unwrap();
    let value = |i: usize, j: usize, by: usize| ((i * 131 + j * 17 + by) % 97) as f32 / 16.0 - 2.5;
    let mut params: Vec<_> =
        SHAPES.iter().map(|shape| Array2::from_shape_fn(*shape, |(i, j)| value(i, j, 0))).collect();
    for step in 1..=2 {
        let grads: Vec<_> = params.iter().map(|p| Array2::from_shape_fn(p.dim(), |(i, j)| value(i, j, step))).collect();
        let names = ["a", "b", "c", "d", "e"];
        let tensors = names.iter().zip(&mut params).zip(&grads).map(|((name, p), g)| Tensor::new(name, p, g));
        opt.step(&mut tensors.collect::<Vec<_>>()).unwrap();
    }
    params.iter().flatten().map(|x| x.to_bits()).collect()
}

/// Rules of one sweep, with reductions to every extent, and with random numbers.
#[test]
fn any_number_of_threads_shares_a_step() {
    for name in ["adamw", "adafactor", "lamb", "clip_adamw", "sgld", "sm3"] {
        let rule = Rule::shipped(name).unwrap();
        for engine in [Engine::Eval, Engine::Jit] {
            let one = run(&rule, engine, 1);
            for threads in [2, 3, 5, 16] {
                assert!(run(&rule, engine, threads) == one, "{name}, {engine:?}, {threads} threads");
            }
        }
    }
}

/// Kernels are compiled and dropped on all threads at once, while all of them run the code of one.
#[test]
fn threads_compile_and_share_code() {
    let text = "kernel k f32 {\nuniform u\nstream p f32 rw\nstream g f32 r\n\n%0 = load p\n%1 = load g\n%2 = uniform u\n\
                %3 = fma %1, %2, %0\nstore p, %3\n}";
    let kernel = parse_kernel(text).unwrap();
    for codegen in Codegen::ALL {
        let Some(isa) = codegen.host() else { continue };
        let compile = || backend(isa).compile(&kernel, Target { isa, lanes: Lanes::Simd }).unwrap();
        let shared = compile();
        let (mut p, g) = (vec![1.0f32; 1000], vec![2.0f32; 1000]);
        std::thread::scope(|scope| {
            for (p, g) in p.chunks_mut(130).zip(g.chunks(130)) {
                let (shared, kernel, compile) = (shared.clone(), &kernel, &compile);
                scope.spawn(move || {
                    for round in 0..40 {
                        let code = if round % 2 == 0 { compile() } else { shared.clone() };
                        let buffers = [Buffer::F32Mut(p), Buffer::F32(g)];
                        code.run(&mut Args::new(kernel, buffers, Uniforms::F32(&[0.25])).unwrap()).unwrap();
                    }
                });
            }
        });
        assert_eq!(p, vec![21.0; 1000]);
    }
}

/// Two threads write what they must not share.
#[test]
#[ignore = "a race, for ThreadSanitizer to report"]
fn a_race() {
    struct Shared(*mut u64);
    // SAFETY: none, which is the point.
    unsafe impl Send for Shared {}
    let mut number = 0u64;
    std::thread::scope(|scope| {
        for shared in [Shared(&raw mut number), Shared(&raw mut number)] {
            scope.spawn(move || {
                let shared = shared;
                for round in 0..1000 {
                    // SAFETY: the number outlives the scope. That both threads write it is what is to be seen.
                    unsafe { shared.0.write_volatile(round) };
                }
            });
        }
    });
}
