//! Kernels: their text, and that the evaluator, one-lane code and SIMD code give the same bits and stay in their slices.
#![cfg(feature = "jit")]

mod generate;

use generate::Random;
use generate::kernel::{COMPARE, FLOAT, INT, UNARY, random_kernel, shrink};
use half::{bf16, f16};
use std::collections::BTreeSet;
use std::ops::Range;
use updraft::codegen::{Code, Codegen, Isa, Lanes, Target, Text, backend};
use updraft::ir::print::op_name;
use updraft::ir::verify::types;
use updraft::ir::{
    Access, Args, Binary, Buffer, Const, Kernel, KernelInst, Op, Storage, Stream, Type, Unary, Uniforms, Value,
    eval_kernel, parse_kernel, print_kernel, verify_kernel,
};

/// The memory of one stream, of which a run sees a part.
#[derive(Clone)]
enum Array {
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bf16(Vec<bf16>),
    F16(Vec<f16>),
}

impl Array {
    fn buffer(&mut self, range: Range<usize>, access: Access) -> Buffer<'_> {
        match (self, access.writes()) {
            (Array::F32(x), true) => Buffer::F32Mut(&mut x[range]),
            (Array::F32(x), false) => Buffer::F32(&x[range]),
            (Array::F64(x), true) => Buffer::F64Mut(&mut x[range]),
            (Array::F64(x), false) => Buffer::F64(&x[range]),
            (Array::Bf16(x), true) => Buffer::Bf16Mut(&mut x[range]),
            (Array::Bf16(x), false) => Buffer::Bf16(&x[range]),
            (Array::F16(x), true) => Buffer::F16Mut(&mut x[range]),
            (Array::F16(x), false) => Buffer::F16(&x[range]),
        }
    }

    fn len(&self) -> usize {
        match self {
            Array::F32(x) => x.len(),
            Array::F64(x) => x.len(),
            Array::Bf16(x) => x.len(),
            Array::F16(x) => x.len(),
        }
    }

    /// The bits of an element, with one NaN for all.
    fn bits(&self, i: usize) -> u64 {
        match self {
            Array::F32(x) => u64::from(if x[i].is_nan() { f32::NAN } else { x[i] }.to_bits()),
            Array::F64(x) => if x[i].is_nan() { f64::NAN } else { x[i] }.to_bits(),
            Array::Bf16(x) => u64::from(if x[i].is_nan() { bf16::NAN } else { x[i] }.to_bits()),
            Array::F16(x) => u64::from(if x[i].is_nan() { f16::NAN } else { x[i] }.to_bits()),
        }
    }

    /// The bits of an element as they are.
    fn exact_bits(&self, i: usize) -> u64 {
        match self {
            Array::F32(x) => u64::from(x[i].to_bits()),
            Array::F64(x) => x[i].to_bits(),
            Array::Bf16(x) => u64::from(x[i].to_bits()),
            Array::F16(x) => u64::from(x[i].to_bits()),
        }
    }
}

/// The arguments of one run: what the slices lie in, and where.
#[derive(Clone)]
struct Data {
    arrays: Vec<Array>,
    uniforms: Array,
    /// Each stream's slice begins here in its array: a distance of its own from 16-byte alignment.
    offsets: Vec<usize>,
    len: usize,
}

/// Elements behind each slice that must stay as they are.
const MARGIN: usize = 19;

impl Data {
    fn random(kernel: &Kernel, len: usize, random: &mut Random) -> Data {
        let mut array = |storage: Storage, len: usize| match storage {
            Storage::F32 => Array::F32((0..len).map(|_| random.spicy_f32()).collect()),
            Storage::F64 => Array::F64((0..len).map(|_| random.spicy_f64()).collect()),
            Storage::Bf16 => Array::Bf16((0..len).map(|_| bf16::from_bits(random.spicy_half(0x7f80))).collect()),
            Storage::F16 => Array::F16((0..len).map(|_| f16::from_bits(random.spicy_half(0x7c00))).collect()),
        };
        let arrays = kernel.streams.iter().map(|s| array(s.storage, len + 3 + MARGIN)).collect();
        let own = if kernel.compute == Type::F32 { Storage::F32 } else { Storage::F64 };
        let uniforms = array(own, kernel.uniforms.len());
        let offsets = kernel.streams.iter().map(|_| random.below(4)).collect();
        Data { arrays, uniforms, offsets, len }
    }

