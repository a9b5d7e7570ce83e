//! Rules of Adam's kind that reduce, or that are made of parts: adamp, stable_adamw, mars_adamw, cautious_adamw,
//! clip_adamw and sophia.

use super::fragments::{adam_direction, cautious, clip_global_norm};
use super::model::Model;
use super::sums::{Per, dot, mean, norm, norm_per, products, sum_per};
use super::{Real, power};

pub fn adamp<T: Real>(model: &mut Model<T>) {
    let [lr, beta1, beta2, eps] = model.hypers(["lr", "beta1", "beta2", "eps"]);
    let [weight_decay, delta, wd_ratio, nesterov] = model.hypers(["weight_decay", "delta", "wd_ratio", "nesterov"]);
    for tensor in &mut model.tensors {
        let c1 = 1.0 - power(beta1, tensor.t);
        let c2 = 1.0 - power(beta2, tensor.t);
        let (mut m, mut v) = (tensor.take("m", 0.0), tensor.take("v", 0.0));
        let mut u = tensor.g.clone();
        for i in 0..tensor.numel() {
            let g = tensor.g[i];
            m[i] = T::of(beta1) * m[i] + T::of(1.0 - beta1) * g;
            v[i] = T::of(beta2) * v[i] + T::of(1.0 - beta2) * (g * g);
            u[i] = if nesterov != 0.0 { T::of(beta1) * m[i] + T::of(1.0 - beta1) * g } else { m[i] };
            u[i] = u[i] / (v[i].sqrt() / T::of(c2.sqrt()) + T::of(eps));
        }
        tensor.keep("m", m);
        tensor.keep("v", v);
        let mut decay = weight_decay;
        if tensor.rank() >= 2 {
            let (p, g, shape) = (&tensor.p, &tensor.g, &tensor.shape);
            let numel = tensor.numel() as f64;
            let size = numel / shape[0] as f64;
            let lengths = norm_per(Per::Unit, p, shape);
            let g_lengths = norm_per(Per::Unit, g, shape);
            let dots = sum_per(Per::Unit, &products(g, p), shape);
            let mut largest = f64::NEG_INFINITY;
            for k in 0..shape[0] {
                let below = g_lengths[k].max(T::of(eps)) * lengths[k].max(T::of(eps));
                largest = Real::max(largest, (dots[k].abs() / below).wide());
            }
            let length = norm(p);
            let cosine = dot(g, p).abs() / (Real::max(norm(g), eps) * Real::max(length, eps));
            if largest < delta / size.sqrt() {
                let dots = sum_per(Per::Unit, &products(p, &u), shape);
                for (i, u) in u.iter_mut().enumerate() {
                    let k = tensor.of(Per::Unit, i);
                    let length = lengths[k] + T::of(eps);
                    *u = *u - dots[k] / (length * length) * p[i];
                }
                decay *= wd_ratio;
            } else if cosine < delta / numel.sqrt() {
                let part = dot(p, &u) / ((length + eps) * (length + eps));
                for (u, p) in u.iter_mut().zip(p) {
                    *u = *u - T::of(part) * *p;
                }
                decay *= wd_ratio;
            }
        }
        for (p, u) in tensor.p.iter_mut().zip(&u) {
            *p = *p * T::of(1.0 - lr * decay);
            *p = *p - T::of(lr / c1) * *u;
        }
    }
}

pub fn stable_adamw<T: Real>(model: &mut Model<T>) {
    let [lr, beta1, beta2, eps, weight_decay] = model.hypers(["lr", "beta1", "beta2", "eps", "weight_decay"]);
    for tensor in &mut model.tensors {
        let b1 = beta1 * (1.0 - power(beta1, tensor.t - 1)) / (1.0 - power(beta1, tensor.t));
        let b2 = beta2 * (1.0 - power(beta2, tensor.t - 1)) / (1.0 - power(beta2, tensor.t));
        let (mut m, mut v) = (tensor.take("m", 0.0), tensor.take("v", 0.0));
        let mut lag = tensor.g.clone();
        for i in 0..tensor.numel() {
            let g = tensor.g[i];
            m[i] = m[i] + T::of(1.0 - b1) * (g - m[i]);
            v[i] = T::of(b2) * v[i] + T::of(1.0 - b2) * (g * g);
            lag[i] = g * g / v[i].max(T::of(eps * eps));
        }
        let rate = lr / Real::max(1.0, mean(&lag).sqrt());
        for i in 0..tensor.numel() {
            let p = tensor.p[i] * T::of(1.0 - rate * weight_decay);
            tensor.p[i] = p - T::of(rate) * m[i] / (v[i].sqrt() + T::of(eps));
        }
        tensor.keep("m", m);
        tensor.keep("v", v);
    }
}

