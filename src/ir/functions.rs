//! placeholder
use super::op::{Op, Type, Value};
pub(super) fn log(_: &mut dyn FnMut(Op) -> Value, _: Type, x: Value) -> Value {
    x
}
pub(super) fn sin(_: &mut dyn FnMut(Op) -> Value, _: Type, x: Value) -> Value {
    x
}
pub(super) fn cos(_: &mut dyn FnMut(Op) -> Value, _: Type, x: Value) -> Value {
    x
}