    fn run(&mut self, kernel: &Kernel, engine: &Engine) {
        let len = if self.arrays.is_empty() { 0 } else { self.len };
        let slices = self.arrays.iter_mut().zip(&self.offsets).zip(&kernel.streams);
        let buffers = slices.map(|((array, &at), stream)| array.buffer(at..at + len, stream.access));
        let uniforms = match &self.uniforms {
            Array::F32(x) => Uniforms::F32(x),
            Array::F64(x) => Uniforms::F64(x),
            Array::Bf16(_) | Array::F16(_) => unreachable!("uniforms are of the compute type"),
        };
        let mut args = Args::new(kernel, buffers, uniforms).unwrap();
        match engine {
            Engine::Eval => eval_kernel(kernel, &mut args),
            Engine::Code(code) => code.run(&mut args).unwrap(),
        }
    }

    /// Where two runs of the same kernel on the same data differ, or where the second wrote outside of its slices.
    fn difference(&self, other: &Data, before: &Data) -> Option<String> {
        for (stream, (ours, theirs)) in self.arrays.iter().zip(&other.arrays).enumerate() {
            let slice = self.offsets[stream]..self.offsets[stream] + self.len;
            for i in 0..ours.len() {
                if slice.contains(&i) {
                    if ours.bits(i) != theirs.bits(i) {
                        let i = i - slice.start;
                        return Some(format!("stream {stream}, element {i} of {}", self.len));
                    }
                } else if theirs.exact_bits(i) != before.arrays[stream].exact_bits(i) {
                    return Some(format!("stream {stream}: element {i} lies outside of {slice:?} and was written"));
                }
            }
        }
        None
    }
}

enum Engine {
    Eval,
    Code(Code),
}

fn code(kernel: &Kernel, codegen: Codegen, lanes: Lanes) -> Engine {
    let isa = codegen.host().expect("a code generator of this machine");
    Engine::Code(backend(isa).compile(kernel, Target { isa, lanes }).unwrap())
}

/// The code of every generator that this machine has, one element at a time and in vectors.
fn codes(kernel: &Kernel) -> Vec<(&'static str, Engine)> {
    let available = Codegen::ALL.into_iter().filter(|codegen| codegen.is_available());
    let codes = available.flat_map(|codegen| [(codegen, Lanes::One), (codegen, Lanes::Simd)]);
    codes.map(|(codegen, lanes)| (codegen.name(), code(kernel, codegen, lanes))).collect()
}

/// Runs all engines on the same data; `Err` says how they differ.
fn compare(kernel: &Kernel, lengths: &[usize], seed: u64) -> Result<(), String> {
    let engines = codes(kernel);
    assert!(!engines.is_empty(), "tests of code run on a machine that has an instruction set of ours");
    let mut random = Random::new(seed ^ 0xda7a);
    for &len in lengths {
        let before = Data::random(kernel, len, &mut random);
        let mut expected = before.clone();
        expected.run(kernel, &Engine::Eval);
        for (name, engine) in &engines {
            let mut found = before.clone();
            found.run(kernel, engine);
            if let Some(difference) = expected.difference(&found, &before) {
                return Err(format!("{name}: {difference}"));
            }
        }
    }
    Ok(())
}

/// Fails with the shrunk kernel if the engines differ on the kernel of a seed.
fn engines_agree(seed: u64, lengths: &[usize]) {
    let kernel = random_kernel(seed);
    if let Err(difference) = compare(&kernel, lengths, seed) {
        let small = shrink(&kernel, |kernel| compare(kernel, lengths, seed).is_err());
        let small_difference = compare(&small, lengths, seed).unwrap_err();
        panic!("seed {seed}: {difference}; shrunk, {small_difference}:\n{}", print_kernel(&small));
    }
}

fn engines_agree_on(seeds: Range<u64>) {
    for seed in seeds {
        let mut random = Random::new(seed ^ 0x1e46);
        let lengths: Vec<usize> = (0..8).map(|_| random.below(68)).collect();
        engines_agree(seed, &lengths);
    }
}

// Two halves, for two threads.
#[test]
fn engines_agree_on_random_kernels() {
    engines_agree_on(0..1200);
}