pub fn mars_adamw<T: Real>(model: &mut Model<T>) {
    let [lr, beta1, beta2, eps] = model.hypers(["lr", "beta1", "beta2", "eps"]);
    let [weight_decay, gamma] = model.hypers(["weight_decay", "gamma"]);
    for tensor in &mut model.tensors {
        let given = tensor.g.clone();
        let last = tensor.take("last", 0.0);
        for (g, last) in tensor.g.iter_mut().zip(&last) {
            *g = *g + T::of(gamma * (beta1 / (1.0 - beta1))) * (*g - *last);
        }
        let length = Real::max(1.0, norm(&tensor.g));
        for g in &mut tensor.g {
            *g = *g / T::of(length);
        }
        adam_direction(tensor, ["adam.m", "adam.v"], [beta1, beta2, eps]);
        for (p, g) in tensor.p.iter_mut().zip(&tensor.g) {
            *p = *p - T::of(lr) * (*g + T::of(weight_decay) * *p);
        }
        tensor.keep("last", given);
    }
}

pub fn cautious_adamw<T: Real>(model: &mut Model<T>) {
    let [lr, beta1, beta2, eps, weight_decay] = model.hypers(["lr", "beta1", "beta2", "eps", "weight_decay"]);
    for tensor in &mut model.tensors {
        let given = tensor.g.clone();
        adam_direction(tensor, ["adam.m", "adam.v"], [beta1, beta2, eps]);
        cautious(tensor, &given);
        for (p, g) in tensor.p.iter_mut().zip(&tensor.g) {
            *p = *p * T::of(1.0 - lr * weight_decay);
            *p = *p - T::of(lr) * *g;
        }
    }
}

pub fn clip_adamw<T: Real>(model: &mut Model<T>) {
    let [lr, beta1, beta2, eps] = model.hypers(["lr", "beta1", "beta2", "eps"]);
    let [weight_decay, max_norm, maximize] = model.hypers(["weight_decay", "max_norm", "maximize"]);
    clip_global_norm(model, max_norm);
    for tensor in &mut model.tensors {
        let c1 = 1.0 - power(beta1, tensor.t);
        let c2 = 1.0 - power(beta2, tensor.t);
        let (mut m, mut v) = (tensor.take("adamw.m", 0.0), tensor.take("adamw.v", 0.0));
        for i in 0..tensor.numel() {
            let g = if maximize != 0.0 { -tensor.g[i] } else { tensor.g[i] };
            let p = tensor.p[i] * T::of(1.0 - lr * weight_decay);
            m[i] = T::of(beta1) * m[i] + T::of(1.0 - beta1) * g;
            v[i] = T::of(beta2) * v[i] + T::of(1.0 - beta2) * (g * g);
            let m_hat = m[i] / T::of(c1);
            let v_hat = v[i] / T::of(c2);
            tensor.p[i] = p - T::of(lr) * m_hat / (v_hat.sqrt() + T::of(eps));
        }
        tensor.keep("adamw.m", m);
        tensor.keep("adamw.v", v);
    }
}

pub fn sophia<T: Real>(model: &mut Model<T>) {
    let [lr, beta1, beta2, gamma] = model.hypers(["lr", "beta1", "beta2", "gamma"]);
    let [eps, weight_decay, every] = model.hypers(["eps", "weight_decay", "every"]);
    for tensor in &mut model.tensors {
        let (mut m, mut h) = (tensor.take("m", 0.0), tensor.take("h", 0.0));
        for i in 0..tensor.numel() {
            if (tensor.t - 1) % every as u64 == 0 {
                h[i] = T::of(beta2) * h[i] + T::of(1.0 - beta2) * tensor.inputs["hessian"][i];
            }
            m[i] = T::of(beta1) * m[i] + T::of(1.0 - beta1) * tensor.g[i];
            let u = m[i] / (T::of(gamma) * h[i]).max(T::of(eps));
            let p = tensor.p[i] * T::of(1.0 - lr * weight_decay);
            tensor.p[i] = p - T::of(lr) * u.clamp(T::of(-1.0), T::of(1.0));
        }
        tensor.keep("m", m);
        tensor.keep("h", h);
    }
}
