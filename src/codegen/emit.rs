//! From a kernel to Cranelift's IR.
//!
//! Comes in: a verified [`Kernel`] and how many lanes. Goes out: a function `(streams, uniforms, len)` of Cranelift's IR,
//! the same for every instruction set. `streams` points to one pointer per stream, `uniforms` to the values of the
//! uniforms, `len` counts elements. The function is a vector loop, unrolled, over as many elements as fill whole rounds,
//! then a loop over single elements for the rest; [`Lanes::One`] leaves the first loop out. No element is done twice: a
//! tail that overlapped the vector loop would apply an update twice.
//!
//! Both loops are the same body, emitted by the same function for another number of lanes. It calls nothing. Accesses
//! say `notrap` only: slices are aligned to their elements, not to vectors.
//!
//! It relies on the kernel being verified and does not optimise: Cranelift and the IR's passes do.

use super::halves;
use super::isa::Lanes;
use crate::ir::verify::types;
use crate::ir::{Binary, Compare, Const, Kernel, KernelInst, Op, Storage, Stream, Type, Unary};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::immediates::{Ieee32, Ieee64};
use cranelift_codegen::ir::{
    AbiParam, AliasRegionData, Function, InstBuilder, MemFlagsData, Signature, UserFuncName, Value, types as clif,
};
use cranelift_codegen::isa::{CallConv, TargetFrontendConfig};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

/// Pointers and lengths: both instruction sets are 64-bit.
const POINTER: clif::Type = clif::I64;

/// The signature that every kernel has. The calling convention is named, so that the text is equal on every host.
pub(super) fn signature() -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend([AbiParam::new(POINTER); 3]);
    signature
}

/// How many vectors of each stream one round of the vector loop handles: two if the body is so short that the loop's own
/// instructions weigh on it, else one.
///
/// Measured on f32 with one, two and four vectors a round: plain SGD on 16 Ki elements takes 0.175, 0.132 and 0.124 ns an
/// element. Adam, AMSGrad and Lion gain nothing (Adam 0.52 ns, the time of its division and root), and on 1 Mi elements
/// nothing gains, because memory decides. The code grows with each copy, and with it the time to compile.
pub(super) fn unroll(kernel: &Kernel) -> usize {
    let invariant = |inst: &&KernelInst| matches!(inst, KernelInst::Uniform(_) | KernelInst::Op(Op::Const(_)));
    let repeated = kernel.body.len() - kernel.body.iter().filter(invariant).count();
    if repeated <= 8 { 2 } else { 1 }
}

/// The function that does `kernel`.
pub(super) fn emit(kernel: &Kernel, lanes: Lanes, unroll: usize, config: TargetFrontendConfig) -> Function {
    // The name is fixed: nothing that a rule says becomes a symbol.
    let mut function = Function::with_name_signature(UserFuncName::testcase("kernel"), signature());
    let regions = Regions::new(&mut function, kernel);
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut function, &mut context);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let [table, uniforms, len] = *b.block_params(entry) else { unreachable!("the signature has three parameters") };
    let streams =
        (0..kernel.streams.len()).map(|i| b.ins().load(POINTER, regions.table, table, (8 * i) as i32)).collect();
    let one = Body { kernel, types: types(kernel), lanes: 1, regions, streams, uniforms };

    let mut start = b.ins().iconst(POINTER, 0);
    if lanes == Lanes::Simd {
        let many = Body { lanes: lanes_of(kernel.compute), ..one.clone() };
        let round = many.lanes * unroll;
        let whole = b.ins().band_imm_s(len, -(round as i64));
        let invariant = many.emit_invariant(&mut b);
        emit_loop(&mut b, start, whole, round, |b, index| {
            let addresses = many.emit_addresses(b, index);
            for copy in 0..unroll {
                many.emit(b, &invariant, &addresses, copy * many.lanes);
            }
        });
        start = whole;
    }
    let invariant = one.emit_invariant(&mut b);
    emit_loop(&mut b, start, len, 1, |b, index| {
        let addresses = one.emit_addresses(b, index);
        one.emit(b, &invariant, &addresses, 0);
    });
    b.ins().return_(&[]);
    b.seal_all_blocks();
    b.finalize(config);
    function
}

