//! The canonical text of a kernel.
//!
//! Comes in: any [`Kernel`], well-formed or not. Goes out: text that [`parse_kernel`](super::parse_kernel) turns back
//! into an equal kernel, whatever the bits of its constants and whatever its names. It looks like this:
//!
//! ```text
//! kernel sgd f32 {
//!   uniform lr
//!   stream p f32 rw
//!   stream g f32 r
//!
//!   %0 = load p
//!   %1 = load g
//!   %2 = uniform lr
//!   %3 = neg %2
//!   %4 = fma %3, %1, %0
//!   store p, %4
//! } # 12 bytes per element
//! ```
//!
//! A value is called by the index of its instruction; stores take an index too, so numbers may skip. The type of a
//! result is shown (`%3: bool = lt %1, %2`) where it is not the compute type. A stream or uniform is called by its name,
//! or by its index if it shares its name or the name needs quotes. A NaN is written by its bits.

use super::kernel::{Kernel, KernelInst};
use super::op::{Binary, Compare, Const, Math1, Op, Storage, Type, Unary, Value};
use super::verify::types;
use std::fmt::Write;

/// The text of `kernel`.
pub fn print_kernel(kernel: &Kernel) -> String {
    let types = types(kernel);
    let mut out = String::new();
    let _ = writeln!(out, "kernel {} {} {{", quote(&kernel.name), kernel.compute.name());
    for uniform in &kernel.uniforms {
        let _ = writeln!(out, "  uniform {}", quote(uniform));
    }
    for stream in &kernel.streams {
        let block = if stream.block { " block" } else { "" };
        let (storage, access) = (stream.storage.name(), stream.access.name());
        let _ = writeln!(out, "  stream {} {storage} {access}{block}", quote(&stream.name));
    }
    if !(kernel.body.is_empty() || kernel.uniforms.is_empty() && kernel.streams.is_empty()) {
        out.push('\n');
    }
    for index in 0..kernel.body.len() {
        let _ = writeln!(out, "  {}", print_inst(kernel, index, &types));
    }
    let _ = writeln!(out, "}} # {} bytes per element", kernel.bytes_per_element());
    out
}

/// The text of one instruction, given the [`types`] of its kernel.
pub(super) fn print_inst(kernel: &Kernel, index: usize, types: &[Option<Type>]) -> String {
    let what = match kernel.body[index] {
        KernelInst::Uniform(i) => format!("uniform {}", reference(i, kernel.uniforms.iter())),
        KernelInst::Load(i) => format!("load {}", reference(i, kernel.streams.iter().map(|s| &s.name))),
        KernelInst::Store(i, value) => {
            return format!("store {}, %{}", reference(i, kernel.streams.iter().map(|s| &s.name)), value.0);
        }
        KernelInst::Op(op) => print_op(op),
    };
    // The type of these two is not told by their operands, so they show it even in a kernel that does not verify.
    let ty = match kernel.body[index] {
        KernelInst::Op(Op::Const(c)) => Some(c.ty()),
        KernelInst::Op(Op::Bitcast(to, _)) => Some(to),
        _ => types[index],
    };
    match ty {
        Some(ty) if ty != kernel.compute => format!("%{index}: {} = {what}", ty.name()),
        _ => format!("%{index} = {what}"),
    }
}

/// The text of an operation: `fma %1, %2, %0`. The type of a constant or a bitcast is not in it.
pub fn print_op(op: Op) -> String {
    if let Op::Const(c) = op {
        return format!("const {}", print_const(c));
    }
    let mut out = op_name(op).to_string();
    let mut separator = " ";
    op.for_each_operand(|Value(v)| {
        let _ = write!(out, "{separator}%{v}");
        separator = ", ";
    });
    out
}

/// The text of a constant without its type: the shortest decimal that rounds to it, or the bits of a NaN.
pub fn print_const(c: Const) -> String {
    match c {
        Const::F32(bits) if f32::from_bits(bits).is_nan() => format!("{bits:#x}"),
        Const::F32(bits) => format!("{:?}", f32::from_bits(bits)),
        Const::F64(bits) if f64::from_bits(bits).is_nan() => format!("{bits:#x}"),
        Const::F64(bits) => format!("{:?}", f64::from_bits(bits)),
        Const::I32(x) => x.to_string(),
        Const::I64(x) => x.to_string(),
        Const::Bool(x) => x.to_string(),
    }
}

/// The name of an operation: `fma`.
pub fn op_name(op: Op) -> &'static str {
    match op {
        Op::Const(_) => "const",
        Op::Unary(op, _) => match op {
            Unary::Neg => "neg",
            Unary::Abs => "abs",
            Unary::Sqrt => "sqrt",
            Unary::Floor => "floor",
            Unary::Ceil => "ceil",
            Unary::Round => "round",
            Unary::Not => "not",
            Unary::Math(function) => match function {
                Math1::Exp => "exp",
                Math1::Log => "log",
                Math1::Tanh => "tanh",
                Math1::Sin => "sin",
                Math1::Cos => "cos",
                Math1::Cbrt => "cbrt",
                Math1::Sigmoid => "sigmoid",
            },
        },
        Op::Binary(op, _, _) => match op {
            Binary::Add => "add",
            Binary::Sub => "sub",
            Binary::Mul => "mul",
            Binary::Div => "div",
            Binary::Min => "min",
            Binary::Max => "max",
            Binary::Rem => "rem",
            Binary::Pow => "pow",
            Binary::And => "and",
            Binary::Or => "or",
            Binary::Xor => "xor",
            Binary::IAdd => "iadd",
            Binary::ISub => "isub",
            Binary::Shl => "shl",
            Binary::Shr => "shr",
            Binary::Sar => "sar",
        },
        Op::Fma(..) => "fma",
        Op::Compare(op, _, _) => match op {
            Compare::Eq => "eq",
            Compare::Ne => "ne",
            Compare::Lt => "lt",
            Compare::Le => "le",
            Compare::Gt => "gt",
            Compare::Ge => "ge",
        },
        Op::Select(..) => "select",
        Op::Bitcast(..) => "bitcast",
        Op::ToInt(_) => "to_int",
        Op::ToFloat(_) => "to_float",
        Op::Narrow(storage, _) => match storage {
            Storage::F32 => "narrow_f32",
            Storage::F64 => "narrow_f64",
            Storage::Bf16 => "narrow_bf16",
            Storage::F16 => "narrow_f16",
        },
    }
}

/// How a body calls the stream or uniform of index `i`: by name if that is a plain name that no other has.
fn reference<'n>(i: u32, names: impl Iterator<Item = &'n String> + Clone) -> String {
    match names.clone().nth(i as usize) {
        Some(name) if is_plain(name) && names.filter(|n| *n == name).count() == 1 => name.clone(),
        _ => i.to_string(),
    }
}

/// Whether a name needs no quotes: words of letters, digits and `_` that do not begin with a digit, joined by dots.
pub(super) fn is_plain(name: &str) -> bool {
    name.split('.').all(|word| {
        let mut chars = word.chars();
        chars.next().is_some_and(|c| c.is_alphabetic() || c == '_') && chars.all(|c| c.is_alphanumeric() || c == '_')
    })
}

/// A name as it is printed where it is declared.
fn quote(name: &str) -> String {
    if is_plain(name) {
        return name.to_string();
    }
    let mut out = String::from("\"");
    for c in name.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            // Whatever would break the line, or could not be told from a space.
            c if c.is_control() || (c.is_whitespace() && c != ' ') => {
                let _ = write!(out, "\\u{{{:x}}}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