#[test]
fn engines_agree_on_more_random_kernels() {
    engines_agree_on(1200..2400);
}

/// More of it before a release: `UPDRAFT_KERNELS=5000000 cargo test --release --test kernel`.
#[test]
fn engines_agree_on_as_many_as_asked() {
    let count = std::env::var("UPDRAFT_KERNELS").ok().and_then(|count| count.parse().ok()).unwrap_or(100);
    engines_agree_on(1_000_000..1_000_000 + count);
}

#[test]
fn engines_agree_at_every_length() {
    let lengths: Vec<usize> = (0..68).flat_map(|len| [len; 4]).collect();
    for seed in 10_000..10_020 {
        engines_agree(seed, &lengths);
    }
}

#[test]
fn engines_agree_on_a_million_elements() {
    for seed in 20_000..20_005 {
        engines_agree(seed, &[1_000_003]);
    }
}

#[test]
fn text_comes_back() {
    for seed in 0..3000 {
        let kernel = random_kernel(seed);
        let text = print_kernel(&kernel);
        let again = parse_kernel(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
        assert_eq!(again, kernel, "seed {seed}\n{text}");
        assert_eq!(print_kernel(&again), text, "seed {seed}");
    }
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

/// Every operation of kernels with every type of its last operand.
fn operations() -> Vec<(Op, Type)> {
    let (a, b, c) = (Value(0), Value(1), Value(2));
    let mut all = Vec::new();
    for (float, int) in [(Type::F32, Type::I32), (Type::F64, Type::I64)] {
        all.extend(UNARY.map(|op| (Op::Unary(op, a), float)));
        all.extend(FLOAT.map(|op| (Op::Binary(op, a, b), float)));
        all.extend(INT.map(|op| (Op::Binary(op, a, b), int)));
        all.extend(COMPARE.map(|op| (Op::Compare(op, a, b), float)));
        all.extend(COMPARE.map(|op| (Op::Compare(op, a, b), int)));
        all.extend([float, int].map(|ty| (Op::Select(c, a, b), ty)));
        all.extend([(Op::Fma(a, b, c), float), (Op::Bitcast(int, a), float), (Op::Bitcast(float, a), int)]);
        all.extend([(Op::ToInt(a), float), (Op::ToFloat(a), int)]);
        all.extend(Storage::ALL.map(|storage| (Op::Narrow(storage, a), float)));
        all.extend([(Op::Const(zero(float)), float), (Op::Const(zero(int)), int)]);
    }
    let ty = Type::Bool;
    all.extend([(Op::Select(c, a, b), ty), (Op::Unary(Unary::Not, a), ty), (Op::Const(zero(ty)), ty)]);
    all.extend([Binary::And, Binary::Or].map(|op| (Op::Binary(op, a, b), ty)));
    all
}

fn zero(ty: Type) -> Const {
    match ty {
        Type::F32 => Const::f32(0.0),
        Type::F64 => Const::f64(0.0),
        Type::I32 => Const::I32(0),
        Type::I64 => Const::I64(0),
        Type::Bool => Const::Bool(false),
    }
}

/// A kernel that does one operation on loaded values and stores all bits of the result. `constant` replaces the second
/// operand. Operands that are integers are the bits of what is loaded, bools whether it is above zero.
fn one_operation(op: Op, ty: Type, compute: Type, constant: Option<Const>) -> Kernel {
    let (storage, int) = if compute == Type::F32 { (Storage::F32, Type::I32) } else { (Storage::F64, Type::I64) };
    let stream = |name: &str, access| Stream { name: name.into(), storage, access, block: false };
    let streams = vec![
        stream("a", Access::Read),
        stream("b", Access::Read),
        stream("c", Access::Read),
        stream("low", Access::Write),
        stream("high", Access::Write),
    ];
    let mut body: Vec<KernelInst> = (0..3).map(KernelInst::Load).collect();
    let mut push = |op| {
        body.push(KernelInst::Op(op));
        Value(body.len() as u32 - 1)
    };
    let limit = push(Op::Const(zero(compute)));
    let operand = |v: Value, ty: Type, push: &mut dyn FnMut(Op) -> Value| match ty {
        Type::Bool => push(Op::Compare(updraft::ir::Compare::Gt, v, limit)),
        ty if ty.is_int() => push(Op::Bitcast(ty, v)),
        _ => v,
    };
    let a = operand(Value(0), ty, &mut push);
    let b = constant.map(|c| push(Op::Const(c))).unwrap_or_else(|| operand(Value(1), ty, &mut push));
    let third = if matches!(op, Op::Select(..)) { Type::Bool } else { ty };
    let c = operand(Value(2), third, &mut push);
    let result = push(op.map_operands(|Value(v)| [a, b, c][v as usize]));
    let result_type = match op {
        Op::Compare(..) => Type::Bool,
        Op::Bitcast(to, _) => to,
        Op::ToInt(_) => int,
        Op::ToFloat(_) => compute,
        _ => ty,
    };
    let (low, high) = match result_type {
        Type::Bool => {
            let one = push(Op::Const(if compute == Type::F32 { Const::f32(1.0) } else { Const::f64(1.0) }));
            (push(Op::Select(result, one, limit)), limit)
        }
        // Each half of the bits is a float exactly.
        ty if ty.is_int() => {
            let (half, mask) = if ty == Type::I32 {
                (Const::I32(16), Const::I32(0xffff))
            } else {
                (Const::I64(32), Const::I64(0xffff_ffff))
            };
            let (half, mask) = (push(Op::Const(half)), push(Op::Const(mask)));
            let low = push(Op::Binary(Binary::And, result, mask));
            let high = push(Op::Binary(Binary::Shr, result, half));
            (push(Op::ToFloat(low)), push(Op::ToFloat(high)))
        }
        _ => (result, limit),
    };
    body.extend([KernelInst::Store(3, low), KernelInst::Store(4, high)]);
    Kernel { name: op_name(op).into(), compute, uniforms: Vec::new(), streams, body }
}

/// The kernels of every operation, shifts by constants included.
fn operation_kernels() -> Vec<Kernel> {
    let mut kernels = Vec::new();
    for (op, ty) in operations() {
        let computes = match ty {
            Type::F32 | Type::I32 => vec![Type::F32],
            Type::F64 | Type::I64 => vec![Type::F64],
            Type::Bool => vec![Type::F32, Type::F64],
        };
        for compute in computes {
            kernels.push(one_operation(op, ty, compute, None));
            if let Op::Binary(Binary::Shl | Binary::Shr | Binary::Sar, ..) = op {
                for count in [0, 1, 31, 32, 33, 63, 64, -1] {
                    let count = if ty == Type::I32 { Const::I32(count) } else { Const::I64(count.into()) };
                    kernels.push(one_operation(op, ty, compute, Some(count)));
                }
            }
        }
    }
    kernels
}

#[test]
fn every_operation_agrees_on_special_values_in_every_lane() {
    let bits32 =
        [0, 1, -1, 2, 31, 32, 33, 1 << 30, i32::MIN, i32::MAX, 0x7f80_0001].map(|x: i32| f32::from_bits(x as u32));
    let bits64 = [0, 1, -1, 2, 63, 64, 65, 1 << 62, i64::MIN, i64::MAX, 0x7ff0_0000_0000_0001]
        .map(|x: i64| f64::from_bits(x as u64));
    let mut values32 = generate::SPICE_F32.to_vec();
    values32.extend(bits32);
    let mut values64 = generate::SPICE_F64.to_vec();
    values64.extend(bits64);
    for kernel in operation_kernels() {
        verify_kernel(&kernel).unwrap();
        let engines = codes(&kernel);
        let count = values32.len() * values32.len();
        // Every pair; the third operand of select takes both outcomes, of fma a different value for each turn.
        let index = |stream: usize, i: usize| match stream {
            0 => i / values32.len(),
            1 => i % values32.len(),
            _ => (i * 7 + i / values32.len()) % values32.len(),
        };
        let array = |stream: usize| match kernel.compute {
            Type::F32 => Array::F32((0..count + MARGIN).map(|i| values32[index(stream, i % count)]).collect()),
            _ => Array::F64((0..count + MARGIN).map(|i| values64[index(stream, i % count)]).collect()),
        };
        let arrays: Vec<Array> = (0..5).map(array).collect();
        // From each first lane on, so that each pair comes to each lane and to the tail.
        for first in 0..8 {
            let uniforms = if kernel.compute == Type::F32 { Array::F32(vec![]) } else { Array::F64(vec![]) };
            let before = Data { arrays: arrays.clone(), uniforms, offsets: vec![first; 5], len: count - first };
            let mut expected = before.clone();
            expected.run(&kernel, &Engine::Eval);
            for (name, engine) in &engines {
                let mut found = before.clone();
                found.run(&kernel, engine);
                if let Some(difference) = expected.difference(&found, &before) {
                    panic!("{name}: {difference}, from {first}\n{}", print_kernel(&kernel));
                }
            }
        }
    }
}

#[test]
fn every_operation_compiles_for_every_target() {
    for kernel in operation_kernels() {
        for isa in Isa::ALL {
            for lanes in [Lanes::One, Lanes::Simd] {
                let text = backend(isa).text(&kernel, Target { isa, lanes }, Text::Asm);
                let text = text.unwrap_or_else(|error| panic!("{}: {error}\n{}", isa.name(), print_kernel(&kernel)));
                let calls = |line: &str| ["call", "bl ", "blr "].iter().any(|call| line.trim_start().starts_with(call));
                assert!(!text.lines().any(calls), "{text}");
            }
        }
    }
}

/// A kernel that stores what it loads, or what `op` makes of it.
fn conversion(compute: Type, from: Storage, to: Storage, op: Option<Op>) -> Kernel {
    let stream = |name: &str, storage, access| Stream { name: name.into(), storage, access, block: false };
    let streams = vec![stream("from", from, Access::Read), stream("to", to, Access::Write)];
    let mut body = vec![KernelInst::Load(0)];
    body.extend(op.map(KernelInst::Op));
    body.push(KernelInst::Store(1, Value(body.len() as u32 - 1)));
    Kernel { name: "conversion".into(), compute, uniforms: Vec::new(), streams, body }
}

/// Runs a conversion in all engines and compares bits with those expected.
fn converts(kernel: &Kernel, from: &Array, expected: &Array) {
    verify_kernel(kernel).unwrap();
    let to = match expected {
        Array::F32(x) => Array::F32(vec![0.0; x.len()]),
        Array::F64(x) => Array::F64(vec![0.0; x.len()]),
        Array::Bf16(x) => Array::Bf16(vec![bf16::ZERO; x.len()]),
        Array::F16(x) => Array::F16(vec![f16::ZERO; x.len()]),
    };
    let uniforms = if kernel.compute == Type::F32 { Array::F32(vec![]) } else { Array::F64(vec![]) };
    let before = Data { arrays: vec![from.clone(), to], uniforms, offsets: vec![0; 2], len: from.len() };
    let engines = std::iter::once(("eval", Engine::Eval)).chain(codes(kernel));
    for (name, engine) in engines {
        let mut found = before.clone();
        found.run(kernel, &engine);
        for i in 0..expected.len() {
            let (found, expected) = (found.arrays[1].bits(i), expected.bits(i));
            assert_eq!(found, expected, "{name}, element {i}: {found:x} for {expected:x}\n{}", print_kernel(kernel));
        }
    }
}

/// The value of a half's bits, from the powers of two that they stand for.
fn value_of(bits: u16, mantissa: u32) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let exponent = i32::from(bits & 0x7fff) >> mantissa;
    let all_ones = (1 << (15 - mantissa)) - 1;
    let bias = all_ones >> 1;
    let rest = f64::from(bits & ((1 << mantissa) - 1)) / f64::from(1 << mantissa);
    sign * match exponent {
        0 => rest * 2f64.powi(1 - bias),
        e if e == all_ones => {
            if rest == 0.0 {
                f64::INFINITY
            } else {
                f64::NAN
            }
        }
        e => (1.0 + rest) * 2f64.powi(e - bias),
    }
}

/// The half types: storage, bits of the mantissa, bits of infinity.
const HALVES: [(Storage, u32, u16); 2] = [(Storage::Bf16, 7, 0x7f80), (Storage::F16, 10, 0x7c00)];

fn halves(storage: Storage, bits: impl Iterator<Item = u16>) -> Array {
    match storage {
        Storage::Bf16 => Array::Bf16(bits.map(bf16::from_bits).collect()),
        _ => Array::F16(bits.map(f16::from_bits).collect()),
    }
}

#[test]
fn every_half_is_loaded_exactly_and_stored_again() {
    for (storage, mantissa, _) in HALVES {
        let all = halves(storage, 0..=u16::MAX);
        let wide: Vec<f64> = (0..=u16::MAX).map(|bits| value_of(bits, mantissa)).collect();
        let narrow = Array::F32(wide.iter().map(|x| *x as f32).collect());
        let wide = Array::F64(wide);
        for (compute, own, values) in [(Type::F32, Storage::F32, &narrow), (Type::F64, Storage::F64, &wide)] {
            converts(&conversion(compute, storage, own, None), &all, values);
            converts(&conversion(compute, own, storage, None), values, &all);
            converts(&conversion(compute, storage, storage, None), &all, &all);
            converts(&conversion(compute, own, own, Some(Op::Narrow(storage, Value(0)))), values, values);
        }
    }
}

/// What rounds to a half, by its neighbours: every value, every tie, and what lies beside them.
#[test]
fn every_tie_of_halves_goes_to_the_even_one() {
    for (storage, mantissa, infinity) in HALVES {
        let (mut values, mut nearest) = (Vec::new(), Vec::new());
        for bits in 0..infinity {
            let low = value_of(bits, mantissa);
            // Beyond the largest, as far as to the next power of two would be.
            let high = if bits + 1 == infinity {
                2.0 * low - value_of(bits - 1, mantissa)
            } else {
                value_of(bits + 1, mantissa)
            };
            let tie = (low + high) / 2.0;
            let even = bits + (bits & 1);
            for (x, bits) in [(low, bits), (tie.next_down(), bits), (tie, even), (tie.next_up(), bits + 1)] {
                values.extend([x, -x]);
                nearest.extend([bits, bits | 0x8000]);
            }
        }
        let expected = halves(storage, nearest.iter().copied());
        let rounded: Vec<f64> = nearest.iter().map(|bits| value_of(*bits, mantissa)).collect();
        let from = Array::F64(values.clone());
        converts(&conversion(Type::F64, Storage::F64, storage, None), &from, &expected);
        let op = Some(Op::Narrow(storage, Value(0)));
        converts(&conversion(Type::F64, Storage::F64, Storage::F64, op), &from, &Array::F64(rounded.clone()));

        // The same of f32, with its own neighbours of the ties.
        let single = |i: usize| match i % 8 {
            2 | 3 => (values[i + 2] as f32).abs().next_down().copysign(values[i] as f32),
            6 | 7 => (values[i - 2] as f32).abs().next_up().copysign(values[i] as f32),
            _ => values[i] as f32,
        };
        let from = Array::F32((0..values.len()).map(single).collect());
        converts(&conversion(Type::F32, Storage::F32, storage, None), &from, &expected);
        let rounded = Array::F32(rounded.iter().map(|x| *x as f32).collect());
        converts(&conversion(Type::F32, Storage::F32, Storage::F32, op), &from, &rounded);
    }
}

/// Over all of f32, by a step that shares no factor with 2^32.
#[test]
fn engines_narrow_alike_over_a_stride_of_all_f32() {
    let stride = if std::env::var("UPDRAFT_ALL_F32").is_ok() { 1 } else { 1021 };
    let mut next = 0u32;
    let mut left = (1u64 << 32) / u64::from(stride);
    while left > 0 {
        let len = left.min(1 << 20) as usize;
        let values: Vec<f32> = (0..len).map(|i| f32::from_bits(next.wrapping_add(stride * i as u32))).collect();
        next = next.wrapping_add(stride * len as u32);
        left -= len as u64;
        let bf16s = values.iter().map(|x| bf16::from_f32(*x));
        let f16s = values.iter().map(|x| f16::from_f32(*x));
        let rounded = [
            Array::F32(bf16s.clone().map(bf16::to_f32).collect()),
            Array::F32(f16s.clone().map(f16::to_f32).collect()),
        ];
        let stored = [Array::Bf16(bf16s.collect()), Array::F16(f16s.collect())];
        let from = Array::F32(values);
        for (((storage, ..), rounded), stored) in HALVES.iter().zip(&rounded).zip(&stored) {
            converts(&conversion(Type::F32, Storage::F32, *storage, None), &from, stored);
            let op = Some(Op::Narrow(*storage, Value(0)));
            converts(&conversion(Type::F32, Storage::F32, Storage::F32, op), &from, rounded);
        }
    }
}