/// The elements of a 128-bit vector of this float type, and of the integers and masks of its width.
fn lanes_of(compute: Type) -> usize {
    if compute == Type::F32 { 4 } else { 2 }
}

/// A loop from `start`, by `step`, while below `end`; the builder is left in the block behind it.
fn emit_loop(
    b: &mut FunctionBuilder<'_>,
    start: Value,
    end: Value,
    step: usize,
    body: impl FnOnce(&mut FunctionBuilder<'_>, Value),
) {
    let (again, rest) = (b.create_block(), b.create_block());
    let index = b.append_block_param(again, POINTER);
    let any = b.ins().icmp(IntCC::UnsignedLessThan, start, end);
    b.ins().brif(any, again, &[start.into()], rest, &[]);
    b.switch_to_block(again);
    body(b, index);
    let next = b.ins().iadd_imm_s(index, step as i64);
    let more = b.ins().icmp(IntCC::UnsignedLessThan, next, end);
    b.ins().brif(more, again, &[next.into()], rest, &[]);
    b.switch_to_block(rest);
}

/// The flags of accesses: by what they reach, each a region that no other overlaps.
#[derive(Clone)]
struct Regions {
    /// The table of pointers.
    table: MemFlagsData,
    /// The uniforms.
    uniforms: MemFlagsData,
    /// Each stream's slice.
    streams: Vec<MemFlagsData>,
}

impl Regions {
    fn new(function: &mut Function, kernel: &Kernel) -> Regions {
        let mut region = |description: String| {
            let regions = &mut function.dfg.alias_regions;
            let user_id = regions.len() as u32;
            let region = regions.insert(AliasRegionData { user_id, description: description.into() });
            MemFlagsData::new().with_notrap().with_alias_region(Some(region))
        };
        Regions {
            table: region("streams".into()),
            uniforms: region("uniforms".into()),
            streams: (0..kernel.streams.len()).map(|i| region(format!("stream {i}"))).collect(),
        }
    }
}

/// A kernel's body for a number of lanes.
#[derive(Clone)]
struct Body<'k> {
    kernel: &'k Kernel,
    types: Vec<Option<Type>>,
    /// 1: scalars, whose bools are 0 and 1. More: vectors, whose bools are masks of the compute type's width.
    lanes: usize,
    regions: Regions,
    /// The pointer of each stream.
    streams: Vec<Value>,
    /// The pointer of the uniforms.
    uniforms: Value,
}

