//! What a well-formed kernel is, and the types of its values.
//!
//! Comes in: any [`Kernel`]. Goes out: nothing, or the first instruction that is wrong and why. A kernel that passes
//! reads only values that earlier instructions define, gives every operation operands of its types, touches each stream
//! as the stream's access says, and never loads what it has already stored. Codegen and the evaluator rely on all of
//! it; the memory safety of generated code rests on the check of streams and uniforms.
//!
//! All values of a kernel have the width of its compute type (or are bools), so that one number of lanes serves them
//! all. No operation converts between widths; only loads and stores do.
//!
//! It does not ask whether the kernel is any good: unused values and streams that nothing touches pass.

use super::kernel::{Kernel, KernelInst};
use super::op::{Binary, Op, Type, Unary, Value};
use super::print::print_inst;
use std::fmt;

/// A kernel that is not well-formed.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifyError {
    /// The instruction, or `None` if the kernel's head is wrong.
    pub inst: Option<Value>,
    /// That instruction as printed.
    pub text: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What can be wrong with a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The compute type is not a float.
    Compute(Type),
    /// An operand that no earlier instruction defines.
    NotDefined(Value),
    /// An operand of another type than the operation wants.
    OperandType {
        /// The operand.
        operand: Value,
        /// Its type.
        found: Type,
        /// What is wanted, in words.
        wanted: &'static str,
    },
    /// A value of a width that is not the compute type's.
    Width(Type),
    /// An operation that only scalar code has.
    ScalarOnly,
    /// There is no uniform of that index.
    NoUniform(u32),
    /// There is no stream of that index.
    NoStream(u32),
    /// A load of a stream that is only written.
    NotReadable,
    /// A store to a stream that is only read.
    NotWritable,
    /// A second load of a stream.
    LoadedTwice,
    /// A second store to a stream.
    StoredTwice,
    /// A load of a stream after its store.
    LoadAfterStore,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Compute(ty) => write!(f, "a kernel computes in f32 or f64, not in {}", ty.name()),
            Problem::NotDefined(v) => write!(f, "%{} is not defined by an earlier instruction", v.0),
            Problem::OperandType { operand, found, wanted } => {
                write!(f, "%{} is {}, but {wanted} is wanted", operand.0, found.name())
            }
            Problem::Width(ty) => write!(f, "{} has not the width of the compute type", ty.name()),
            Problem::ScalarOnly => write!(f, "only scalar code has this operation"),
            Problem::NoUniform(i) => write!(f, "there is no uniform {i}"),
            Problem::NoStream(i) => write!(f, "there is no stream {i}"),
            Problem::NotReadable => write!(f, "this stream is only written"),
            Problem::NotWritable => write!(f, "this stream is only read"),
            Problem::LoadedTwice => write!(f, "this stream is loaded twice"),
            Problem::StoredTwice => write!(f, "this stream is stored twice"),
            Problem::LoadAfterStore => write!(f, "this stream is already stored"),
        }
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.inst {
            Some(v) => write!(f, "instruction {} (`{}`): {}", v.0, self.text, self.problem),
            None => write!(f, "{}", self.problem),
        }
    }
}

impl std::error::Error for VerifyError {}

/// Checks that `kernel` is well-formed.
pub fn verify_kernel(kernel: &Kernel) -> Result<(), VerifyError> {
    if !kernel.compute.is_float() {
        return Err(VerifyError { inst: None, text: String::new(), problem: Problem::Compute(kernel.compute) });
    }
    let types = types(kernel);
    let mut loaded = vec![false; kernel.streams.len()];
    let mut stored = vec![false; kernel.streams.len()];
    for (index, &inst) in kernel.body.iter().enumerate() {
        verify_inst(kernel, inst, &types[..index], &mut loaded, &mut stored).map_err(|problem| VerifyError {
            inst: Some(Value(index as u32)),
            text: print_inst(kernel, index, &types),
            problem,
        })?;
    }
    Ok(())
}

