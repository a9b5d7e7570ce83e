//! Machine code and whole steps under Valgrind, which sees every byte that is read or written outside of a heap block, and
//! every decision on a byte that nothing was written to.
//!
//! It takes minutes, so it runs only when it is asked for, where Valgrind is installed:
//! `UPDRAFT_VALGRIND=1 cargo test --test valgrind -- --nocapture`.
#![cfg(all(target_os = "linux", feature = "jit"))]
#![allow(unsafe_code)]

mod generate;
#[path = "guard_pages/kernels.rs"]
mod kernels;
mod shipped;

use generate::Random;
use half::{bf16, f16};
use kernels::{shapes, shipped_kernels};
use std::process::Command;
use updraft::check::program::{Extent, Input};
use updraft::codegen::{Code, Codegen, Lanes, Target, backend};
use updraft::ir::{Args, Buffer, Kernel, Storage, Stream, Type, Uniforms, eval_kernel, parse_kernel};
use updraft::{Rule, SHIPPED, Tensor};

/// Tells `in_the_child` what to do.
const TASK: &str = "UPDRAFT_TEST_VALGRIND";

/// What Valgrind ends with where it has seen something.
const SEEN: i32 = 99;

/// The code of a kernel by every generator that this machine has (which Valgrind makes poorer), for one lane and in vectors.
fn codes(kernel: &Kernel) -> Vec<(Codegen, Lanes, Code)> {
    let isas = Codegen::ALL.into_iter().filter_map(|codegen| Some((codegen, codegen.host()?)));
    let targets = isas.flat_map(|(codegen, isa)| [Lanes::One, Lanes::Simd].map(|lanes| (codegen, lanes, isa)));
    targets
        .map(|(codegen, lanes, isa)| (codegen, lanes, backend(isa).compile(kernel, Target { isa, lanes }).unwrap()))
        .collect()
}

/// A heap block of exactly as many bytes as a stream's elements have.
enum Block {
    F32(Box<[f32]>),
    F64(Box<[f64]>),
    Bf16(Box<[bf16]>),
    F16(Box<[f16]>),
}

impl Block {
    fn new(storage: Storage, len: usize, random: &mut Random) -> Block {
        let mut numbers = (0..len).map(|_| (random.below(4000) + 1) as f64 / 1024.0);
        match storage {
            Storage::F32 => Block::F32(numbers.by_ref().map(|x| x as f32).collect()),
            Storage::F64 => Block::F64(numbers.collect()),
            Storage::Bf16 => Block::Bf16(numbers.map(bf16::from_f64).collect()),
            Storage::F16 => Block::F16(numbers.map(f16::from_f64).collect()),
        }
    }

    fn buffer(&mut self, stream: &Stream) -> Buffer<'_> {
        match (self, stream.access.writes()) {
            (Block::F32(x), true) => Buffer::F32Mut(x),
            (Block::F32(x), false) => Buffer::F32(x),
            (Block::F64(x), true) => Buffer::F64Mut(x),
            (Block::F64(x), false) => Buffer::F64(x),
            (Block::Bf16(x), true) => Buffer::Bf16Mut(x),
            (Block::Bf16(x), false) => Buffer::Bf16(x),
            (Block::F16(x), true) => Buffer::F16Mut(x),
            (Block::F16(x), false) => Buffer::F16(x),
        }
    }

    fn bits(&self) -> Vec<u64> {
        match self {
            Block::F32(x) => x.iter().map(|x| if x.is_nan() { u64::MAX } else { x.to_bits().into() }).collect(),
            Block::F64(x) => x.iter().map(|x| if x.is_nan() { u64::MAX } else { x.to_bits() }).collect(),
            Block::Bf16(x) => x.iter().map(|x| if x.is_nan() { u64::MAX } else { x.to_bits().into() }).collect(),
            Block::F16(x) => x.iter().map(|x| if x.is_nan() { u64::MAX } else { x.to_bits().into() }).collect(),
        }
    }
}

