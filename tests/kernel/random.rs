//! Random kernels, by every engine.
//!
//! Each kernel is compiled by both generators for vectors, by our own for one lane, and by turns by Cranelift for one lane
//! and without its optimisations (all of them where more kernels are asked for); some also with registers given in a single
//! pass, and some with the proof that their values survived that.

use crate::data::{Data, Engine, Generator, code, shipped};
use crate::generate::Random;
use crate::generate::kernel::{pressure_kernel, random_kernel, shrink};
use crate::operations::operations;
use std::collections::BTreeSet;
use std::ops::Range;
use updraft::codegen::{Codegen, Cranelift, Lanes};
use updraft::ir::print::op_name;
use updraft::ir::verify::types;
use updraft::ir::{Kernel, KernelInst, Op, Type, parse_kernel, print_kernel, verify_kernel};

/// One kernel in so many has more values than registers.
const PRESSURE: u64 = 64;

/// The kernel of a seed.
fn kernel_of(seed: u64) -> Kernel {
    if seed % PRESSURE == 7 { pressure_kernel(seed) } else { random_kernel(seed) }
}

/// Which generators.
#[derive(Clone, Copy)]
enum Which {
    /// Both for vectors and our own for one lane; the others by turns.
    Turns,
    /// All that are shipped and Cranelift's without optimisations; the others by turns.
    All,
}

fn generators(seed: u64, which: Which) -> Vec<(Generator, Lanes)> {
    let mut all = shipped();
    if !Codegen::Cranelift.is_available() {
        return all;
    }
    let optimized = Generator::Cranelift(Cranelift::default());
    let unoptimized = Generator::Cranelift(Cranelift { unoptimized: true, ..Cranelift::default() });
    match (which, seed % 3) {
        (Which::All, _) => all.extend([(unoptimized, Lanes::One), (unoptimized, Lanes::Simd)]),
        (Which::Turns, 0) => {}
        (Which::Turns, turn) => {
            all.retain(|one| *one != (optimized, Lanes::One));
            all.push((unoptimized, [Lanes::One, Lanes::Simd][turn as usize - 1]));
        }
    }
    let lanes = [Lanes::One, Lanes::Simd][seed as usize % 2];
    // Of the kernels under pressure too, so by numbers that share no factor with it.
    if seed % 15 == 3 {
        let settings = Cranelift { single_pass: true, unoptimized: seed % 4 < 2, ..Cranelift::default() };
        all.push((Generator::Cranelift(settings), lanes));
    }
    if seed % 255 == 5 {
        let checked = Cranelift::ALL.into_iter().filter(|settings| settings.check_registers);
        all.extend(checked.map(|settings| (Generator::Cranelift(settings), lanes)));
    }
    all
}

/// Runs all engines on the same data; `Err` says how they differ.
fn compare(kernel: &Kernel, generators: &[(Generator, Lanes)], lengths: &[usize], seed: u64) -> Result<(), String> {
    let engines: Vec<Engine> = generators.iter().map(|&(generator, lanes)| code(kernel, generator, lanes)).collect();
    let mut random = Random::new(seed ^ 0xda7a);
    for &len in lengths {
        let before = Data::random(kernel, len, &mut random);
        let mut expected = before.clone();
        expected.run(kernel, &Engine::Eval);
        for (name, engine) in generators.iter().zip(&engines) {
            let mut found = before.clone();
            found.run(kernel, engine);
            if let Some(difference) = expected.difference(&found, &before) {
                return Err(format!("{name:?}: {difference}"));
            }
        }
    }
    Ok(())
}

/// Fails with the shrunk kernel if the engines differ on the kernel of a seed.
fn engines_agree(seed: u64, which: Which, lengths: &[usize]) {
    let (kernel, generators) = (kernel_of(seed), generators(seed, which));
    if let Err(difference) = compare(&kernel, &generators, lengths, seed) {
        let small = shrink(&kernel, |kernel| compare(kernel, &generators, lengths, seed).is_err());
        let small_difference = compare(&small, &generators, lengths, seed).unwrap_err();
        panic!("seed {seed}: {difference}; shrunk, {small_difference}:\n{}", print_kernel(&small));
    }
}

/// How many inputs a kernel is given.
const INPUTS: usize = 100;

/// Each kernel on [`INPUTS`] inputs, in runs of any length, each with other uniforms and other distances from alignment.
fn engines_agree_on(seeds: Range<u64>, which: Which) {
    for seed in seeds.clone() {
        let mut random = Random::new(seed ^ 0x1e46);
        let (mut lengths, mut left) = (vec![], INPUTS);
        while left > 0 {
            let len = random.below(68).min(left);
            lengths.push(len);
            left -= len;
        }
        engines_agree(seed, which, &lengths);
        let done = seed - seeds.start + 1;
        if done.is_multiple_of(20_000) {
            println!("{done} kernels");
        }
    }
}

