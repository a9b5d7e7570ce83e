//! The shipped fragments, and rules that are nothing but one of them and a step along the gradient.

use super::model::{Model, Tensor};
use super::sums::{Per, mean, mean_per, norm, norm_model, norm_per};
use super::{Real, power};

/// Every rule here but those that say otherwise ends so.
const STEP: [&str; 1] = ["lr"];

fn descend<T: Real>(tensor: &mut Tensor<T>, lr: f64) {
    for (p, g) in tensor.p.iter_mut().zip(&tensor.g) {
        *p = *p - T::of(lr) * *g;
    }
}

fn scale<T: Real>(tensor: &mut Tensor<T>, factor: f64) {
    for g in &mut tensor.g {
        *g = *g * T::of(factor);
    }
}

/// Leaves Adam's direction in the gradient; the hypers are the betas and eps.
pub fn adam_direction<T: Real>(tensor: &mut Tensor<T>, states: [&'static str; 2], [beta1, beta2, eps]: [f64; 3]) {
    let c1 = 1.0 - power(beta1, tensor.t);
    let c2 = 1.0 - power(beta2, tensor.t);
    let (mut m, mut v) = (tensor.take(states[0], 0.0), tensor.take(states[1], 0.0));
    for i in 0..tensor.numel() {
        let g = tensor.g[i];
        m[i] = T::of(beta1) * m[i] + T::of(1.0 - beta1) * g;
        v[i] = T::of(beta2) * v[i] + T::of(1.0 - beta2) * (g * g);
        tensor.g[i] = m[i] / T::of(c1) / ((v[i] / T::of(c2)).sqrt() + T::of(eps));
    }
    tensor.keep(states[0], m);
    tensor.keep(states[1], v);
}

/// Keeps of the update in `tensor.g` what agrees with the gradient that was given.
pub fn cautious<T: Real>(tensor: &mut Tensor<T>, given: &[T]) {
    let agrees: Vec<bool> = tensor.g.iter().zip(given).map(|(u, g)| *u * *g > T::of(0.0)).collect();
    let ones: Vec<T> = agrees.iter().map(|agrees| T::of(f64::from(u8::from(*agrees)))).collect();
    let share = Real::max(mean(&ones), 1e-3);
    for (g, agrees) in tensor.g.iter_mut().zip(agrees) {
        *g = if agrees { *g / T::of(share) } else { T::of(0.0) };
    }
}

pub fn clip_global_norm<T: Real>(model: &mut Model<T>, max_norm: f64) {
    let norm = norm_model(&model.each(|tensor| tensor.g.clone()));
    for tensor in &mut model.tensors {
        scale(tensor, Real::min(1.0, max_norm / (norm + 1e-6)));
    }
}

pub fn clip_value_sgd<T: Real>(model: &mut Model<T>) {
    let [lr] = model.hypers(STEP);
    let [most] = model.hypers(["clip_value"]);
    for tensor in &mut model.tensors {
        for g in &mut tensor.g {
            *g = g.clamp(T::of(-most), T::of(most));
        }
        descend(tensor, lr);
    }
}

pub fn clip_norm_sgd<T: Real>(model: &mut Model<T>) {
    let [lr] = model.hypers(STEP);
    let [max_norm] = model.hypers(["max_norm"]);
    for tensor in &mut model.tensors {
        scale(tensor, Real::min(1.0, max_norm / (norm(&tensor.g) + 1e-6)));
        descend(tensor, lr);
    }
}

pub fn clip_global_norm_sgd<T: Real>(model: &mut Model<T>) {
    let [lr] = model.hypers(STEP);
    let [max_norm] = model.hypers(["max_norm"]);
    clip_global_norm(model, max_norm);
    for tensor in &mut model.tensors {
        descend(tensor, lr);
    }
}

pub fn adaptive_clip_sgd<T: Real>(model: &mut Model<T>) {
    let [lr] = model.hypers(STEP);
    let [clip_factor, eps] = model.hypers(["clip_factor", "eps"]);
    for tensor in &mut model.tensors {
        if tensor.rank() >= 2 {
            let lengths = norm_per(Per::Unit, &tensor.g, &tensor.shape);
            let p_lengths = norm_per(Per::Unit, &tensor.p, &tensor.shape);
            for i in 0..tensor.numel() {
                let k = tensor.of(Per::Unit, i);
                let most = T::of(clip_factor) * p_lengths[k].max(T::of(eps));
                let factor = if lengths[k] < most { T::of(1.0) } else { most / lengths[k].max(T::of(1e-6)) };
                tensor.g[i] = tensor.g[i] * factor;
            }
        } else {
            let most = clip_factor * Real::max(norm(&tensor.p), eps);
            let length = norm(&tensor.g);
            scale(tensor, if length < most { 1.0 } else { most / Real::max(length, 1e-6) });
        }
        descend(tensor, lr);
    }
}

pub fn decoupled_weight_decay_sgd<T: Real>(model: &mut Model<T>) {
    let [lr] = model.hypers(STEP);
    let [weight_decay] = model.hypers(["weight_decay"]);
    for tensor in &mut model.tensors {
        for p in &mut tensor.p {
            *p = *p * T::of(1.0 - lr * weight_decay);
        }
        descend(tensor, lr);
    }
}

pub fn cautious_momentum<T: Real>(model: &mut Model<T>) {
    let [lr, momentum] = model.hypers(["lr", "momentum"]);
    for tensor in &mut model.tensors {
        let given = tensor.g.clone();
        let mut m = tensor.take("m", 0.0);
        for (m, g) in m.iter_mut().zip(&given) {
            *m = T::of(momentum) * *m + *g;
        }
        tensor.g = m.clone();
        tensor.keep("m", m);
        cautious(tensor, &given);
        descend(tensor, lr);
    }
}

pub fn grokfast_sgd<T: Real>(model: &mut Model<T>) {
    let [lr] = model.hypers(STEP);
    let [alpha, lambd] = model.hypers(["alpha", "lambd"]);
    for tensor in &mut model.tensors {
        let mut slow = tensor.take("grokfast.slow", 0.0);
        for (g, slow) in tensor.g.iter_mut().zip(&mut slow) {
            *slow = if tensor.t == 1 { *g } else { T::of(alpha) * *slow + T::of(1.0 - alpha) * *g };
            *g = *g + T::of(lambd) * *slow;
        }
        tensor.keep("grokfast.slow", slow);
        descend(tensor, lr);
    }
}

pub fn centralize_sgd<T: Real>(model: &mut Model<T>) {
    let [lr] = model.hypers(STEP);
    for tensor in &mut model.tensors {
        if tensor.rank() >= 2 {
            let means = mean_per(Per::Unit, &tensor.g, &tensor.shape);
            for i in 0..tensor.numel() {
                tensor.g[i] = tensor.g[i] - means[tensor.of(Per::Unit, i)];
            }
        }
        descend(tensor, lr);
    }
}

pub fn ema_sgd<T: Real>(model: &mut Model<T>) {
    let [lr] = model.hypers(STEP);
    let [decay] = model.hypers(["decay"]);
    for tensor in &mut model.tensors {
        let mut average = tensor.take_from("ema.average", &tensor.p.clone());
        descend(tensor, lr);
        for (average, p) in average.iter_mut().zip(&tensor.p) {
            *average = T::of(decay) * *average + T::of(1.0 - decay) * *p;
        }
        tensor.keep("ema.average", average);
    }
}

/// Its `use` gives the fragment another name, and binds `every` to a hyper of the rule.
pub fn lookahead_sgd<T: Real>(model: &mut Model<T>) {
    let [lr] = model.hypers(STEP);
    let [k, alpha] = model.hypers(["k", "alpha"]);
    for tensor in &mut model.tensors {
        let mut slow = tensor.take_from("back.slow", &tensor.p.clone());
        descend(tensor, lr);
        if tensor.t % (2 * k as u64) == 0 {
            for (slow, p) in slow.iter_mut().zip(&mut tensor.p) {
                *slow = *slow + T::of(alpha) * (*p - *slow);
                *p = *slow;
            }
        }
        tensor.keep("back.slow", slow);
    }
}

pub fn noise_sgd<T: Real>(model: &mut Model<T>) {
    let [lr] = model.hypers(STEP);
    let [eta, gamma] = model.hypers(["eta", "gamma"]);
    for tensor in &mut model.tensors {
        let size = (eta / libm::pow(1.0 + tensor.t as f64, gamma)).sqrt();
        for (g, z) in tensor.g.iter_mut().zip(&tensor.inputs["normal"]) {
            *g = *g + T::of(size) * *z;
        }
        descend(tensor, lr);
    }
}