/// Checks one instruction, given the types of those before it.
fn verify_inst(
    kernel: &Kernel,
    inst: KernelInst,
    before: &[Option<Type>],
    loaded: &mut [bool],
    stored: &mut [bool],
) -> Result<(), Problem> {
    match inst {
        KernelInst::Uniform(i) if (i as usize) < kernel.uniforms.len() => Ok(()),
        KernelInst::Uniform(i) => Err(Problem::NoUniform(i)),
        KernelInst::Load(i) => {
            let stream = kernel.streams.get(i as usize).ok_or(Problem::NoStream(i))?;
            if !stream.access.reads() {
                return Err(Problem::NotReadable);
            }
            if stored[i as usize] {
                return Err(Problem::LoadAfterStore);
            }
            if std::mem::replace(&mut loaded[i as usize], true) {
                return Err(Problem::LoadedTwice);
            }
            Ok(())
        }
        KernelInst::Store(i, value) => {
            let stream = kernel.streams.get(i as usize).ok_or(Problem::NoStream(i))?;
            if !stream.access.writes() {
                return Err(Problem::NotWritable);
            }
            let wanted = kernel.compute;
            match type_of(value, before)? {
                found if found == wanted => {}
                found => return Err(Problem::OperandType { operand: value, found, wanted: wanted.name() }),
            }
            if std::mem::replace(&mut stored[i as usize], true) {
                return Err(Problem::StoredTwice);
            }
            Ok(())
        }
        KernelInst::Op(Op::Unary(Unary::Math(_), _) | Op::Binary(Binary::Rem | Binary::Pow, _, _)) => {
            Err(Problem::ScalarOnly)
        }
        KernelInst::Op(op) => {
            let ty = op_type(op, |v| type_of(v, before).ok())?;
            if ty == kernel.compute || ty == Type::Bool || Some(ty) == int_of(kernel.compute) {
                Ok(())
            } else {
                Err(Problem::Width(ty))
            }
        }
    }
}

/// The type of a value defined among the instructions `before`.
fn type_of(value: Value, before: &[Option<Type>]) -> Result<Type, Problem> {
    before.get(value.index()).copied().flatten().ok_or(Problem::NotDefined(value))
}

/// The type of each value of a kernel; `None` for stores. Of a kernel that is not well-formed, `None` as well where no
/// type can be told.
pub fn types(kernel: &Kernel) -> Vec<Option<Type>> {
    let mut types: Vec<Option<Type>> = Vec::with_capacity(kernel.body.len());
    for inst in &kernel.body {
        types.push(match *inst {
            KernelInst::Uniform(_) | KernelInst::Load(_) => Some(kernel.compute),
            KernelInst::Store(..) => None,
            KernelInst::Op(op) => op_type(op, |v| types.get(v.index()).copied().flatten()).ok(),
        });
    }
    types
}

/// The integer type of a float type's width.
pub fn int_of(float: Type) -> Option<Type> {
    match float {
        Type::F32 => Some(Type::I32),
        Type::F64 => Some(Type::I64),
        _ => None,
    }
}