impl Body<'_> {
    /// What is the same for all elements, before the loop: uniforms and constants, by instruction.
    fn emit_invariant(&self, b: &mut FunctionBuilder<'_>) -> Vec<Option<Value>> {
        let emit = |inst: &KernelInst| match *inst {
            KernelInst::Uniform(i) => {
                let bytes = if self.kernel.compute == Type::F32 { 4 } else { 8 };
                let one =
                    b.ins().load(scalar(self.kernel.compute), self.regions.uniforms, self.uniforms, i as i32 * bytes);
                Some(self.splat(b, one))
            }
            KernelInst::Op(Op::Const(c)) => Some(self.emit_const(b, c)),
            _ => None,
        };
        self.kernel.body.iter().map(emit).collect()
    }

    /// The body for the elements that lie `ahead` of the streams' `addresses`.
    fn emit(&self, b: &mut FunctionBuilder<'_>, invariant: &[Option<Value>], addresses: &[Value], ahead: usize) {
        let mut values = invariant.to_vec();
        for (i, &inst) in self.kernel.body.iter().enumerate() {
            let value = |v: crate::ir::Value| values[v.index()].expect("a verified operand");
            match inst {
                KernelInst::Uniform(_) | KernelInst::Op(Op::Const(_)) => {}
                KernelInst::Load(stream) => {
                    values[i] = Some(self.emit_load(b, stream as usize, addresses[stream as usize], ahead))
                }
                KernelInst::Store(stream, v) => {
                    self.emit_store(b, stream as usize, addresses[stream as usize], ahead, value(v))
                }
                KernelInst::Op(op) => values[i] = Some(self.emit_op(b, op, value)),
            }
        }
    }

    /// The address of each stream's element `index`.
    fn emit_addresses(&self, b: &mut FunctionBuilder<'_>, index: Value) -> Vec<Value> {
        let mut offsets = [None; 4];
        let streams = self.kernel.streams.iter().zip(&self.streams);
        let address = |(stream, &base): (&Stream, &Value)| {
            let shift = stream.storage.bytes().trailing_zeros();
            let offset = *offsets[shift as usize].get_or_insert_with(|| b.ins().ishl_imm_u(index, i64::from(shift)));
            b.ins().iadd(base, offset)
        };
        streams.map(address).collect()
    }

    fn emit_load(&self, b: &mut FunctionBuilder<'_>, stream: usize, address: Value, ahead: usize) -> Value {
        let storage = self.kernel.streams[stream].storage;
        let compute = self.kernel.compute;
        let flags = self.regions.streams[stream];
        let offset = (ahead * storage.bytes()) as i32;
        match storage {
            Storage::F32 | Storage::F64 if storage.compute() == compute => {
                b.ins().load(self.clif_type(compute), flags, address, offset)
            }
            Storage::Bf16 | Storage::F16 if compute == Type::F32 && self.lanes > 1 => {
                let bits = b.ins().uload16x4(flags, address, offset);
                halves::widen(b, storage, bits)
            }
            _ => self.lane_by_lane(b, compute, |b, lane| {
                let offset = offset + (lane * storage.bytes()) as i32;
                let one = match storage {
                    Storage::F32 | Storage::F64 => b.ins().load(scalar(storage.compute()), flags, address, offset),
                    Storage::Bf16 | Storage::F16 => {
                        let bits = b.ins().uload16(clif::I32, flags, address, offset);
                        halves::widen(b, storage, bits)
                    }
                };
                convert(b, one, compute)
            }),
        }
    }

    fn emit_store(&self, b: &mut FunctionBuilder<'_>, stream: usize, address: Value, ahead: usize, value: Value) {
        let storage = self.kernel.streams[stream].storage;
        let compute = self.kernel.compute;
        let flags = self.regions.streams[stream];
        let offset = (ahead * storage.bytes()) as i32;
        match storage {
            Storage::F32 | Storage::F64 if storage.compute() == compute => {
                b.ins().store(flags, value, address, offset);
            }
            Storage::Bf16 | Storage::F16 if compute == Type::F32 && self.lanes > 1 => {
                let bits = halves::narrow(b, storage, value);
                let four = halves::pack(b, bits);
                b.ins().store(flags, four, address, offset);
            }
            _ => {
                for lane in 0..self.lanes {
                    let offset = offset + (lane * storage.bytes()) as i32;
                    let one = self.lane(b, value, lane);
                    match storage {
                        Storage::F32 | Storage::F64 => {
                            let one = convert(b, one, storage.compute());
                            b.ins().store(flags, one, address, offset);
                        }
                        Storage::Bf16 | Storage::F16 => {
                            let bits = halves::narrow(b, storage, one);
                            b.ins().istore16(flags, bits, address, offset);
                        }
                    }
                }
            }
        }
    }

    fn emit_op(&self, b: &mut FunctionBuilder<'_>, op: Op, value: impl Fn(crate::ir::Value) -> Value) -> Value {
        let ty = |v: crate::ir::Value| self.types[v.index()].expect("a verified operand");
        match op {
            Op::Const(c) => self.emit_const(b, c),
            Op::Unary(op, a) => {
                let a = value(a);
                match op {
                    Unary::Neg => b.ins().fneg(a),
                    Unary::Abs => b.ins().fabs(a),
                    Unary::Sqrt => b.ins().sqrt(a),
                    Unary::Floor => b.ins().floor(a),
                    Unary::Ceil => b.ins().ceil(a),
                    Unary::Round => b.ins().nearest(a),
                    Unary::Not if self.lanes == 1 => b.ins().bxor_imm_u(a, 1),
                    Unary::Not => b.ins().bnot(a),
                    Unary::Math(_) => unreachable!("a verified kernel has no operation of scalar code"),
                }
            }
            Op::Binary(op @ (Binary::Shl | Binary::Shr | Binary::Sar), x, count) => {
                self.emit_shift(b, op, value(x), ty(x), count, value(count))
            }
            Op::Binary(op, x, y) => {
                let (x, y) = (value(x), value(y));
                match op {
                    Binary::Add => b.ins().fadd(x, y),
                    Binary::Sub => b.ins().fsub(x, y),
                    Binary::Mul => b.ins().fmul(x, y),
                    Binary::Div => b.ins().fdiv(x, y),
                    // These two have the rules of the IR: NaN if either is, -0 less than +0.
                    Binary::Min => b.ins().fmin(x, y),
                    Binary::Max => b.ins().fmax(x, y),
                    Binary::And => b.ins().band(x, y),
                    Binary::Or => b.ins().bor(x, y),
                    Binary::Xor => b.ins().bxor(x, y),
                    Binary::IAdd => b.ins().iadd(x, y),
                    Binary::ISub => b.ins().isub(x, y),
                    Binary::Shl | Binary::Shr | Binary::Sar => unreachable!("matched above"),
                    Binary::Rem | Binary::Pow => unreachable!("a verified kernel has no operation of scalar code"),
                }
            }
            Op::Fma(x, y, z) => b.ins().fma(value(x), value(y), value(z)),
            Op::Compare(op, x, y) if ty(x).is_float() => b.ins().fcmp(float_condition(op), value(x), value(y)),
            Op::Compare(op, x, y) => b.ins().icmp(int_condition(op), value(x), value(y)),
            Op::Select(c, x, y) if self.lanes == 1 => b.ins().select(value(c), value(x), value(y)),
            Op::Select(c, x, y) => {
                // All bits of a lane of a mask are equal, so choosing bit by bit chooses lane by lane.
                let mask = self.bitcast(b, value(c), ty(x));
                b.ins().bitselect(mask, value(x), value(y))
            }
            Op::Bitcast(to, x) => self.bitcast(b, value(x), to),
            // No vector of two f64 becomes integers in one instruction on x86-64 before AVX-512: lane by lane.
            Op::ToInt(x) if ty(x) == Type::F64 && self.lanes > 1 => self.lane_by_lane(b, Type::I64, |b, lane| {
                let one = self.lane(b, value(x), lane);
                b.ins().fcvt_to_sint_sat(clif::I64, one)
            }),
            Op::ToInt(x) => {
                let to = if ty(x) == Type::F32 { Type::I32 } else { Type::I64 };
                b.ins().fcvt_to_sint_sat(self.clif_type(to), value(x))
            }
            Op::ToFloat(x) => {
                let to = if ty(x) == Type::I32 { Type::F32 } else { Type::F64 };
                b.ins().fcvt_from_sint(self.clif_type(to), value(x))
            }
            Op::Narrow(storage, x) if storage.holds(ty(x)) => value(x),
            Op::Narrow(storage, x) if ty(x) == Type::F32 => halves::round(b, storage, value(x)),
            Op::Narrow(storage, x) => self.lane_by_lane(b, Type::F64, |b, lane| {
                let one = self.lane(b, value(x), lane);
                let narrow = match storage {
                    Storage::F32 | Storage::F64 => b.ins().fdemote(clif::F32, one),
                    Storage::Bf16 | Storage::F16 => {
                        let bits = halves::narrow(b, storage, one);
                        halves::widen(b, storage, bits)
                    }
                };
                b.ins().fpromote(clif::F64, narrow)
            }),
        }
    }

    /// Vectors shift all lanes by one count, which a constant is; other counts may differ, so they shift lane by lane.
    fn emit_shift(
        &self,
        b: &mut FunctionBuilder<'_>,
        op: Binary,
        x: Value,
        ty: Type,
        count: crate::ir::Value,
        counts: Value,
    ) -> Value {
        let shift = |b: &mut FunctionBuilder<'_>, x, by| match op {
            Binary::Shl => b.ins().ishl(x, by),
            Binary::Shr => b.ins().ushr(x, by),
            _ => b.ins().sshr(x, by),
        };
        match self.kernel.body[count.index()] {
            _ if self.lanes == 1 => shift(b, x, counts),
            KernelInst::Op(Op::Const(c)) => {
                let by = emit_scalar_const(b, c);
                shift(b, x, by)
            }
            _ => self.lane_by_lane(b, ty, |b, lane| {
                let (x, by) = (self.lane(b, x, lane), self.lane(b, counts, lane));
                shift(b, x, by)
            }),
        }
    }

    /// The same bits as another type.
    fn bitcast(&self, b: &mut FunctionBuilder<'_>, x: Value, to: Type) -> Value {
        let to = self.clif_type(to);
        if b.func.dfg.value_type(x) == to { x } else { b.ins().bitcast(to, MemFlagsData::new(), x) }
    }

    fn emit_const(&self, b: &mut FunctionBuilder<'_>, c: Const) -> Value {
        let one = match c {
            // A lane of a mask is all ones or all zeros.
            Const::Bool(x) if self.lanes > 1 => b.ins().iconst(self.mask_lane(), -i64::from(x)),
            c => emit_scalar_const(b, c),
        };
        self.splat(b, one)
    }

    /// Every lane this scalar.
    fn splat(&self, b: &mut FunctionBuilder<'_>, one: Value) -> Value {
        if self.lanes == 1 {
            return one;
        }
        let ty = b.func.dfg.value_type(one).by(self.lanes as u32).expect("a vector type");
        b.ins().splat(ty, one)
    }

    /// One lane of a value.
    fn lane(&self, b: &mut FunctionBuilder<'_>, value: Value, lane: usize) -> Value {
        if self.lanes == 1 { value } else { b.ins().extractlane(value, lane as u8) }
    }

    /// A value of type `ty` whose lanes are computed one by one.
    fn lane_by_lane(
        &self,
        b: &mut FunctionBuilder<'_>,
        ty: Type,
        mut one: impl FnMut(&mut FunctionBuilder<'_>, usize) -> Value,
    ) -> Value {
        let first = one(b, 0);
        debug_assert_eq!(b.func.dfg.value_type(first), scalar(ty));
        let mut all = self.splat(b, first);
        for lane in 1..self.lanes {
            let next = one(b, lane);
            all = b.ins().insertlane(all, next, lane as u8);
        }
        all
    }

    /// The type of a value in this body.
    fn clif_type(&self, ty: Type) -> clif::Type {
        match ty {
            _ if self.lanes == 1 => scalar(ty),
            Type::Bool => self.mask_lane().by(self.lanes as u32).expect("a vector type"),
            ty => scalar(ty).by(self.lanes as u32).expect("a vector type"),
        }
    }

    /// The integer that is one lane of a mask.
    fn mask_lane(&self) -> clif::Type {
        if self.kernel.compute == Type::F32 { clif::I32 } else { clif::I64 }
    }
}

