//! The arguments of a run, the engines, and how two runs are compared.

use crate::generate::Random;
use half::{bf16, f16};
use std::ops::Range;
use updraft::codegen::{Backend, Code, Codegen, Cranelift, Isa, Lanes, Target, Wide};
use updraft::ir::{Access, Args, Buffer, Kernel, Storage, Type, Uniforms, eval_kernel};

/// The memory of one stream, of which a run sees a part.
#[derive(Clone)]
pub enum Array {
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bf16(Vec<bf16>),
    F16(Vec<f16>),
}

impl Array {
    pub fn buffer(&mut self, range: Range<usize>, access: Access) -> Buffer<'_> {
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

    pub fn len(&self) -> usize {
        match self {
            Array::F32(x) => x.len(),
            Array::F64(x) => x.len(),
            Array::Bf16(x) => x.len(),
            Array::F16(x) => x.len(),
        }
    }

    /// Makes every element 0.
    pub fn clear(&mut self) {
        match self {
            Array::F32(x) => x.fill(0.0),
            Array::F64(x) => x.fill(0.0),
            Array::Bf16(x) => x.fill(bf16::ZERO),
            Array::F16(x) => x.fill(f16::ZERO),
        }
    }

    /// The bits of an element, with one NaN for all.
    pub fn bits(&self, i: usize) -> u64 {
        match self {
            Array::F32(x) => u64::from(if x[i].is_nan() { f32::NAN } else { x[i] }.to_bits()),
            Array::F64(x) => if x[i].is_nan() { f64::NAN } else { x[i] }.to_bits(),
            Array::Bf16(x) => u64::from(if x[i].is_nan() { bf16::NAN } else { x[i] }.to_bits()),
            Array::F16(x) => u64::from(if x[i].is_nan() { f16::NAN } else { x[i] }.to_bits()),
        }
    }

    /// The bits of an element as they are.
    pub fn exact_bits(&self, i: usize) -> u64 {
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
pub struct Data {
    pub arrays: Vec<Array>,
    pub uniforms: Array,
    /// Each stream's slice begins here in its array: a distance of its own from 16-byte alignment.
    pub offsets: Vec<usize>,
    pub len: usize,
}

/// Elements behind each slice that must stay as they are.
pub const MARGIN: usize = 19;

impl Data {
    pub fn random(kernel: &Kernel, len: usize, random: &mut Random) -> Data {
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

    pub fn run(&mut self, kernel: &Kernel, engine: &Engine) {
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
    pub fn difference(&self, other: &Data, before: &Data) -> Option<String> {
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

/// Who runs a kernel.
pub enum Engine {
    /// The evaluator, which says what is right.
    Eval,
    /// Machine code.
    Code(Code),
}

/// What makes code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Generator {
    /// Cranelift with these settings.
    Cranelift(Cranelift),
    /// The crate's own for AVX2.
    Wide,
}

/// What is shipped: every generator that this machine has, one element at a time and in vectors.
pub fn shipped() -> Vec<(Generator, Lanes)> {
    let available = Codegen::ALL.into_iter().filter(|codegen| codegen.is_available());
    let generators = available.map(|codegen| match codegen {
        Codegen::Cranelift => Generator::Cranelift(Cranelift::default()),
        Codegen::Wide => Generator::Wide,
    });
    let all: Vec<_> = generators.flat_map(|generator| [(generator, Lanes::One), (generator, Lanes::Simd)]).collect();
    assert!(!all.is_empty(), "tests of code run on a machine that has an instruction set of ours");
    all
}

/// The code of one of them.
pub fn code(kernel: &Kernel, generator: Generator, lanes: Lanes) -> Engine {
    let (backend, codegen): (&dyn Backend, _) = match &generator {
        Generator::Cranelift(settings) => (settings, Codegen::Cranelift),
        Generator::Wide => (&Wide, Codegen::Wide),
    };
    let isa: Isa = codegen.host().expect("a code generator of this machine");
    Engine::Code(backend.compile(kernel, Target { isa, lanes }).unwrap())
}

/// All code that is shipped.
pub fn codes(kernel: &Kernel) -> Vec<((Generator, Lanes), Engine)> {
    shipped().into_iter().map(|(generator, lanes)| ((generator, lanes), code(kernel, generator, lanes))).collect()
}
