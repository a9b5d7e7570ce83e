//! Fragments that bound the gradient.

use super::Real;
use super::model::Model;
use super::sums::norm;

/// `clip_norm`, then a step along the gradient.
pub fn clip_norm_sgd<T: Real>(model: &mut Model<T>) {
    let [lr, max_norm] = model.hypers(["lr", "max_norm"]);
    for tensor in &mut model.tensors {
        let factor = Real::min(1.0, max_norm / (norm(&tensor.g) + 1e-6));
        for (p, g) in tensor.p.iter_mut().zip(&tensor.g) {
            *p = *p - T::of(lr) * (*g * T::of(factor));
        }
    }
}
