//! Registers for straight-line code.
//!
//! Comes in: the instructions of a body, in order. Goes out: the same with each operand in one of the 16 vector registers or
//! in memory, where an instruction takes it from there. A constant or a uniform lies in memory; those that are read most
//! get the registers that the body leaves free, for the whole loop. Where more values live at once than there are registers,
//! the one that is read last is spilled (Belady), once: values never change.
//!
//! It does not reorder instructions.

use super::inst::{Do, Form, Inst, MOVE, Reg, Src};

/// The vector registers of AVX2.
pub(super) const REGISTERS: usize = 16;

/// Where an operand is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// In this register.
    Register(u8),
    /// A constant, in the pool.
    Const(u32),
    /// A uniform, in the table that the function begins by filling.
    Uniform(u32),
    /// A spilled value.
    Spill(u32),
}

/// An instruction whose registers are chosen.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Placed {
    /// Reads a stream; the second register may be overwritten.
    Load { stream: u32, to: u8, spare: Option<u8> },
    /// Writes a stream; the second register may be overwritten.
    Store { stream: u32, from: u8, spare: Option<u8> },
    /// A form with its operands, of which the first is written.
    Op { form: Form, operands: [Place; 4], count: usize, immediate: Option<u8> },
    /// A register is kept in a slot.
    Spill { slot: u32, from: u8 },
}

/// A body with its registers.
pub(super) struct Allocated {
    pub(super) body: Vec<Placed>,
    /// What has a register for the whole loop.
    pub(super) kept: Vec<(Src, u8)>,
    /// How many slots spilled values take.
    pub(super) spills: u32,
}

/// Chooses the registers of `insts`.
pub(super) fn allocate(insts: &[Inst]) -> Allocated {
    let first = Allocation::run(insts, &[]);
    let free = REGISTERS - first.most;
    let mut invariants: Vec<(Src, usize)> = Vec::new();
    for src in insts.iter().flat_map(Inst::from).copied().filter(|src| src.is_invariant()) {
        match invariants.iter_mut().find(|(known, _)| *known == src) {
            Some((_, count)) => *count += 1,
            None => invariants.push((src, 1)),
        }
    }
    // The sort is stable: of those read equally often the first are kept.
    invariants.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let kept: Vec<(Src, u8)> = invariants
        .iter()
        .zip((0..REGISTERS as u8).rev())
        .take(free)
        .map(|((src, _), register)| (*src, register))
        .collect();
    let Allocation { body, spills, .. } = Allocation::run(insts, &kept);
    Allocated { body, kept, spills }
}

/// Of each value: where it is, and the instructions that read it.
#[derive(Default)]
struct Value {
    register: Option<u8>,
    slot: Option<u32>,
    /// In reverse, so that the next is the last.
    reads: Vec<usize>,
}

struct Allocation<'a> {
    values: Vec<Value>,
    kept: &'a [(Src, u8)],
    /// What each register holds, if a value.
    holds: [Option<Reg>; REGISTERS],
    /// Whether each register must stay as it is until the instruction at hand is done.
    is_locked: [bool; REGISTERS],
    /// The most registers that were not free at a time.
    most: usize,
    spills: u32,
    body: Vec<Placed>,
}

