//! Rules that draw or that average what they walk through: sgld, schedule_free_sgd and schedule_free_adamw.

#![allow(clippy::needless_range_loop, reason = "a formula over several arrays reads best by index")]

use super::model::{Model, Tensor};
use super::{Real, power};

pub fn sgld<T: Real>(model: &mut Model<T>) {
    let [lr, weight_decay, temperature] = model.hypers(["lr", "weight_decay", "temperature"]);
    for tensor in &mut model.tensors {
        for i in 0..tensor.numel() {
            let mut g = tensor.g[i];
            if weight_decay != 0.0 {
                g = g + T::of(weight_decay) * tensor.p[i];
            }
            let p = tensor.p[i] - T::of(lr) * g;
            tensor.p[i] = p + T::of((2.0 * lr * temperature).sqrt()) * tensor.inputs["normal"][i];
        }
    }
}

/// The weight of a step in the average: (rate, share). The rate is `lr` times `factor`, after the warmup.
fn weigh<T: Real>(tensor: &mut Tensor<T>, [lr, factor, warmup_steps, r, power]: [f64; 5]) -> (f64, f64) {
    let t = tensor.t as f64;
    let warmup = if t <= warmup_steps { t / warmup_steps } else { 1.0 };
    let rate = lr * warmup * factor;
    let lr_max = tensor.scalar("lr_max", 0.0);
    *lr_max = Real::max(*lr_max, rate);
    let weight = libm::pow(t, r) * libm::pow(*lr_max, power);
    let sum = tensor.scalar("weight_sum", 0.0);
    *sum += weight;
    (rate, if *sum != 0.0 { weight / *sum } else { 0.0 })
}

/// Moves p towards z and both along g.
fn walk<T: Real>(tensor: &mut Tensor<T>, near: f64, (rate, share): (f64, f64)) {
    let mut z = tensor.take_from("z", &tensor.p.clone());
    for i in 0..tensor.numel() {
        let (p, g) = (tensor.p[i], tensor.g[i]);
        tensor.p[i] = p + T::of(share) * (z[i] - p) + T::of(rate * (near * (1.0 - share) - 1.0)) * g;
        z[i] = z[i] - T::of(rate) * g;
    }
    tensor.keep("z", z);
}

pub fn schedule_free_sgd<T: Real>(model: &mut Model<T>) {
    let [lr, momentum, weight_decay] = model.hypers(["lr", "momentum", "weight_decay"]);
    let [warmup_steps, r, weight_lr_power] = model.hypers(["warmup_steps", "r", "weight_lr_power"]);
    for tensor in &mut model.tensors {
        let weighed = weigh(tensor, [lr, 1.0, warmup_steps, r, weight_lr_power]);
        if weight_decay != 0.0 {
            for (g, p) in tensor.g.iter_mut().zip(&tensor.p) {
                *g = *g + T::of(weight_decay) * *p;
            }
        }
        walk(tensor, momentum, weighed);
    }
}

pub fn schedule_free_adamw<T: Real>(model: &mut Model<T>) {
    let [lr, beta1, beta2, eps, weight_decay] = model.hypers(["lr", "beta1", "beta2", "eps", "weight_decay"]);
    let [warmup_steps, r, weight_lr_power] = model.hypers(["warmup_steps", "r", "weight_lr_power"]);
    for tensor in &mut model.tensors {
        let factor = (1.0 - power(beta2, tensor.t)).sqrt();
        let weighed = weigh(tensor, [lr, factor, warmup_steps, r, weight_lr_power]);
        let mut v = tensor.take("v", 0.0);
        for i in 0..tensor.numel() {
            let g = tensor.g[i];
            v[i] = T::of(beta2) * v[i] + T::of(1.0 - beta2) * (g * g);
            tensor.g[i] = g / (v[i].sqrt() + T::of(eps));
            if weight_decay != 0.0 {
                tensor.g[i] = tensor.g[i] + T::of(weight_decay) * tensor.p[i];
            }
        }
        tensor.keep("v", v);
        walk(tensor, beta1, weighed);
    }
}
