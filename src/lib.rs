//! Updraft compiles optimizers written as short update-rule files into fused native kernels.
//!
//! ```text
//! optimizer momentum
//! hyper lr = 1e-3 in [0, inf)
//! hyper beta = 0.9 in [0, 1)
//! state m = 0
//!
//! m = beta*m + g
//! p -= lr * m
//! ```
//!
//! ```
//! use updraft::{Rule, Tensor};
//!
//! let rule = Rule::shipped("adam")?; // or Rule::load("my_rule.opt"), Rule::parse(name, text)
//! let mut opt = rule.optimizer().set("lr", 3e-4)?.build()?;
//! let (mut weights, gradient) = (vec![1.0f32; 1000], vec![0.5f32; 1000]);
//! opt.step(&mut [Tensor::new("weights", &mut weights, &gradient)])?;
//! assert!(weights.iter().all(|w| *w < 1.0));
//! # Ok::<(), updraft::Error>(())
//! ```
//!
//! Three promises, which every part below serves:
//!
//! 1. **One definition.** The same file is run by the evaluator, by one-lane code and by SIMD code, and all agree bit for
//!    bit. There is no second copy of the formula that can drift.
//! 2. **Fewest bytes.** A step is memory traffic: the planner looks for the fewest sweeps, and in each for the fewest arrays
//!    to read and write, and `updraft emit --stage plan` says how many bytes an element costs.
//! 3. **Milliseconds.** From an edited file to the running rule takes milliseconds, whatever the number of tensors.
//!
//! # The stages
//!
//! Each is a folder, a free function, and a text that `updraft emit` prints and snapshots freeze.
//!
//! ```text
//! text --parse--> Ast --check--> Program --lower--> Step --plan--> Plan { scalar code, sweeps of Kernels } --codegen--> Code
//!                                                    `-eval_step (oracle of plan)      `-eval_kernel (oracle of codegen)
//! ```
//!
//! - [`syntax::parse()`]: never fails; every error of a file is found in one run. No pest type leaves `syntax`.
//! - [`check::check()`]: **the only stage that rejects a rule.** Names become ids, extents are inferred, `def` and `use` are inlined.
//! - [`ir::lower()`]: **fixes every rounding**; later stages move, share and repeat operations, and never change one. A
//!   [`Step`](ir::Step) is made for [`Facts`]: outcomes of conditions, storage type, math; no sizes, no values of hypers.
//! - [`plan::plan()`]: cuts a step into scalar code and sweeps over memory. What a later sweep needs it reads again, computes
//!   again or finds in a temporary array, whichever moves the fewest bytes.
//! - [`codegen`]: machine code for a [`Kernel`](ir::Kernel). **The one folder that knows Cranelift**, and
//!   beside it the crate's own back end for AVX2.
//! - [`runtime`]: optimizers, groups, state, tensors, checkpoints. **Bad input is found before anything is changed.**
//! - [`schedule`]: hypers that change with the step: the same front end, scalar code only.
//!
#![cfg_attr(
    feature = "cli",
    doc = "- [`train`]: the built-in trainer. `cli` and `main.rs` are the command line, and **the only part that prints.**"
)]
//!
//! There is no global state, and **unsafe code in two files only**: `codegen/code.rs` (executable memory and its entry)
//! and `runtime/memory.rs` (tensors from raw pointers, the memory of states, and the floating-point mode).
//!
//! # What values are
//!
//! Every value has an *extent*, which says how many there are: one per `model`, per `group` of tensors, per `tensor` or per
//! `element`; of tensors with two axes or more also per `matrix` (one setting of all axes but the last two), `row` (of all
//! but the last), `col` (of all but the last but one) or `unit` (one index of the first axis). In short, `model < group <
//! tensor < matrix < row, col < element` and `tensor < unit < element`. A value may be used where a larger extent is
//! expected; the other way needs a reduction. Values of the first three extents are *scalars*: f64, computed by scalar
//! code. All others are arrays of the *compute type*: f32 for f32, bf16 and f16 parameters, f64 for f64 parameters.
//!
//! A condition of scalars that decides what happens to elements selects a *plan* before the first sweep: it never reaches
//! the loop, and states that only the other outcome touches do not exist. A condition that reads a reduction of the same
//! step cannot: it is *late*, and selects values, as a condition of larger extent than tensor does. Among scalars a
//! condition is plain scalar code.
//!
//! # How a step runs
//!
//! A step has *phases*. One ends where a reduction to model or group does, for all plans of a rule alike: all tensors
//! finish their part of it before the next begins. Within a phase each tensor goes through its sweeps, one after another,
//! so that a small tensor stays in cache between them. [`ir::Exchange`] is where the parts of sharded tensors meet.
//!
//! # Evaluation rules
//!
//! Tests hold every engine to these.
//!
//! 1. **Array semantics.** A statement is done for all elements, of all tensors, before the next begins. Fusion is not
//!    visible.
//! 2. **Scalars** are computed in f64 in the order written, by one evaluator in every engine (transcendental functions are
//!    the pinned `libm` crate's), and rounded once to the compute type where they meet an element. `1 - beta1^t` is a
//!    scalar. Scalar code that reads only hypers, flags, values per model or group, and `t` runs once for the tensors of
//!    a group that have taken equally many steps.
//! 3. **Elements.** Every operation on elements, rows and the like rounds once in the compute type. Functions without an
//!    instruction are polynomials in the IR, which every engine shares.
//! 4. **Storage.** The last assignment of a step to `p` or to a state rounds to its storage type, once, to nearest even;
//!    reads after it see what is stored, reads before it the value itself. The parameter's type is the tensor's; a state
//!    is stored as [`store`](OptimizerBuilder::store) says, else as the rule says (`state m as bf16`), else as the
//!    parameter. What is loaded widens exactly to the compute type. [`Store::Bf16Stochastic`] adds a random number
//!    below the last bit that stays, drawn as in rule 8 with a number after those of the rule, and cuts the rest off.
//!    [`Store::Bf16Kahan`] keeps `s`, the nearest bf16, and the bf16 nearest to what that leaves, 0 if it is not finite;
//!    the value read is their sum in f32. First values round to nearest.
//! 5. **[`Math::Strict`]** computes what is written. **[`Math::Fast`]** (the default) is applied once, in `lower`, to each
//!    source expression: the right side of an assignment or `let` (`x op= e` is `x = x op (e)`), a condition, an argument
//!    of a call, an arm of an `if`, the body of a `def`, the operand of a unary minus on an element value. Parentheses do
//!    not end one. Powers with a literal exponent and `lerp` are expanded first.
//!    - (a) In each tree of `*` and `/` over elements, the scalar factors (its largest scalar subexpressions) are gathered
//!      in f64 in the order written, beginning with the first one in a numerator (else 1); those in numerators multiply,
//!      those in denominators divide. The result is rounded once and multiplied last; the element factors keep their
//!      tree. `lr*(m/c1)/d` is `(m/d)*(lr/c1)`, `x/s` is `x*(1/s)`. If a numerator holds no element factor, the first such
//!      takes the whole factor: `lr/d*g` is `(lr/d)*g`.
//!    - (b) In `a + b` and `a - b` of elements (or of rows and the like) the right operand is contracted to fma if after
//!      (a) it is a multiplication of the sum's own extent, else the left if it is.
//!
//!    (a) may overflow or underflow where the written order does not. Nothing else changes: no reordered sums, no
//!    approximate roots or divisions, no NaN, infinity or signed zero dropped.
//! 6. **Powers.** `x^n` for a literal n up to 64 is left-to-right binary multiplication (`x^3` is `(x*x)*x`), 1 over that
//!    for a negative n; any other power is `pow`: of scalars libm's, of elements a polynomial in the IR.
//! 7. **Sums have one value**, whatever threads, vectors, shards and the order of tensors are. What is reduced into one
//!    result lies in a row (all targets but `col`): blocks of 1,024 from its start; in a block 16 lanes (index mod 16) from
//!    +0 in the compute type; the lanes pairwise in f64; block sums are added exactly (a fixed-point accumulator, with
//!    counts of NaN and infinities) and rounded to f64 once. Per `col`: f64 additions in the order of rows, by blocks of 64
//!    rows, whose sums are added exactly. Scalars of tensors are added exactly too. `norm(x)` is `sqrt(sum(x*x))`, `mean` the
//!    sum divided by how many there are, `rms` the root of the mean square, `dot(a, b)` is `sum(a*b)`, `count(c)` the sum of
//!    1 or 0, each product rounded in the compute type. A result per `matrix`, `row`, `col` or `unit` is rounded once more, to
//!    the compute type. Of nothing: sum 0, mean NaN, min inf, max -inf, any false, all true.
//! 8. **Random numbers** depend on the seed, the tensor's name, `t`, the element's index in the whole tensor and the number of
//!    the draw in the rule, and on nothing else: [`ir::random`].
//! 9. **NaN.** All NaNs are one value. `min` and `max` give NaN if either is, and -0 < +0 for them; comparisons with NaN are
//!    false, `!=` is true; `sign(x)` is 1, -1, else x; `round` ties to even; `clamp(x, low, high)` is `min(max(x, low),
//!    high)`; `rsqrt(x)` is `1/sqrt(x)`; `fma` is one rounding in both modes.
//! 10. **Memory.** A step never reads or writes outside of the slices that it is given, whatever the rule says.
//! 11. **Denormals** are numbers like all others, unless a host asks for [`Denormals::Flush`]: then machine code takes them
//!     for zeros, in any width and on any number of threads alike, and the evaluator does not.

#[cfg(feature = "cli")]
mod bench;
#[cfg(feature = "cli")]
mod chart;
pub mod check;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "jit")]
pub mod codegen;
pub mod diagnostic;
mod emit;
mod files;
pub mod ir;
pub mod library;
pub mod plan;
pub mod runtime;
pub mod schedule;
mod source;
pub mod syntax;
#[cfg(feature = "cli")]
pub mod train;

#[cfg(feature = "jit")]
pub use codegen::Codegen;
pub use diagnostic::{Code, CompileError, Diagnostic, Severity};
pub use emit::{EmitOptions, Stage, emit};
pub use ir::{Facts, Math, Outcome, Storage, Store, Stores};
pub use runtime::{
    Checkpoint, CheckpointEntry, CheckpointError, Denormals, Engine, Error, GroupBuilder, GroupMut, HyperInfo,
    HyperValue, Migration, Optimizer, OptimizerBuilder, Restore, Rule, SHIPPED, SHIPPED_FRAGMENTS, Selector,
    StateValues, Tensor, TensorId,
};
pub use schedule::{Advance, SHIPPED_SCHEDULES, Schedule, ScheduleRun};
pub use source::{SourceFile, Span};

/// The examples of the README are compiled and run with those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