impl Allocation<'_> {
    fn run<'a>(insts: &[Inst], kept: &'a [(Src, u8)]) -> Allocation<'a> {
        let registers = insts.iter().filter_map(|inst| inst.to).map(|Reg(r)| r as usize + 1).max().unwrap_or(0);
        let mut values: Vec<Value> = Vec::new();
        values.resize_with(registers, Value::default);
        for (at, inst) in insts.iter().enumerate().rev() {
            for src in inst.from() {
                if let Src::Reg(Reg(r)) = src
                    && values[*r as usize].reads.last() != Some(&at)
                {
                    values[*r as usize].reads.push(at);
                }
            }
        }
        let mut allocation = Allocation {
            values,
            kept,
            holds: [None; REGISTERS],
            is_locked: [false; REGISTERS],
            most: kept.len(),
            spills: 0,
            body: Vec::with_capacity(insts.len()),
        };
        for inst in insts {
            allocation.inst(inst);
        }
        allocation
    }

    fn inst(&mut self, inst: &Inst) {
        self.is_locked = [false; REGISTERS];
        for src in inst.from() {
            // Before anything is evicted for another operand.
            if let Place::Register(register) = self.place(*src) {
                self.is_locked[register as usize] = true;
            }
        }
        match inst.does {
            Do::Load { stream, spare } => {
                let to = self.take();
                let spare = spare.then(|| self.take());
                self.body.push(Placed::Load { stream, to, spare });
                self.define(inst, to);
            }
            Do::Store { stream, spare } => {
                let from = self.in_register(inst.from()[0]);
                let spare = spare.then(|| self.take());
                self.body.push(Placed::Store { stream, from, spare });
                self.free_read(inst);
            }
            Do::Op(form, immediate) => self.op(inst, form, immediate),
            Do::Fma(forms) => self.fma(inst, forms),
        }
    }

    fn op(&mut self, inst: &Inst, form: Form, immediate: Option<u8>) {
        let mut from = [Src::Const(0); 3];
        let count = inst.from().len();
        from[..count].copy_from_slice(inst.from());
        if form.commutes && self.register(from[0]).is_none() {
            from.swap(0, 1);
        }
        let mut operands = [Place::Register(0); 4];
        for (index, src) in from[..count].iter().enumerate() {
            let may_lie = form.memory == Some(index);
            operands[index + 1] = if may_lie { self.place(*src) } else { Place::Register(self.in_register(*src)) };
        }
        self.free_read(inst);
        let to = self.take();
        operands[0] = Place::Register(to);
        self.body.push(Placed::Op { form, operands, count: count + 1, immediate });
        self.define(inst, to);
    }

    /// The product's factors commute. The operand that is overwritten is one that nothing reads any more, if there is one
    /// in a register, else a copy of the summand.
    fn fma(&mut self, inst: &Inst, [form_132, form_213, form_231]: [Form; 3]) {
        let [mut a, mut b, c] = *inst.from() else { unreachable!("three operands") };
        let dies = |src: Src| match src {
            Src::Reg(Reg(r)) => {
                let value = &self.values[r as usize];
                value.register.is_some() && value.reads.len() == 1
            }
            _ => false,
        };
        let (a_dies, b_dies, c_dies) = (dies(a), dies(b), dies(c));
        if !c_dies && (a_dies || b_dies) {
            if !a_dies {
                std::mem::swap(&mut a, &mut b);
            }
            let (form, second, third) = match (self.register(b), self.register(c)) {
                (None, Some(_)) => (form_132, c, b),
                _ => (form_213, b, c),
            };
            let (to, second) = (self.in_register(a), self.in_register(second));
            let third = self.place(third);
            return self.fused(inst, form, to, second, third);
        }
        if self.register(a).is_none() {
            std::mem::swap(&mut a, &mut b);
        }
        let second = self.in_register(a);
        let third = self.place(b);
        let mut to = self.place(c);
        if !c_dies {
            let operands = [Place::Register(self.take()), to, Place::Register(0), Place::Register(0)];
            self.body.push(Placed::Op { form: MOVE, operands, count: 2, immediate: None });
            to = operands[0];
        }
        let Place::Register(to) = to else { unreachable!("what dies is in a register") };
        self.fused(inst, form_231, to, second, third);
    }

    fn fused(&mut self, inst: &Inst, form: Form, to: u8, second: u8, third: Place) {
        let operands = [Place::Register(to), Place::Register(second), third, Place::Register(0)];
        self.body.push(Placed::Op { form, operands, count: 3, immediate: None });
        self.free_read(inst);
        self.define(inst, to);
    }

    /// Where an operand is now.
    fn place(&self, src: Src) -> Place {
        match (self.register(src), src) {
            (Some(register), _) => Place::Register(register),
            (None, Src::Const(index)) => Place::Const(index),
            (None, Src::Uniform(index)) => Place::Uniform(index),
            (None, Src::Reg(Reg(r))) => {
                Place::Spill(self.values[r as usize].slot.expect("a value is in a register or spilled"))
            }
        }
    }

    /// The register that an operand is in, if any.
    fn register(&self, src: Src) -> Option<u8> {
        match src {
            Src::Reg(Reg(r)) => self.values[r as usize].register,
            _ => self.kept.iter().find(|(kept, _)| *kept == src).map(|(_, register)| *register),
        }
    }

    /// Sees to it that an operand is in a register, which stays as it is until the instruction is done.
    fn in_register(&mut self, src: Src) -> u8 {
        let place = self.place(src);
        if let Place::Register(register) = place {
            return register;
        }
        let to = self.take();
        let operands = [Place::Register(to), place, Place::Register(0), Place::Register(0)];
        self.body.push(Placed::Op { form: MOVE, operands, count: 2, immediate: None });
        if let Src::Reg(reg) = src {
            self.hold(reg, to);
        }
        to
    }

    /// A register for the instruction at hand.
    fn take(&mut self) -> u8 {
        let is_kept = |register: usize| self.kept.iter().any(|(_, kept)| *kept as usize == register);
        let mut free = (0..REGISTERS).filter(|r| self.holds[*r].is_none() && !self.is_locked[*r] && !is_kept(*r));
        let register = free.next().unwrap_or_else(|| self.evict());
        self.is_locked[register] = true;
        let used = (0..REGISTERS).filter(|r| self.holds[*r].is_some() || self.is_locked[*r] || is_kept(*r)).count();
        self.most = self.most.max(used);
        register as u8
    }

    /// Makes the register free whose value is read last.
    fn evict(&mut self) -> usize {
        let next = |register: usize| {
            let Reg(r) = self.holds[register]?;
            self.values[r as usize].reads.last().copied()
        };
        // An instruction locks at most five registers, and the kept ones leave as many as the body needs.
        let unlocked = (0..REGISTERS).filter(|r| self.holds[*r].is_some() && !self.is_locked[*r]);
        let register = unlocked.max_by_key(|r| next(*r)).expect("an instruction needs few registers");
        let reg = self.holds[register].take().expect("it holds a value");
        let value = &mut self.values[reg.0 as usize];
        value.register = None;
        if value.slot.is_none() {
            value.slot = Some(self.spills);
            self.body.push(Placed::Spill { slot: self.spills, from: register as u8 });
            self.spills += 1;
        }
        register
    }

    fn hold(&mut self, reg: Reg, register: u8) {
        self.holds[register as usize] = Some(reg);
        self.values[reg.0 as usize].register = Some(register);
    }

    /// The instruction's operands have been read: registers of those that nothing else reads are free, for its result too.
    fn free_read(&mut self, inst: &Inst) {
        for (index, src) in inst.from().iter().enumerate() {
            let Src::Reg(Reg(r)) = *src else { continue };
            if inst.from()[..index].contains(src) {
                continue;
            }
            let value = &mut self.values[r as usize];
            value.reads.pop();
            if value.reads.is_empty()
                && let Some(register) = value.register.take()
            {
                self.holds[register as usize] = None;
            }
        }
        self.is_locked = [false; REGISTERS];
    }

    /// The instruction's result is in this register, if anything reads it.
    fn define(&mut self, inst: &Inst, to: u8) {
        if let Some(reg) = inst.to
            && !self.values[reg.0 as usize].reads.is_empty()
        {
            self.hold(reg, to);
        }
    }
}