/// Runs something on blocks that are made anew; what they hold afterwards.
fn run(kernel: &Kernel, len: usize, seed: u64, run: impl FnOnce(&mut Args<'_>)) -> Vec<Vec<u64>> {
    let mut random = Random::new(seed);
    let mut blocks: Vec<Block> = kernel.streams.iter().map(|s| Block::new(s.storage, len, &mut random)).collect();
    let uniforms: Box<[f64]> = kernel.uniforms.iter().map(|_| (random.below(40) + 1) as f64 / 16.0).collect();
    let narrow: Box<[f32]> = uniforms.iter().map(|x| *x as f32).collect();
    let uniforms = if kernel.compute == Type::F32 { Uniforms::F32(&narrow) } else { Uniforms::F64(&uniforms) };
    let buffers = blocks.iter_mut().zip(&kernel.streams).map(|(block, stream)| block.buffer(stream));
    run(&mut Args::new(kernel, buffers, uniforms).unwrap());
    blocks.iter().map(Block::bits).collect()
}

/// One in so many kernels of the shipped rules.
const SHARE: usize = 17;

fn run_kernels() {
    let (shapes, shipped) = (shapes(), shipped_kernels());
    let (mut kernels, mut runs) = (0, 0);
    for named in shapes.iter().chain(shipped.iter().step_by(SHARE)) {
        let kernel = &named.kernel;
        kernels += 1;
        let codes = codes(kernel);
        for len in [1, 2, 3, 5, 8, 15, 33] {
            let expected = run(kernel, len, len as u64, |args| eval_kernel(kernel, args));
            for (codegen, lanes, code) in &codes {
                let found = run(kernel, len, len as u64, |args| code.run(args).unwrap());
                assert_eq!(found, expected, "{}: {codegen:?}, {lanes:?}, {len} elements", named.name);
                runs += 1;
            }
        }
    }
    let all = shapes.len() + shipped.len();
    println!("ran: {kernels} kernels of {all}, {runs} runs of {} generators", codes(&shapes[0].kernel).len());
}

fn run_steps() {
    let codegens: Vec<Codegen> = Codegen::ALL.into_iter().filter(|codegen| codegen.is_available()).collect();
    for (name, _) in SHIPPED {
        let rule = Rule::shipped(name).unwrap();
        for codegen in &codegens {
            let mut opt = rule.optimizer().codegen(*codegen).build().unwrap();
            let (arrays, scalars): (Vec<&Input>, Vec<&Input>) =
                rule.program().inputs.iter().partition(|input| input.extent == Extent::Element);
            let (mut a, mut b, mut c) = (vec![1.0f32; 37], vec![-2.0f64; 5], vec![bf16::ONE; 19]);
            let (ga, gb, gc) = (vec![0.5f32; 37], vec![0.25f64; 5], vec![bf16::from_f32(0.125); 19]);
            for _ in 0..2 {
                scalars.iter().for_each(|input| opt.input(&input.name, 0.75).unwrap());
                let of_a = Tensor::new("a", &mut a, &ga);
                let of_b = Tensor::new("b", &mut b, &gb);
                let of_c = Tensor::new("c", &mut c, &gc);
                let of_a = arrays.iter().fold(of_a, |tensor, input| tensor.input_array(&input.name, &ga));
                let of_b = arrays.iter().fold(of_b, |tensor, input| tensor.input_array(&input.name, &gb));
                let of_c = arrays.iter().fold(of_c, |tensor, input| tensor.input_array(&input.name, &gc));
                opt.step(&mut [of_a, of_b, of_c]).unwrap();
                assert_eq!(opt.warning(), None);
            }
        }
    }
    println!("ran: 2 steps of {} rules by {codegens:?}, on f32, f64 and bf16", SHIPPED.len());
}

/// A vector of four is read where a block of one element is: by code of ours that is told of
/// eight, because it takes two vectors at a time.
fn run_a_fault() {
    let text =
        "kernel k f32 {\nstream p f32 rw\nstream g f32 r\n\n%0 = load p\n%1 = load g\n%2 = sub %0, %1\nstore p, %2\n}";
    let kernel = parse_kernel(text).unwrap();
    let isa = Codegen::Cranelift.host().unwrap();
    let code = backend(isa).compile(&kernel, Target { isa, lanes: Lanes::Simd }).unwrap();
    let (mut p, g) = (vec![1.0f32; 8], Box::new(0.5f32));
    // SAFETY: none, which is the point: the block has one element. It is read by machine code alone, whose reads Rust's
    // compiler does not know of, and only in a process that is there for it.
    let g = unsafe { std::slice::from_raw_parts(&raw const *g, 8) };
    code.run(&mut Args::new(&kernel, [Buffer::F32Mut(&mut p), Buffer::F32(g)], Uniforms::F32(&[])).unwrap()).unwrap();
    println!("ran: {p:?}");
}

#[test]
fn in_the_child() {
    match std::env::var(TASK).as_deref() {
        Ok("kernels") => run_kernels(),
        Ok("steps") => run_steps(),
        Ok("fault") => run_a_fault(),
        _ => {}
    }
}

/// What a task came to under Valgrind: its exit code, and what it and Valgrind printed.
fn child(task: &str) -> Option<(Option<i32>, String)> {
    if std::env::var_os("UPDRAFT_VALGRIND").is_none() {
        println!("skipped: UPDRAFT_VALGRIND is not set");
        return None;
    }
    let start = std::time::Instant::now();
    let output = Command::new("valgrind")
        // By default a vector that is read beyond a block is no error, as long as it begins in it.
        .args(["--quiet", "--partial-loads-ok=no", "--leak-check=no", &format!("--error-exitcode={SEEN}")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "in_the_child", "--nocapture", "--test-threads=1"])
        .env(TASK, task)
        .output()
        .expect("Valgrind is installed");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    for line in text.lines().filter_map(|line| Some(&line[line.find("ran: ")?..])) {
        println!("{line}, in {:.0?}", start.elapsed());
    }
    Some((output.status.code(), text.into_owned()))
}

#[test]
fn kernels_touch_nothing_but_their_blocks() {
    let Some((code, text)) = child("kernels") else { return };
    assert!(code == Some(0) && text.contains("ran: "), "{text}");
}

#[test]
fn steps_touch_nothing_but_their_blocks() {
    let Some((code, text)) = child("steps") else { return };
    assert!(code == Some(0) && text.contains("ran: "), "{text}");
}

/// Valgrind sees what it is there for.
#[test]
fn a_vector_read_from_a_single_element_is_seen() {
    let Some((code, text)) = child("fault") else { return };
    assert_eq!(code, Some(SEEN), "{text}");
    assert!(
        text.contains("Invalid read of size 16") && text.contains("is 0 bytes inside a block of size 4 alloc'd"),
        "{text}"
    );
}
