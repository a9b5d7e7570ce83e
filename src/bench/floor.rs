//! The floor of a plan: the same memory traffic with additions only.
//!
//! Comes in: a plan, and the case that it was run in. Goes out: [`Floor`], which goes through arrays of the same number,
//! lengths and types as the plan's sweeps do, in the same order and by as many threads: each stream that a sweep reads is
//! read, each that it writes is written, and in between there is nothing but a sum. The loops are the fastest code that this
//! machine has, whatever the rule's is. Arrays of smaller extents than element, reductions and random numbers are left out: no rule can do with
//! less than this, and few can do with as little.

use super::Case;
use crate::Optimizer;
use crate::check::program::Extent;
use crate::ir::{Access, Args, Binary, Buffer, Const, Kernel, KernelInst, Op, Storage, Stream, Type, Uniforms, Value};
use crate::plan::{Plan, StreamOf, Sweep};
use crate::runtime::{State, Threads};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// The floor of a plan, with the memory that it goes through.
pub(super) struct Floor {
    loops: Vec<Loop>,
    /// By tensor and array.
    tensors: Vec<Vec<State>>,
    elements: usize,
    pool: Option<ThreadPool>,
}

/// What runs a kernel.
type Run = Box<dyn Fn(&mut Args<'_>) + Send + Sync>;

/// The floor of a sweep.
struct Loop {
    kernel: Kernel,
    run: Run,
    /// The array that each stream of the kernel is, but for the block.
    arrays: Vec<usize>,
    /// What a loop writes that writes no array: a block that stays in the cache.
    block: Option<Storage>,
}

/// As many elements as a block has.
const BLOCK: usize = crate::ir::sum::BLOCK;

impl Floor {
    /// The floor of `plan`, compiled through `optimizer`. Without threads to be had, it runs on one.
    pub(super) fn new(optimizer: &mut Optimizer, plan: &Plan, case: &Case) -> Floor {
        let mut arrays: Vec<(StreamOf, Storage)> = Vec::new();
        let mut loops = Vec::new();
        for sweep in plan.sweeps().filter(|sweep| sweep.over == Extent::Element) {
            let streams = sweep.kernel.streams.iter().zip(&sweep.streams).filter(|(stream, _)| !stream.block);
            let mut places = Vec::new();
            for (stream, of) in streams {
                let found = arrays.iter().position(|(known, _)| known == of);
                places.push(found.unwrap_or(arrays.len()));
                if found.is_none() {
                    arrays.push((*of, stream.storage));
                }
            }
            if places.is_empty() {
                continue;
            }
            let (kernel, block) = additions(sweep);
            let run = Box::new(optimizer.runner(kernel.clone()));
            loops.push(Loop { kernel, run, arrays: places, block });
        }
        let tensor = |_| arrays.iter().map(|(_, storage)| touched(*storage, case.elements)).collect();
        let pool = (case.threads != 1).then(|| ThreadPoolBuilder::new().num_threads(case.threads).build().ok());
        Floor { loops, tensors: (0..case.tensors).map(tensor).collect(), elements: case.elements, pool: pool.flatten() }
    }

    /// Goes through everything once.
    pub(super) fn run(&mut self) {
        let Floor { loops, tensors, elements, pool } = self;
        let threads = Threads(pool.as_ref());
        if tensors.len() > 1 && threads.share(*elements * tensors.len()) {
            return threads.for_each(tensors, |arrays| loops.iter().for_each(|each| each.run(arrays, Threads(None))));
        }
        tensors.iter_mut().for_each(|arrays| loops.iter().for_each(|each| each.run(arrays, threads)));
    }
}

impl Loop {
    fn run(&self, arrays: &mut [State], threads: Threads<'_>) {
        let mut streams: Vec<Option<Buffer<'_>>> = self.arrays.iter().map(|_| None).collect();
        for (index, array) in arrays.iter_mut().enumerate() {
            if let Some(stream) = self.arrays.iter().position(|array| *array == index) {
                streams[stream] = array.buffer();
            }
        }
        let mut rest: Vec<Buffer<'_>> = streams.into_iter().flatten().collect();
        let len = rest.first().map_or(0, Buffer::len);
        let piece = threads.piece_len(len, BLOCK);
        if piece >= len {
            return self.piece(rest);
        }
        let mut pieces = Vec::new();
        while rest[0].len() > piece {
            let (first, later) = rest.into_iter().map(|buffer| buffer.split_at(piece)).unzip();
            pieces.push(first);
            rest = later;
        }
        pieces.push(rest);
        threads.for_each(&mut pieces, |piece| self.piece(std::mem::take(piece)));
    }

    /// Goes through what one thread has.
    fn piece(&self, mut streams: Vec<Buffer<'_>>) {
        let Some(storage) = self.block else { return self.call(streams) };
        let mut block = State::zeros(storage, BLOCK);
        while !streams.is_empty() {
            let len = streams[0].len().min(BLOCK);
            let (mut first, later): (Vec<_>, Vec<_>) = streams.into_iter().map(|s| s.split_at(len)).unzip();
            first.extend(block.buffer().map(|buffer| buffer.split_at(len).0));
            self.call(first);
            streams = if later[0].is_empty() { Vec::new() } else { later };
        }
    }

    fn call(&self, streams: Vec<Buffer<'_>>) {
        let uniforms = if self.kernel.compute == Type::F64 { Uniforms::F64(&[]) } else { Uniforms::F32(&[]) };
        match Args::new(&self.kernel, streams, uniforms) {
            Ok(mut args) => (self.run)(&mut args),
            Err(error) => unreachable!("the arrays were made for this kernel: {error}"),
        }
    }
}

/// A kernel that reads and writes the arrays that a sweep does, and adds. Writing is what makes a compiler read: a sweep
/// that only reads, for a sum, writes a block here, of the type that is given.
fn additions(sweep: &Sweep) -> (Kernel, Option<Storage>) {
    let of = &sweep.kernel;
    let mut streams: Vec<Stream> = of.streams.iter().filter(|stream| !stream.block).cloned().collect();
    let block = (!streams.iter().any(|stream| stream.access.writes())).then_some(match of.compute {
        Type::F64 => Storage::F64,
        _ => Storage::F32,
    });
    let access = Access::Write;
    streams.extend(block.map(|storage| Stream { name: "sum".to_string(), storage, access, block: true }));
    let mut body: Vec<KernelInst> = Vec::new();
    let mut sum: Option<Value> = None;
    let put = |body: &mut Vec<KernelInst>, inst: KernelInst| {
        body.push(inst);
        Value(body.len() as u32 - 1)
    };
    for (index, _) in streams.iter().enumerate().filter(|(_, stream)| stream.access.reads()) {
        let loaded = put(&mut body, KernelInst::Load(index as u32));
        sum = Some(match sum {
            None => loaded,
            Some(sum) => put(&mut body, KernelInst::Op(Op::Binary(Binary::Add, sum, loaded))),
        });
    }
    let one = if of.compute == Type::F64 { Const::f64(1.0) } else { Const::f32(1.0) };
    let sum = sum.unwrap_or_else(|| put(&mut body, KernelInst::Op(Op::Const(one))));
    for (index, _) in streams.iter().enumerate().filter(|(_, stream)| stream.access.writes()) {
        put(&mut body, KernelInst::Store(index as u32, sum));
    }
    (Kernel { name: of.name.clone(), compute: of.compute, uniforms: Vec::new(), streams, body }, block)
}

/// Memory that has been written: of what has not, the operating system may show one page of zeros for all.
fn touched(storage: Storage, len: usize) -> State {
    let mut array = State::zeros(storage, len);
    match array.buffer() {
        Some(Buffer::F32Mut(x)) => x.fill(1.0),
        Some(Buffer::F64Mut(x)) => x.fill(1.0),
        Some(Buffer::Bf16Mut(x)) => x.fill(half::bf16::ONE),
        Some(Buffer::F16Mut(x)) => x.fill(half::f16::ONE),
        _ => {}
    }
    array
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Codegen;
    use crate::ir::{print_kernel, verify_kernel};
    use crate::{Error, Math, Rule, Tensor};

    fn plan_of(rule: &str) -> Result<(Optimizer, Plan), Error> {
        let mut optimizer = Rule::shipped(rule)?.optimizer().build()?;
        let (mut w, g) = (vec![0.5f32; 12], vec![0.1f32; 12]);
        optimizer.step(&mut [Tensor::new("w", &mut w, &g)])?;
        let plan = optimizer.last_plan().expect("it has taken a step").clone();
        Ok((optimizer, plan))
    }

    #[test]
    fn a_floor_moves_the_bytes_of_its_plan() -> Result<(), Error> {
        for rule in ["adam", "sgd", "clip_adamw", "lamb"] {
            let (mut optimizer, plan) = plan_of(rule)?;
            for (elements, tensors, threads) in [(1, 3, 1), (1030, 1, 1), (70_000, 1, 2), (40_000, 2, 2)] {
                let (codegen, math) = (Codegen::Cranelift, Math::Fast);
                let case = Case { elements, tensors, threads, storage: Storage::F32, codegen, math };
                let mut floor = Floor::new(&mut optimizer, &plan, &case);
                let bytes: usize = floor.loops.iter().map(|each| each.kernel.bytes_per_element()).sum();
                assert_eq!(bytes, plan.bytes_per_element(), "{rule}");
                assert!(floor.loops.iter().all(|each| verify_kernel(&each.kernel).is_ok()), "{rule}");
                floor.run();
                // What is written of ones is how many are added: each element of each array, once.
                for array in floor.tensors.iter().flatten() {
                    let State::F32(values) = array else { panic!("{rule}: f32 alone") };
                    assert!(values.iter().all(|x| *x == values[0]), "{rule}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_floor_adds_and_does_nothing_else() -> Result<(), Error> {
        let (_, plan) = plan_of("sgd")?;
        let kernels: Vec<Kernel> = plan.sweeps().map(|sweep| additions(sweep).0).collect();
        let text: String = kernels.iter().map(print_kernel).collect();
        insta::assert_snapshot!(text, @r"
        kernel sgd f32 {
          stream g f32 r
          stream p f32 rw

          %0 = load g
          %1 = load p
          %2 = add %0, %1
          store p, %2
        } # 12 bytes per element
        ");
        Ok(())
    }
}
