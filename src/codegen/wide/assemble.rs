//! From allocated instructions to a function's bytes and its text.
//!
//! The function is `(streams, uniforms, len)`, as Cranelift's is: a loop over whole vectors, then one over the elements that
//! are left, by the same instructions on the lowest lane. Before its first byte lies the pool of constants, one vector each;
//! below the frame pointer the table of uniforms, one vector each, and the slots of spilled values.
//!
//! General registers: `rdi` the table of pointers, `rsi` the uniforms until they have been read, `rdx` the length, `rax` the
//! end of the vector loop, `rcx` the index of the element. The others hold the streams' pointers; if they are too few, the
//! last streams' pointers are read from the table each time, to `r15`.

use super::allocate::{Allocated, Place, Placed};
use super::inst::{Half, MOVE, Src};
use crate::codegen::CodegenError;
use crate::codegen::isa::Lanes;
use crate::ir::{Kernel, Storage, Type};
use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code, Formatter, Instruction, InstructionBlock, MemoryOperand, NasmFormatter,
    OpKind, Register, SymbolResolver, SymbolResult,
};
use std::fmt::Write as _;

/// Bytes of a vector.
const VECTOR: usize = 32;

/// The registers that hold streams' pointers. Those after the first five are the caller's and are given back.
const POINTERS: [Register; 10] = [
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::RSI,
    Register::RBX,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];
const SCRATCH: usize = 5;

/// The places that the code jumps to. While the code is laid out each is the address of its instruction, far above any real
/// one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    Vectors,
    Tail,
    One,
    End,
}

impl Label {
    fn address(self) -> u64 {
        (1 << 40) + self as u64
    }

    fn name(self) -> &'static str {
        match self {
            Label::Vectors => "vectors",
            Label::Tail => "tail",
            Label::One => "one",
            Label::End => "end",
        }
    }

    fn of(address: u64) -> Option<Label> {
        [Label::Vectors, Label::Tail, Label::One, Label::End].into_iter().find(|label| label.address() == address)
    }
}

/// The code of one kernel.
pub(super) struct Assembled {
    instructions: Vec<Instruction>,
    pool: Vec<u64>,
    compute: Type,
}

/// How many elements an instruction does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Width {
    /// 256 bits of the compute type.
    Vector,
    One,
}

/// Lays out the function.
pub(super) fn assemble(kernel: &Kernel, lanes: Lanes, allocated: &Allocated, pool: Vec<u64>) -> Assembled {
    let mut table: Vec<u32> = Vec::new();
    for placed in &allocated.body {
        let Placed::Op { operands, count, .. } = placed else { continue };
        for operand in &operands[..*count] {
            if let Place::Uniform(index) = operand
                && !table.contains(index)
            {
                table.push(*index);
            }
        }
    }
    let lanes_of = VECTOR / lane_bytes(kernel.compute);
    let mut assembler = Assembler { kernel, allocated, table, instructions: Vec::new(), label: None };
    assembler.prologue();
    assembler.op2_rr(Code::Xor_r32_rm32, Register::ECX, Register::ECX);
    if lanes == Lanes::Simd {
        assembler.op2_rr(Code::Mov_r64_rm64, Register::RAX, Register::RDX);
        assembler.put(Instruction::with2(Code::And_rm64_imm8, Register::RAX, -(lanes_of as i32)));
        assembler.jump(Code::Je_rel32_64, Label::Tail);
        assembler.bind(Label::Vectors);
        assembler.body(Width::Vector);
        assembler.put(Instruction::with2(Code::Add_rm64_imm8, Register::RCX, lanes_of as i32));
        assembler.op2_rr(Code::Cmp_r64_rm64, Register::RCX, Register::RAX);
        assembler.jump(Code::Jb_rel32_64, Label::Vectors);
        assembler.bind(Label::Tail);
    }
    assembler.op2_rr(Code::Cmp_r64_rm64, Register::RCX, Register::RDX);
    assembler.jump(Code::Jae_rel32_64, Label::End);
    assembler.bind(Label::One);
    assembler.body(Width::One);
    assembler.put(Instruction::with2(Code::Add_rm64_imm8, Register::RCX, 1));
    assembler.op2_rr(Code::Cmp_r64_rm64, Register::RCX, Register::RDX);
    assembler.jump(Code::Jb_rel32_64, Label::One);
    assembler.bind(Label::End);
    assembler.epilogue();
    let instructions = assembler.instructions.into_iter().collect::<Result<Vec<_>, _>>();
    Assembled {
        instructions: instructions.expect("forms and operands that fit together"),
        pool,
        compute: kernel.compute,
    }
}

