//! Many threads on one step and on one kernel's code: the same bits, and no races.
//!
//! ThreadSanitizer sees races, of Rust's code though not of machine code, so the evaluator is run too:
//!
//! ```text
//! RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" CARGO_TARGET_DIR=target/tsan \
//!     cargo test --target x86_64-unknown-linux-gnu --no-default-features --features jit --test races -- by_the_host
//! ```
//!
//! The standard library that a toolchain brings is not instrumented: what a thread learns through its locks looks like a
//! race. A thread outside of a pool waits for it behind such a lock, so that every step that it takes is reported. The test
//! that is named takes its steps on a thread of the pool, where all that is shared is shared through atomics. With
//! `UPDRAFT_RACE=1 ... a_race` a race is run, which must be reported.
#![cfg(feature = "jit")]
#![allow(unsafe_code)]

use ndarray::Array2;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use updraft::codegen::{Codegen, Lanes, Target, backend};
use updraft::ir::{Args, Buffer, Uniforms, parse_kernel};
use updraft::{Engine, OptimizerBuilder, Rule, Tensor};

/// Long enough to be cut, and short ones beside it.
const SHAPES: [(usize, usize); 4] = [(301, 331), (40_000, 1), (3, 5), (0, 7)];

/// Rules of one sweep, with reductions to every extent, and with random numbers.
const RULES: [&str; 4] = ["adamw", "adafactor", "lamb", "sgld"];

const THREADS: [usize; 3] = [2, 5, 16];

/// Bits of the parameters after two steps.
fn run(builder: OptimizerBuilder) -> Vec<u32> {
    let mut opt = builder.seed(5).build().unwrap();
    let value = |i: usize, j: usize, by: usize| ((i * 131 + j * 17 + by) % 97) as f32 / 16.0 - 2.5;
    let mut params: Vec<_> =
        SHAPES.iter().map(|shape| Array2::from_shape_fn(*shape, |(i, j)| value(i, j, 0))).collect();
    for step in 1..=2 {
        let grads: Vec<_> = params.iter().map(|p| Array2::from_shape_fn(p.dim(), |(i, j)| value(i, j, step))).collect();
        let names = ["a", "b", "c", "d"];
        let tensors = names.iter().zip(&mut params).zip(&grads).map(|((name, p), g)| Tensor::new(name, p, g));
        opt.step(&mut tensors.collect::<Vec<_>>()).unwrap();
    }
    params.iter().flatten().map(|x| x.to_bits()).collect()
}

#[test]
fn any_number_of_threads_shares_a_step() {
    for name in RULES {
        let rule = Rule::shipped(name).unwrap();
        for engine in [Engine::Eval, Engine::Jit] {
            let one = run(rule.optimizer().engine(engine));
            for threads in THREADS {
                let many = run(rule.optimizer().engine(engine).threads(threads));
                assert!(many == one, "{name}, {engine:?}, {threads} threads");
            }
        }
    }
}

/// The steps are taken on a thread of the pool, and nothing else is left to the thread that waits for it.
#[test]
fn steps_are_shared_by_the_host() {
    for threads in THREADS {
        let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
        let (done, wrong) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (lent, all_done, all_wrong) = (pool.clone(), done.clone(), wrong.clone());
        pool.spawn(move || {
            for name in RULES {
                let rule = Rule::shipped(name).unwrap();
                for engine in [Engine::Eval, Engine::Jit] {
                    let one = run(rule.optimizer().engine(engine));
                    let many = run(rule.optimizer().engine(engine).pool(lent.clone()));
                    all_wrong.fetch_add(usize::from(many != one), Ordering::SeqCst);
                }
            }
            drop(lent);
            all_done.store(true, Ordering::SeqCst);
        });
        // A panic of the work ends the process.
        while !done.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        assert_eq!(wrong.load(Ordering::SeqCst), 0, "{threads} threads");
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
fn a_race() {
    if std::env::var_os("UPDRAFT_RACE").is_none() {
        return;
    }
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