// Two halves, for two threads.
#[test]
fn engines_agree_on_random_kernels() {
    engines_agree_on(0..10_000, Which::Turns);
}

#[test]
fn engines_agree_on_more_random_kernels() {
    engines_agree_on(10_000..20_000, Which::Turns);
}

/// More of it before a release, from the seed `UPDRAFT_SEED` on:
/// `UPDRAFT_KERNELS=500000 cargo test --release --test kernel as_many_as_asked`.
#[test]
fn engines_agree_on_as_many_as_asked() {
    let number = |name| std::env::var(name).ok().and_then(|number| number.parse().ok());
    let first = number("UPDRAFT_SEED").unwrap_or(1_000_000);
    engines_agree_on(first..first + number("UPDRAFT_KERNELS").unwrap_or(100), Which::All);
}

#[test]
fn engines_agree_at_every_length() {
    let lengths: Vec<usize> = (0..68).flat_map(|len| [len; 4]).collect();
    for seed in 30_000..30_020 {
        engines_agree(seed, Which::All, &lengths);
    }
}

#[test]
fn engines_agree_on_a_million_elements() {
    for seed in 40_000..40_005 {
        engines_agree(seed, Which::All, &[1_000_003]);
    }
}

#[test]
fn text_comes_back() {
    for seed in 0..3000 {
        let kernel = kernel_of(seed);
        let text = print_kernel(&kernel);
        let again = parse_kernel(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
        assert_eq!(again, kernel, "seed {seed}\n{text}");
        assert_eq!(print_kernel(&again), text, "seed {seed}");
    }
}

/// The values that are alive at once, at most: from their definition to their last use.
fn most_alive(kernel: &Kernel) -> usize {
    let mut last = vec![0; kernel.body.len()];
    for (index, inst) in kernel.body.iter().enumerate() {
        match *inst {
            KernelInst::Op(op) => op.for_each_operand(|v| last[v.index()] = index),
            KernelInst::Store(_, v) => last[v.index()] = index,
            KernelInst::Uniform(_) | KernelInst::Load(_) => {}
        }
    }
    (0..last.len()).map(|at| (0..=at).filter(|v| last[*v] > at).count()).max().unwrap_or(0)
}

#[test]
fn kernels_under_pressure_have_more_values_than_registers() {
    let (mut most, mut sum) = (0, 0);
    for seed in 0..200 {
        let kernel = pressure_kernel(seed);
        verify_kernel(&kernel).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{}", print_kernel(&kernel)));
        let alive = most_alive(&kernel);
        // There are 16 registers for vectors.
        assert!(alive > 16, "seed {seed}: {alive}");
        (most, sum) = (most.max(alive), sum + alive);
    }
    assert!(most > 80 && sum > 200 * 40, "{most} at most, {sum} in all");
}

#[test]
fn random_kernels_are_well_formed_and_reach_everything() {
    let (mut reached, mut longest, mut streams) = (BTreeSet::new(), 0, 0);
    for seed in 0..2400 {
        let kernel = random_kernel(seed);
        verify_kernel(&kernel).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{}", print_kernel(&kernel)));
        (longest, streams) = (longest.max(kernel.body.len()), streams.max(kernel.streams.len()));
        let types = types(&kernel);
        for inst in &kernel.body {
            match *inst {
                KernelInst::Op(op) => {
                    let mut ty = None;
                    op.for_each_operand(|v| ty = types[v.index()]);
                    let ty = if let Op::Const(c) = op { Some(c.ty()) } else { ty };
                    reached.insert((op_name(op), ty.map(Type::name)));
                }
                KernelInst::Load(i) => {
                    reached.insert(("load", Some(kernel.streams[i as usize].storage.name())));
                }
                KernelInst::Store(i, _) => {
                    reached.insert(("store", Some(kernel.streams[i as usize].storage.name())));
                }
                KernelInst::Uniform(_) => {
                    reached.insert(("uniform", Some(kernel.compute.name())));
                }
            }
        }
    }
    assert!(longest >= 60 && streams == 8, "{longest} instructions, {streams} streams");
    let missing: Vec<_> = operations()
        .into_iter()
        .map(|(op, ty)| (op_name(op), Some(ty.name())))
        .chain(
            ["load", "store", "uniform"]
                .into_iter()
                .flat_map(|op| [(op, Some("f32")), (op, Some("f64"))])
                .chain(["load", "store"].into_iter().flat_map(|op| [(op, Some("bf16")), (op, Some("f16"))])),
        )
        .filter(|op| !reached.contains(op))
        .collect();
    assert!(missing.is_empty(), "never generated: {missing:?}");
}
