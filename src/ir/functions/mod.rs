//! Functions of elements that no instruction computes, as operations of the IR.
//!
//! Comes in: a value of a compute type, f32 or f64, and where to append operations. Goes out: the value of the
//! function.
//!
//! What is guaranteed: every engine gives the same bits, for they are the bits of these [`Op`](super::op::Op)s. There
//! is no branch, call or table in them, and only operations that kernels have. The error is below 1 unit in the last
//! place in f32 and below 2 in f64, subnormal operands and results included; the tests say which operands were tried.
//! NaN, infinities and signed zeros are as C has them.
//!
//! What it does not do: it is not rounded correctly in all cases, and not equal to the `libm` of scalar code. It does
//! not look for operations that it has appended before; a later pass shares them.
//!
//! A number that needs more precision than its type has is a `Pair`: an unevaluated sum of two, the second of which is
//! in the order of the rounding error of the first. Polynomials are in the powers from 0 up; they interpolate the
//! function at the Chebyshev nodes of the interval that is named, which is near to the best.

mod code;
mod exponential;
#[cfg(test)]
mod tests;
mod trigonometric;

pub(super) use exponential::{cbrt, exp, log, pow, sigmoid, tanh};
pub(super) use trigonometric::{cos, cos_turns, sin};
