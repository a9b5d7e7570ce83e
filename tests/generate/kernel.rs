//! Random kernels that verify: every operation of every type, up to about 60 instructions and 8 streams; some of many more
//! values; and the shrinker.
//!
//! What is computed reaches the outputs: integers and bools are turned into floats that some store may take. NaNs are
//! one value, but bits told from a NaN are not, so a float becomes an integer by `bitcast` only where it is not NaN.

use super::Random;
use updraft::ir::{Access, Binary, Compare, Const, Kernel, KernelInst, Op, Storage, Stream, Type, Unary, Value};

pub const UNARY: [Unary; 6] = [Unary::Neg, Unary::Abs, Unary::Sqrt, Unary::Floor, Unary::Ceil, Unary::Round];
pub const FLOAT: [Binary; 6] = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Min, Binary::Max];
pub const INT: [Binary; 8] =
    [Binary::And, Binary::Or, Binary::Xor, Binary::IAdd, Binary::ISub, Binary::Shl, Binary::Shr, Binary::Sar];
pub const COMPARE: [Compare; 6] = [Compare::Eq, Compare::Ne, Compare::Lt, Compare::Le, Compare::Gt, Compare::Ge];

/// The kernel of a seed.
pub fn random_kernel(seed: u64) -> Kernel {
    let mut random = Random::new(seed);
    let compute = random.pick(&[Type::F32, Type::F32, Type::F64]);
    let own = if compute == Type::F32 { Storage::F32 } else { Storage::F64 };
    let streams = (0..random.below(9)).map(|i| Stream {
        name: format!("s{i}"),
        // Now and then one that is converted.
        storage: if random.once_in(4) { random.pick(&Storage::ALL) } else { own },
        access: random.pick(&[Access::Read, Access::Write, Access::ReadWrite]),
        block: i % 5 == 4,
    });
    let streams: Vec<Stream> = streams.collect();
    let uniforms = (0..random.below(6)).map(|i| format!("u{i}")).collect();
    let name = format!("random_{seed}");
    let kernel = Kernel { name, compute, uniforms, streams, body: Vec::new() };
    let mut builder = Builder { random, kernel, values: Vec::new(), recent: 5 };
    builder.fill();
    builder.kernel
}

/// A kernel of more values than there are registers: all streams and uniforms are read first, operands are any values
/// before, and every value is read once more at the end.
pub fn pressure_kernel(seed: u64) -> Kernel {
    let mut random = Random::new(seed ^ 0x9e55);
    let compute = random.pick(&[Type::F32, Type::F32, Type::F64]);
    let own = if compute == Type::F32 { Storage::F32 } else { Storage::F64 };
    let streams = (0..8 + random.below(14)).map(|i| Stream {
        name: format!("s{i}"),
        storage: if random.once_in(3) { random.pick(&Storage::ALL) } else { own },
        access: if i == 0 { Access::ReadWrite } else { random.pick(&[Access::Read, Access::Write, Access::ReadWrite]) },
        block: false,
    });
    let streams: Vec<Stream> = streams.collect();
    let uniforms = (0..random.below(16)).map(|i| format!("u{i}")).collect();
    let name = format!("pressure_{seed}");
    let kernel = Kernel { name, compute, uniforms, streams, body: Vec::new() };
    let mut builder = Builder { random, kernel, values: Vec::new(), recent: usize::MAX };
    builder.crowd();
    builder.kernel
}

struct Builder {
    random: Random,
    kernel: Kernel,
    /// The values so far, with their types.
    values: Vec<(Value, Type)>,
    /// Operands are mostly of so many last values.
    recent: usize,
}

