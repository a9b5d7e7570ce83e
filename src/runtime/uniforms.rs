//! What scalar code gives to a sweep: its outputs, each rounded once to the compute type.

use crate::ir::region::Region;
use crate::ir::{Scalar, Storage, Type};

/// The uniforms of a sweep.
#[derive(Default)]
pub(super) struct UniformValues {
    pub(super) f32: Vec<f32>,
    pub(super) f64: Vec<f64>,
}

impl UniformValues {
    /// The first `count` outputs of `region`.
    pub(super) fn set(&mut self, storage: Storage, count: usize, region: &Region, registers: &[Scalar]) {
        self.f32.clear();
        self.f64.clear();
        for output in region.outputs.iter().take(count) {
            let Scalar::F64(x) = registers[output.index()] else { continue };
            match storage.compute() {
                Type::F32 => self.f32.push(x as f32),
                _ => self.f64.push(x),
            }
        }
    }
}