/// Bytes of a value of the compute type.
fn lane_bytes(compute: Type) -> usize {
    if compute == Type::F32 { 4 } else { 8 }
}

struct Assembler<'a> {
    kernel: &'a Kernel,
    allocated: &'a Allocated,
    /// The uniforms of the table, in its order.
    table: Vec<u32>,
    instructions: Vec<Result<Instruction, iced_x86::IcedError>>,
    /// Of the next instruction.
    label: Option<Label>,
}

impl Assembler<'_> {
    fn put(&mut self, instruction: Result<Instruction, iced_x86::IcedError>) {
        let label = self.label.take();
        self.instructions.push(instruction.map(|mut instruction| {
            if let Some(label) = label {
                instruction.set_ip(label.address());
            }
            instruction
        }));
    }

    fn op2_rr(&mut self, code: Code, a: Register, b: Register) {
        self.put(Instruction::with2(code, a, b));
    }

    fn jump(&mut self, code: Code, to: Label) {
        self.put(Instruction::with_branch(code, to.address()));
    }

    fn bind(&mut self, label: Label) {
        self.label = Some(label);
    }

    /// How many of the caller's registers are used.
    fn saved(&self) -> usize {
        self.kernel.streams.len().min(POINTERS.len()).saturating_sub(SCRATCH)
    }

    fn frame(&self) -> usize {
        (self.table.len() + self.allocated.spills as usize) * VECTOR
    }

    fn prologue(&mut self) {
        self.put(Instruction::with1(Code::Push_r64, Register::RBP));
        self.op2_rr(Code::Mov_r64_rm64, Register::RBP, Register::RSP);
        for register in &POINTERS[SCRATCH..SCRATCH + self.saved()] {
            self.put(Instruction::with1(Code::Push_r64, *register));
        }
        let mut frame = self.frame();
        if frame > 0 {
            // A page at a time, each touched, so that a large frame does not step over the guard page of the stack.
            while frame > 4096 {
                self.put(Instruction::with2(Code::Sub_rm64_imm32, Register::RSP, 4096));
                let top = MemoryOperand::with_base(Register::RSP);
                self.put(Instruction::with2(Code::Or_rm32_imm8, top, 0));
                frame -= 4096;
            }
            self.put(Instruction::with2(Code::Sub_rm64_imm32, Register::RSP, frame as i32));
            self.put(Instruction::with2(Code::And_rm64_imm8, Register::RSP, -(VECTOR as i32)));
        }
        let allocated = self.allocated;
        for slot in 0..self.table.len() {
            self.broadcast(0, self.table[slot]);
            let to = self.memory(Place::Uniform(self.table[slot]));
            self.put(Instruction::with2(Code::VEX_Vmovups_ymmm256_ymm, to, Register::YMM0));
        }
        for (src, register) in &allocated.kept {
            match src {
                Src::Uniform(index) => self.broadcast(*register, *index),
                Src::Const(index) => {
                    let from = self.memory(Place::Const(*index));
                    self.put(Instruction::with2(MOVE.ymm, vector(*register, Width::Vector), from));
                }
                Src::Reg(_) => unreachable!("only what is the same in every round is kept"),
            }
        }
        for (stream, register) in POINTERS.iter().enumerate().take(self.direct()) {
            let from = MemoryOperand::with_base_displ(Register::RDI, 8 * stream as i64);
            self.put(Instruction::with2(Code::Mov_r64_rm64, *register, from));
        }
    }

    /// How many streams have a register of their own: all, or all but the one that the others share.
    fn direct(&self) -> usize {
        let streams = self.kernel.streams.len();
        if streams > POINTERS.len() { POINTERS.len() - 1 } else { streams }
    }

    fn broadcast(&mut self, register: u8, uniform: u32) {
        let size = lane_bytes(self.kernel.compute);
        let code = if size == 4 { Code::VEX_Vbroadcastss_ymm_m32 } else { Code::VEX_Vbroadcastsd_ymm_m64 };
        let from = MemoryOperand::with_base_displ(Register::RSI, (size * uniform as usize) as i64);
        self.put(Instruction::with2(code, vector(register, Width::Vector), from));
    }

    fn epilogue(&mut self) {
        // Code of 128 bits without VEX would else wait for the upper halves.
        self.put(Ok(Instruction::with(Code::VEX_Vzeroupper)));
        let saved = self.saved();
        if self.frame() > 0 {
            let to = MemoryOperand::with_base_displ(Register::RBP, -8 * saved as i64);
            self.put(Instruction::with2(Code::Lea_r64_m, Register::RSP, to));
        }
        for register in POINTERS[SCRATCH..SCRATCH + saved].iter().rev() {
            self.put(Instruction::with1(Code::Pop_r64, *register));
        }
        self.put(Instruction::with1(Code::Pop_r64, Register::RBP));
        self.put(Ok(Instruction::with(Code::Retnq)));
    }

    /// Where in memory an operand lies that is in no register.
    fn memory(&self, place: Place) -> MemoryOperand {
        let slot = |index: usize| MemoryOperand::with_base_displ(Register::RSP, (index * VECTOR) as i64);
        match place {
            Place::Register(_) => unreachable!("it is in a register"),
            // The pool begins at address 0 of what is laid out.
            Place::Const(index) => MemoryOperand::with_base_displ(Register::RIP, (index as usize * VECTOR) as i64),
            Place::Uniform(index) => {
                slot(self.table.iter().position(|known| *known == index).expect("the table has all that are read"))
            }
            Place::Spill(index) => slot(self.table.len() + index as usize),
        }
    }

    fn body(&mut self, width: Width) {
        let allocated = self.allocated;
        for placed in &allocated.body {
            match *placed {
                Placed::Load { stream, to, spare } => self.load(width, stream, to, spare.unwrap_or(to)),
                Placed::Store { stream, from, spare } => self.store(width, stream, from, spare.unwrap_or(from)),
                Placed::Spill { slot, from } => {
                    let to = self.memory(Place::Spill(slot));
                    let code = Code::VEX_Vmovups_ymmm256_ymm;
                    self.put(Instruction::with2(code, to, vector(from, Width::Vector)));
                }
                Placed::Op { form, operands, count, immediate } => {
                    let code = if width == Width::Vector { form.ymm } else { form.xmm };
                    let instruction = self.instruction(code, (width, form.half), &operands[..count], immediate);
                    self.put(instruction);
                }
            }
        }
    }

    fn instruction(
        &self,
        code: Code,
        (width, half): (Width, Half),
        operands: &[Place],
        immediate: Option<u8>,
    ) -> Result<Instruction, iced_x86::IcedError> {
        let mut instruction = Instruction::new();
        instruction.set_code(code);
        for (index, operand) in operands.iter().enumerate() {
            let index = index as u32;
            match *operand {
                Place::Register(register) => {
                    let is_half = matches!((half, index), (Half::To, 0) | (Half::From, 1));
                    let width = if is_half { Width::One } else { width };
                    instruction.try_set_op_kind(index, OpKind::Register)?;
                    instruction.try_set_op_register(index, vector(register, width))?;
                }
                place => {
                    let memory = self.memory(place);
                    instruction.try_set_op_kind(index, OpKind::Memory)?;
                    instruction.set_memory_base(memory.base);
                    instruction.set_memory_displacement64(memory.displacement as u64);
                    instruction.set_memory_displ_size(if memory.base == Register::RIP { 8 } else { 1 });
                }
            }
        }
        if let Some(immediate) = immediate {
            instruction.try_set_op_kind(operands.len() as u32, OpKind::Immediate8)?;
            instruction.set_immediate8(immediate);
        }
        Ok(instruction)
    }

    /// The element at the index, of a stream: so many bytes further on.
    fn element(&mut self, stream: u32, ahead: usize) -> MemoryOperand {
        let stream = stream as usize;
        let base = if stream < self.direct() {
            POINTERS[stream]
        } else {
            let from = MemoryOperand::with_base_displ(Register::RDI, 8 * stream as i64);
            self.put(Instruction::with2(Code::Mov_r64_rm64, Register::R15, from));
            Register::R15
        };
        let scale = self.kernel.streams[stream].storage.bytes() as u32;
        MemoryOperand::with_base_index_scale_displ_size(base, Register::RCX, scale, ahead as i64, u32::from(ahead > 0))
    }

    fn load(&mut self, width: Width, stream: u32, to: u8, spare: u8) {
        let storage = self.kernel.streams[stream as usize].storage;
        let (is_double, from) = (self.is_double(), self.element(stream, 0));
        let (ymm, xmm) = (vector(to, Width::Vector), vector(to, Width::One));
        let own = vector(to, width);
        let mut put = |code, a: Register, b: MemoryOperand| self.put(Instruction::with2(code, a, b));
        match (storage, width) {
            (Storage::F32, Width::One) => put(Code::VEX_Vmovss_xmm_m32, xmm, from),
            (Storage::F64, Width::One) => put(Code::VEX_Vmovsd_xmm_m64, xmm, from),
            (Storage::Bf16 | Storage::F16, Width::One) => {
                self.put(Instruction::with3(Code::VEX_Vpxor_xmm_xmm_xmmm128, xmm, xmm, xmm));
                self.put(Instruction::with4(Code::VEX_Vpinsrw_xmm_xmm_r32m16_imm8, xmm, xmm, from, 0));
            }
            (Storage::F32, Width::Vector) if is_double => put(Code::VEX_Vcvtps2pd_ymm_xmmm128, ymm, from),
            (Storage::F32, Width::Vector) => put(Code::VEX_Vmovups_ymm_ymmm256, ymm, from),
            (Storage::F64, Width::Vector) if is_double => put(Code::VEX_Vmovupd_ymm_ymmm256, ymm, from),
            (Storage::F64, Width::Vector) => {
                put(Code::VEX_Vcvtpd2ps_xmm_ymmm256, xmm, from);
                let (high, spare) = (self.element(stream, VECTOR), vector(spare, Width::One));
                self.put(Instruction::with2(Code::VEX_Vcvtpd2ps_xmm_ymmm256, spare, high));
                self.put(Instruction::with4(Code::VEX_Vinsertf128_ymm_ymm_xmmm128_imm8, ymm, ymm, spare, 1));
            }
            (Storage::Bf16, Width::Vector) if is_double => put(Code::VEX_Vpmovzxwd_xmm_xmmm64, xmm, from),
            (Storage::Bf16, Width::Vector) => put(Code::VEX_Vpmovzxwd_ymm_xmmm128, ymm, from),
            (Storage::F16, Width::Vector) if is_double => put(Code::VEX_Vcvtph2ps_xmm_xmmm64, xmm, from),
            (Storage::F16, Width::Vector) => put(Code::VEX_Vcvtph2ps_ymm_xmmm128, ymm, from),
        }
        // What is left to do in the register: the upper half of an f32, and the other width.
        if storage == Storage::Bf16 {
            let is_wide = width == Width::Vector && !is_double;
            let (code, register) =
                if is_wide { (Code::VEX_Vpslld_ymm_ymm_imm8, ymm) } else { (Code::VEX_Vpslld_xmm_xmm_imm8, xmm) };
            self.put(Instruction::with3(code, register, register, 16));
        }
        if storage == Storage::F16 && width == Width::One {
            self.op2_rr(Code::VEX_Vcvtph2ps_xmm_xmmm64, xmm, xmm);
        }
        match (storage, width) {
            (Storage::F64, Width::One) if !is_double => self.op2_rr(Code::VEX_Vcvtpd2ps_xmm_xmmm128, xmm, xmm),
            (Storage::F32, Width::One) if is_double => self.op2_rr(Code::VEX_Vcvtps2pd_xmm_xmmm64, xmm, xmm),
            (Storage::Bf16 | Storage::F16, _) if is_double => {
                let one = Code::VEX_Vcvtps2pd_xmm_xmmm64;
                let code = if width == Width::One { one } else { Code::VEX_Vcvtps2pd_ymm_xmmm128 };
                self.op2_rr(code, own, xmm);
            }
            _ => {}
        }
    }

    fn is_double(&self) -> bool {
        self.kernel.compute == Type::F64
    }

    fn store(&mut self, width: Width, stream: u32, from: u8, spare: u8) {
        let storage = self.kernel.streams[stream as usize].storage;
        let is_double = self.is_double();
        let to = self.element(stream, 0);
        let (ymm, xmm) = (vector(from, Width::Vector), vector(from, Width::One));
        let (spare_ymm, spare_xmm) = (vector(spare, Width::Vector), vector(spare, Width::One));
        let mut put = |code, a: MemoryOperand, b: Register| self.put(Instruction::with2(code, a, b));
        match (storage, width) {
            (Storage::F32, Width::Vector) if !is_double => return put(Code::VEX_Vmovups_ymmm256_ymm, to, ymm),
            (Storage::F32, Width::One) if !is_double => return put(Code::VEX_Vmovss_m32_xmm, to, xmm),
            (Storage::F64, Width::Vector) if is_double => return put(Code::VEX_Vmovupd_ymmm256_ymm, to, ymm),
            (Storage::F64, Width::One) if is_double => return put(Code::VEX_Vmovsd_m64_xmm, to, xmm),
            (Storage::F64, Width::Vector) => {
                let (high, widen) = (self.element(stream, VECTOR), Code::VEX_Vcvtps2pd_ymm_xmmm128);
                self.op2_rr(widen, spare_ymm, xmm);
                self.put(Instruction::with2(Code::VEX_Vmovupd_ymmm256_ymm, to, spare_ymm));
                self.put(Instruction::with3(Code::VEX_Vextractf128_xmmm128_ymm_imm8, spare_xmm, ymm, 1));
                self.op2_rr(widen, spare_ymm, spare_xmm);
                return self.put(Instruction::with2(Code::VEX_Vmovupd_ymmm256_ymm, high, spare_ymm));
            }
            (Storage::F64, Width::One) => {
                self.op2_rr(Code::VEX_Vcvtps2pd_xmm_xmmm64, spare_xmm, xmm);
                return self.put(Instruction::with2(Code::VEX_Vmovsd_m64_xmm, to, spare_xmm));
            }
            _ => {}
        }
        // What is narrower is made an f32 first.
        let mut narrow = from;
        if is_double {
            let wide = Code::VEX_Vcvtpd2ps_xmm_ymmm256;
            let code = if width == Width::Vector { wide } else { Code::VEX_Vcvtpd2ps_xmm_xmmm128 };
            self.op2_rr(code, spare_xmm, vector(from, width));
            narrow = spare;
        }
        let is_wide = width == Width::Vector && !is_double;
        let (narrow_ymm, narrow_xmm) = (vector(narrow, Width::Vector), vector(narrow, Width::One));
        match storage {
            Storage::F32 | Storage::F64 => {}
            Storage::Bf16 => {
                if is_double {
                    self.put(Instruction::with3(Code::VEX_Vpsrld_xmm_xmm_imm8, spare_xmm, spare_xmm, 16));
                }
                match width {
                    Width::Vector if is_wide => {
                        let pack = Code::VEX_Vpackusdw_ymm_ymm_ymmm256;
                        self.put(Instruction::with3(pack, spare_ymm, narrow_ymm, narrow_ymm));
                        // Each half of the vector was packed by itself.
                        self.put(Instruction::with3(Code::VEX_Vpermq_ymm_ymmm256_imm8, spare_ymm, spare_ymm, 0b1000));
                    }
                    Width::Vector => {
                        let pack = Code::VEX_Vpackusdw_xmm_xmm_xmmm128;
                        self.put(Instruction::with3(pack, spare_xmm, narrow_xmm, narrow_xmm));
                    }
                    Width::One if narrow == spare => {}
                    Width::One => self.op2_rr(Code::VEX_Vmovups_xmm_xmmm128, spare_xmm, narrow_xmm),
                }
            }
            Storage::F16 if is_wide => {
                self.put(Instruction::with3(Code::VEX_Vcvtps2ph_xmmm128_ymm_imm8, spare_xmm, narrow_ymm, 0));
            }
            Storage::F16 => {
                self.put(Instruction::with3(Code::VEX_Vcvtps2ph_xmmm64_xmm_imm8, spare_xmm, narrow_xmm, 0));
            }
        }
        match (storage, width) {
            (Storage::F32, Width::Vector) => {
                self.put(Instruction::with2(Code::VEX_Vmovups_xmmm128_xmm, to, spare_xmm));
            }
            (_, Width::Vector) if is_wide => {
                self.put(Instruction::with2(Code::VEX_Vmovups_xmmm128_xmm, to, spare_xmm));
            }
            (_, Width::Vector) => self.put(Instruction::with2(Code::VEX_Vmovq_xmmm64_xmm, to, spare_xmm)),
            (Storage::F32, Width::One) => self.put(Instruction::with2(Code::VEX_Vmovss_m32_xmm, to, spare_xmm)),
            (_, Width::One) => {
                self.put(Instruction::with3(Code::VEX_Vpextrw_r32m16_xmm_imm8, to, spare_xmm, 0));
            }
        }
    }
}