/// The type of an operation's result, given the types of its operands (`None`: not defined). Serves every form of the
/// IR; the operations of scalar code alone are f64.
pub fn op_type(op: Op, operand: impl Fn(Value) -> Option<Type>) -> Result<Type, Problem> {
    let any = |v: Value| operand(v).ok_or(Problem::NotDefined(v));
    let kind = |v: Value, holds: fn(Type) -> bool, wanted: &'static str| match any(v)? {
        found if holds(found) => Ok(found),
        found => Err(Problem::OperandType { operand: v, found, wanted }),
    };
    let float = |v| kind(v, Type::is_float, "a float");
    let int = |v| kind(v, Type::is_int, "an integer");
    let exactly = |v: Value, ty: Type| match any(v)? {
        found if found == ty => Ok(ty),
        found => Err(Problem::OperandType { operand: v, found, wanted: ty.name() }),
    };
    match op {
        Op::Const(c) => Ok(c.ty()),
        Op::Unary(op, a) => match op {
            Unary::Neg | Unary::Abs | Unary::Sqrt | Unary::Floor | Unary::Ceil | Unary::Round => float(a),
            Unary::Not => exactly(a, Type::Bool),
            Unary::Math(_) => exactly(a, Type::F64),
        },
        Op::Binary(op, a, b) => {
            let ty = match op {
                Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Min | Binary::Max => float(a)?,
                Binary::Rem | Binary::Pow => exactly(a, Type::F64)?,
                Binary::And | Binary::Or => kind(a, |ty| !ty.is_float(), "a bool or an integer")?,
                Binary::Xor | Binary::IAdd | Binary::ISub | Binary::Shl | Binary::Shr | Binary::Sar => int(a)?,
            };
            exactly(b, ty)
        }
        Op::Fma(a, b, c) => {
            let ty = float(a)?;
            exactly(b, ty)?;
            exactly(c, ty)
        }
        Op::Compare(_, a, b) => {
            let ty = kind(a, |ty| ty != Type::Bool, "a number")?;
            exactly(b, ty)?;
            Ok(Type::Bool)
        }
        Op::Select(c, a, b) => {
            exactly(c, Type::Bool)?;
            let ty = any(a)?;
            exactly(b, ty)
        }
        Op::Bitcast(to, a) => {
            let from = match to {
                Type::F32 => Type::I32,
                Type::F64 => Type::I64,
                Type::I32 => Type::F32,
                Type::I64 => Type::F64,
                Type::Bool => kind(a, |_| false, "no bitcast to bool")?,
            };
            exactly(a, from)?;
            Ok(to)
        }
        Op::ToInt(a) => match float(a)? {
            Type::F32 => Ok(Type::I32),
            _ => Ok(Type::I64),
        },
        Op::ToFloat(a) => match int(a)? {
            Type::I32 => Ok(Type::F32),
            _ => Ok(Type::F64),
        },
        Op::Narrow(_, a) => float(a),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::parse_kernel;

    fn problem(body: &str) -> (u32, Problem) {
        let text = format!("kernel k f32 {{\nuniform u\nstream p f32 rw\nstream g f32 r\nstream o f32 w\n{body}\n}}\n");
        let error = verify_kernel(&parse_kernel(&text).unwrap()).unwrap_err();
        (error.inst.unwrap().0, error.problem)
    }

    #[test]
    fn each_problem_is_found_at_its_instruction() {
        let wrong = |operand, found, wanted| Problem::OperandType { operand: Value(operand), found, wanted };
        let cases = [
            ("%0 = neg %0", 0, Problem::NotDefined(Value(0))),
            ("%0 = neg %1\n%1 = load p", 0, Problem::NotDefined(Value(1))),
            ("%0 = load p\nstore p, %0\n%2 = neg %1", 2, Problem::NotDefined(Value(1))),
            ("%0 = load p\n%1 = not %0", 1, wrong(0, Type::F32, "bool")),
            ("%0 = load p\n%1 = xor %0, %0", 1, wrong(0, Type::F32, "an integer")),
            ("%0 = load p\n%1: i32 = to_int %0\n%2 = add %1, %0", 2, wrong(1, Type::I32, "a float")),
            ("%0 = load p\n%1: i32 = to_int %0\n%2 = fma %0, %0, %1", 2, wrong(1, Type::I32, "f32")),
            ("%0 = load p\n%1: bool = lt %0, %0\n%2: bool = eq %1, %1", 2, wrong(1, Type::Bool, "a number")),
            ("%0 = load p\n%1 = select %0, %0, %0", 1, wrong(0, Type::F32, "bool")),
            ("%0 = load p\n%1: i64 = bitcast %0", 1, wrong(0, Type::F32, "f64")),
            ("%0: f64 = const 1.0", 0, Problem::Width(Type::F64)),
            ("%0 = load p\n%1: i32 = to_int %0\nstore p, %1", 2, wrong(1, Type::I32, "f32")),
            ("%0 = load p\n%1 = exp %0", 1, Problem::ScalarOnly),
            ("%0 = load p\n%1 = pow %0, %0", 1, Problem::ScalarOnly),
            ("%0 = uniform 1", 0, Problem::NoUniform(1)),
            ("%0 = load 3", 0, Problem::NoStream(3)),
            ("%0 = load o", 0, Problem::NotReadable),
            ("%0 = load g\nstore g, %0", 1, Problem::NotWritable),
            ("%0 = load g\n%1 = load g", 1, Problem::LoadedTwice),
            ("%0 = load g\nstore o, %0\nstore o, %0", 2, Problem::StoredTwice),
            ("%0 = load g\nstore p, %0\n%2 = load p", 2, Problem::LoadAfterStore),
        ];
        for (body, inst, expected) in cases {
            assert_eq!(problem(body), (inst, expected), "{body}");
        }
    }

    #[test]
    fn only_floats_compute() {
        let kernel = parse_kernel("kernel k i32 {\n}\n").unwrap();
        assert_eq!(verify_kernel(&kernel).unwrap_err().problem, Problem::Compute(Type::I32));
    }
}