/// The type of a single value; bools are bytes.
fn scalar(ty: Type) -> clif::Type {
    match ty {
        Type::F32 => clif::F32,
        Type::F64 => clif::F64,
        Type::I32 => clif::I32,
        Type::I64 => clif::I64,
        Type::Bool => clif::I8,
    }
}

fn emit_scalar_const(b: &mut FunctionBuilder<'_>, c: Const) -> Value {
    match c {
        Const::F32(bits) => b.ins().f32const(Ieee32::with_bits(bits)),
        Const::F64(bits) => b.ins().f64const(Ieee64::with_bits(bits)),
        Const::I32(x) => b.ins().iconst(clif::I32, i64::from(x)),
        Const::I64(x) => b.ins().iconst(clif::I64, x),
        Const::Bool(x) => b.ins().iconst(clif::I8, i64::from(x)),
    }
}

/// A single float as this float type.
fn convert(b: &mut FunctionBuilder<'_>, one: Value, to: Type) -> Value {
    match to {
        to if b.func.dfg.value_type(one) == scalar(to) => one,
        Type::F32 => b.ins().fdemote(clif::F32, one),
        _ => b.ins().fpromote(clif::F64, one),
    }
}

/// Ordered, but for `Ne`: with a NaN only that holds.
fn float_condition(op: Compare) -> FloatCC {
    match op {
        Compare::Eq => FloatCC::Equal,
        Compare::Ne => FloatCC::NotEqual,
        Compare::Lt => FloatCC::LessThan,
        Compare::Le => FloatCC::LessThanOrEqual,
        Compare::Gt => FloatCC::GreaterThan,
        Compare::Ge => FloatCC::GreaterThanOrEqual,
    }
}

fn int_condition(op: Compare) -> IntCC {
    match op {
        Compare::Eq => IntCC::Equal,
        Compare::Ne => IntCC::NotEqual,
        Compare::Lt => IntCC::SignedLessThan,
        Compare::Le => IntCC::SignedLessThanOrEqual,
        Compare::Gt => IntCC::SignedGreaterThan,
        Compare::Ge => IntCC::SignedGreaterThanOrEqual,
    }
}