/// The name of a vector register in instructions of that width.
fn vector(register: u8, width: Width) -> Register {
    let first = if width == Width::Vector { Register::YMM0 } else { Register::XMM0 };
    first + u32::from(register)
}

impl Assembled {
    /// The bytes, and which of them the function begins with.
    pub(super) fn bytes(&self) -> Result<(Vec<u8>, usize), CodegenError> {
        let mut bytes = Vec::new();
        for lane in &self.pool {
            for _ in 0..VECTOR / lane_bytes(self.compute) {
                bytes.extend_from_slice(&lane.to_le_bytes()[..lane_bytes(self.compute)]);
            }
        }
        let entry = bytes.len();
        let block = InstructionBlock::new(&self.instructions, entry as u64);
        let code = BlockEncoder::encode(64, block, BlockEncoderOptions::NONE)
            .map_err(|error| CodegenError::Failed(error.to_string()))?;
        bytes.extend(code.code_buffer);
        Ok((bytes, entry))
    }

    /// The instructions as text, with the constants behind them.
    pub(super) fn text(&self) -> String {
        let mut formatter = NasmFormatter::with_options(Some(Box::new(Symbols)), None);
        let options = formatter.options_mut();
        options.set_first_operand_char_index(16);
        options.set_space_after_operand_separator(true);
        options.set_show_branch_size(false);
        options.set_hex_prefix("0x");
        options.set_hex_suffix("");
        let mut text = String::new();
        for instruction in &self.instructions {
            if let Some(label) = Label::of(instruction.ip()) {
                let _ = writeln!(text, "{}:", label.name());
            }
            text += "    ";
            formatter.format(instruction, &mut text);
            text.push('\n');
        }
        for (index, lane) in self.pool.iter().enumerate() {
            let digits = 2 * lane_bytes(self.compute);
            let value = match self.compute {
                Type::F32 => format!("{:?}", f32::from_bits(*lane as u32)),
                _ => format!("{:?}", f64::from_bits(*lane)),
            };
            let _ = writeln!(text, "c{index}: 0x{lane:0digits$x} in every lane ; {value}");
        }
        text
    }
}

/// Names for addresses: labels and constants.
struct Symbols;

impl SymbolResolver for Symbols {
    fn symbol(
        &mut self,
        instruction: &Instruction,
        _: u32,
        _: Option<u32>,
        address: u64,
        _: u32,
    ) -> Option<SymbolResult<'_>> {
        let constant = || instruction.is_ip_rel_memory_operand().then(|| format!("c{}", address / VECTOR as u64));
        match Label::of(address) {
            Some(label) => Some(SymbolResult::with_str(address, label.name())),
            None => constant().map(|name| SymbolResult::with_string(address, name)),
        }
    }
}