impl Builder {
    fn fill(&mut self) {
        let mut loads: Vec<u32> = (0..self.kernel.streams.len() as u32).collect();
        loads.retain(|&i| self.kernel.streams[i as usize].access.reads());
        let mut stores: Vec<u32> = (0..self.kernel.streams.len() as u32).collect();
        stores.retain(|&i| self.kernel.streams[i as usize].access.writes());
        let size = 1 + self.random.below(50);
        for left in (0..size).rev() {
            match self.random.below(6) {
                _ if !loads.is_empty() && (self.random.once_in(3) || left <= loads.len()) => {
                    let at = self.random.below(loads.len());
                    let stream = loads.swap_remove(at);
                    self.push(KernelInst::Load(stream), self.kernel.compute);
                }
                0 if !self.kernel.uniforms.is_empty() => {
                    let uniform = self.random.below(self.kernel.uniforms.len()) as u32;
                    self.push(KernelInst::Uniform(uniform), self.kernel.compute);
                }
                // A store in the middle, once its stream has been loaded.
                1 if self.random.once_in(4) && !stores.is_empty() && !loads.contains(stores.last().unwrap()) => {
                    self.store(stores.pop().unwrap());
                }
                _ => self.operation(),
            }
        }
        // Not every kernel stores to every stream; a load after the store would be wrong.
        for stream in stores {
            if !self.random.once_in(20) {
                self.store(stream);
            }
        }
    }

    fn crowd(&mut self) {
        for stream in 0..self.kernel.streams.len() {
            if self.kernel.streams[stream].access.reads() {
                self.push(KernelInst::Load(stream as u32), self.kernel.compute);
            }
        }
        for uniform in 0..self.kernel.uniforms.len() {
            self.push(KernelInst::Uniform(uniform as u32), self.kernel.compute);
        }
        for _ in 0..20 + self.random.below(40) {
            self.operation();
        }
        let int = self.int();
        let mut all = self.constant(int);
        for (index, (value, ty)) in self.values.clone().into_iter().enumerate() {
            let bits = match ty {
                Type::Bool => {
                    let op = Op::Select(value, self.constant(int), self.constant(int));
                    self.op(op, int)
                }
                ty if ty.is_float() => self.bits(value),
                _ => value,
            };
            let op = if index % 2 == 0 { Binary::Xor } else { Binary::IAdd };
            all = self.op(Op::Binary(op, all, bits), int);
        }
        for stream in 0..self.kernel.streams.len() as u32 {
            if self.kernel.streams[stream as usize].access.writes() {
                let op = if stream % 2 == 0 { Op::ToFloat(all) } else { Op::Bitcast(self.kernel.compute, all) };
                let value = self.op(op, self.kernel.compute);
                self.kernel.body.push(KernelInst::Store(stream, value));
            }
        }
    }

    /// The bits of a float, of some other float if it is a NaN.
    fn bits(&mut self, a: Value) -> Value {
        let (float, int) = (self.kernel.compute, self.int());
        let is_nan = self.op(Op::Compare(Compare::Ne, a, a), Type::Bool);
        let other = self.value(int);
        let other = self.op(Op::ToFloat(other), float);
        let not_nan = self.op(Op::Select(is_nan, other, a), float);
        self.op(Op::Bitcast(int, not_nan), int)
    }

    fn int(&self) -> Type {
        if self.kernel.compute == Type::F32 { Type::I32 } else { Type::I64 }
    }

    fn push(&mut self, inst: KernelInst, ty: Type) -> Value {
        let value = Value(self.kernel.body.len() as u32);
        self.kernel.body.push(inst);
        self.values.push((value, ty));
        value
    }

    fn op(&mut self, op: Op, ty: Type) -> Value {
        self.push(KernelInst::Op(op), ty)
    }

    fn constant(&mut self, ty: Type) -> Value {
        let int = |random: &mut Random| match random.below(3) {
            0 => random.below(130) as i64 - 65,
            1 => random.pick(&[i64::MAX, i64::MIN, i64::from(i32::MAX), i64::from(i32::MIN), 0]),
            _ => random.bits() as i64,
        };
        let c = match ty {
            Type::F32 => Const::f32(self.random.spicy_f32()),
            Type::F64 => Const::f64(self.random.spicy_f64()),
            Type::I32 => Const::I32(int(&mut self.random) as i32),
            Type::I64 => Const::I64(int(&mut self.random)),
            Type::Bool => Const::Bool(self.random.once_in(2)),
        };
        self.op(Op::Const(c), ty)
    }

    /// A value of a type: mostly one of the last, sometimes any, sometimes a new constant.
    fn value(&mut self, ty: Type) -> Value {
        let all: Vec<Value> = self.values.iter().filter(|(_, t)| *t == ty).map(|(v, _)| *v).collect();
        if all.is_empty() || self.random.once_in(12) {
            return self.constant(ty);
        }
        let recent = all.len().saturating_sub(self.recent);
        if self.random.once_in(3) { self.random.pick(&all) } else { self.random.pick(&all[recent..]) }
    }

    fn operation(&mut self) {
        let (float, int) = (self.kernel.compute, self.int());
        match self.random.below(22) {
            20.. => {
                let op = Op::Narrow(self.random.pick(&Storage::ALL), self.value(float));
                self.op(op, float);
            }
            0..3 => {
                let op = Op::Unary(self.random.pick(&UNARY), self.value(float));
                self.op(op, float);
            }
            3..8 => {
                let op = Op::Binary(self.random.pick(&FLOAT), self.value(float), self.value(float));
                self.op(op, float);
            }
            8..10 => {
                let op = Op::Fma(self.value(float), self.value(float), self.value(float));
                self.op(op, float);
            }
            10..12 => {
                let ty = self.random.pick(&[float, float, int]);
                let op = Op::Compare(self.random.pick(&COMPARE), self.value(ty), self.value(ty));
                self.op(op, Type::Bool);
            }
            12..14 => {
                let ty = self.random.pick(&[float, float, int, Type::Bool]);
                let op = Op::Select(self.value(Type::Bool), self.value(ty), self.value(ty));
                self.op(op, ty);
            }
            14 => {
                let a = self.value(Type::Bool);
                let op = match self.random.below(3) {
                    0 => Op::Unary(Unary::Not, a),
                    1 => Op::Binary(Binary::And, a, self.value(Type::Bool)),
                    _ => Op::Binary(Binary::Or, a, self.value(Type::Bool)),
                };
                self.op(op, Type::Bool);
            }
            15..17 => {
                let op = Op::Binary(self.random.pick(&INT), self.value(int), self.value(int));
                self.op(op, int);
            }
            17 => {
                let a = self.value(float);
                self.bits(a);
            }
            18 => {
                let op = Op::ToInt(self.value(float));
                self.op(op, int);
            }
            _ => {
                let a = self.value(int);
                let op = if self.random.once_in(2) { Op::ToFloat(a) } else { Op::Bitcast(float, a) };
                self.op(op, float);
            }
        }
    }

    /// Stores a float, at times one made of an integer or a bool.
    fn store(&mut self, stream: u32) {
        let (float, int) = (self.kernel.compute, self.int());
        let value = match self.random.below(4) {
            0 => {
                let a = self.value(int);
                self.op(Op::ToFloat(a), float)
            }
            1 => {
                let op = Op::Select(self.value(Type::Bool), self.value(float), self.value(float));
                self.op(op, float)
            }
            _ => self.value(float),
        };
        self.kernel.body.push(KernelInst::Store(stream, value));
    }
}

/// A smaller kernel that still fails: instructions that nothing reads are left out, one by one, while it does.
pub fn shrink(kernel: &Kernel, fails: impl Fn(&Kernel) -> bool) -> Kernel {
    let mut kernel = kernel.clone();
    let mut index = kernel.body.len();
    while index > 0 {
        index -= 1;
        if let Some(smaller) = without(&kernel, index)
            && fails(&smaller)
        {
            kernel = smaller;
            index = kernel.body.len();
        }
    }
    kernel
}

/// The kernel without one instruction, if no other reads it.
fn without(kernel: &Kernel, index: usize) -> Option<Kernel> {
    let mut read = false;
    let mut renumber = |Value(v): Value| {
        read |= v as usize == index;
        Value(if v as usize > index { v - 1 } else { v })
    };
    let mut smaller = kernel.clone();
    smaller.body.remove(index);
    for inst in &mut smaller.body {
        *inst = match *inst {
            KernelInst::Op(op) => KernelInst::Op(op.map_operands(&mut renumber)),
            KernelInst::Store(stream, v) => KernelInst::Store(stream, renumber(v)),
            inst => inst,
        };
    }
    (!read).then_some(smaller)
}
