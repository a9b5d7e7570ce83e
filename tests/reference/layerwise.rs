//! Rules whose rate comes from norms: lars, lamb, novograd, fromage, adagrad_norm and adagrad_rowwise.

#![allow(clippy::needless_range_loop, reason = "a formula over several arrays reads best by index")]

use super::model::Model;
use super::sums::{Per, mean, mean_per, norm, squares, sum, sum_model};
use super::{Real, power};

pub fn lars<T: Real>(model: &mut Model<T>) {
    let [lr, momentum, trust_coefficient, eps] = model.hypers(["lr", "momentum", "trust_coefficient", "eps"]);
    let [weight_decay, nesterov] = model.hypers(["weight_decay", "nesterov"]);
    for tensor in &mut model.tensors {
        let (p_norm, g_norm) = (norm(&tensor.p), norm(&tensor.g));
        let ratio = trust_coefficient * p_norm / (g_norm + weight_decay * p_norm + eps);
        let ratio = if p_norm > 0.0 && g_norm > 0.0 { ratio } else { 1.0 };
        let mut m = tensor.take("m", 0.0);
        for i in 0..tensor.numel() {
            let mut g = tensor.g[i];
            if weight_decay != 0.0 {
                g = g + T::of(weight_decay) * tensor.p[i];
            }
            g = g * T::of(ratio);
            if momentum != 0.0 {
                m[i] = T::of(momentum) * m[i] + g;
                g = if nesterov != 0.0 { g + T::of(momentum) * m[i] } else { m[i] };
            }
            tensor.p[i] = tensor.p[i] - T::of(lr) * g;
        }
        if momentum != 0.0 {
            tensor.keep("m", m);
        }
    }
}

pub fn lamb<T: Real>(model: &mut Model<T>) {
    let [lr, beta1, beta2, eps, weight_decay] = model.hypers(["lr", "beta1", "beta2", "eps", "weight_decay"]);
    for tensor in &mut model.tensors {
        let c1 = 1.0 - power(beta1, tensor.t);
        let c2 = 1.0 - power(beta2, tensor.t);
        let (mut m, mut v) = (tensor.take("m", 0.0), tensor.take("v", 0.0));
        let mut u = tensor.g.clone();
        for i in 0..tensor.numel() {
            let g = tensor.g[i];
            m[i] = T::of(beta1) * m[i] + T::of(1.0 - beta1) * g;
            v[i] = T::of(beta2) * v[i] + T::of(1.0 - beta2) * (g * g);
            let root = (v[i] / T::of(c2)).sqrt() + T::of(eps);
            u[i] = m[i] / T::of(c1) / root + T::of(weight_decay) * tensor.p[i];
        }
        let (p_norm, u_norm) = (norm(&tensor.p), norm(&u));
        let ratio = if p_norm > 0.0 && u_norm > 0.0 { p_norm / u_norm } else { 1.0 };
        for (p, u) in tensor.p.iter_mut().zip(&u) {
            *p = *p - T::of(lr * ratio) * *u;
        }
        tensor.keep("m", m);
        tensor.keep("v", v);
    }
}

pub fn novograd<T: Real>(model: &mut Model<T>) {
    let [lr, beta1, beta2, eps] = model.hypers(["lr", "beta1", "beta2", "eps"]);
    let [weight_decay, grad_averaging] = model.hypers(["weight_decay", "grad_averaging"]);
    for tensor in &mut model.tensors {
        let square = sum(&squares(&tensor.g));
        let first = tensor.t == 1;
        let v = tensor.scalar("v", 0.0);
        *v = if first { square } else { beta2 * *v + (1.0 - beta2) * square };
        let root = v.sqrt() + eps;
        let mut m = tensor.take("m", 0.0);
        for i in 0..tensor.numel() {
            let mut g = tensor.g[i] / T::of(root);
            if weight_decay != 0.0 {
                g = g + T::of(weight_decay) * tensor.p[i];
            }
            if grad_averaging != 0.0 {
                g = g * T::of(1.0 - beta1);
            }
            m[i] = T::of(beta1) * m[i] + g;
            tensor.p[i] = tensor.p[i] - T::of(lr) * m[i];
        }
        tensor.keep("m", m);
    }
}

pub fn fromage<T: Real>(model: &mut Model<T>) {
    let [lr] = model.hypers(["lr"]);
    for tensor in &mut model.tensors {
        let (p_norm, g_norm) = (norm(&tensor.p), norm(&tensor.g));
        let ratio = if p_norm > 0.0 && g_norm > 0.0 { p_norm / g_norm } else { 1.0 };
        for (p, g) in tensor.p.iter_mut().zip(&tensor.g) {
            *p = (*p - T::of(lr * ratio) * *g) / T::of((1.0 + lr * lr).sqrt());
        }
    }
}

pub fn adagrad_norm<T: Real>(model: &mut Model<T>) {
    let [lr, beta] = model.hypers(["lr", "beta"]);
    let square = sum_model(&model.each(|tensor| squares(&tensor.g)));
    let s = model.scalar("s", 0.0);
    *s += square;
    let rate = lr / (1.0 + beta * *s).sqrt();
    for tensor in &mut model.tensors {
        for (p, g) in tensor.p.iter_mut().zip(&tensor.g) {
            *p = *p - T::of(rate) * *g;
        }
    }
}

pub fn adagrad_rowwise<T: Real>(model: &mut Model<T>) {
    let [lr, lr_decay, weight_decay] = model.hypers(["lr", "lr_decay", "weight_decay"]);
    let [first, eps, maximize] = model.hypers(["initial_accumulator_value", "eps", "maximize"]);
    for tensor in &mut model.tensors {
        let rate = lr / (1.0 + lr_decay * (tensor.t as f64 - 1.0));
        let mut g = tensor.g.clone();
        for (g, p) in g.iter_mut().zip(&tensor.p) {
            *g = if maximize != 0.0 { -*g } else { *g };
            if weight_decay != 0.0 {
                *g = *g + T::of(weight_decay) * *p;
            }
        }
        if tensor.rank() >= 2 {
            let mut s = tensor.take_per(Per::Row, "s", first);
            for (s, mean) in s.iter_mut().zip(mean_per(Per::Row, &squares(&g), &tensor.shape)) {
                *s = *s + mean;
            }
            for i in 0..tensor.numel() {
                let root = s[tensor.of(Per::Row, i)].sqrt() + T::of(eps);
                tensor.p[i] = tensor.p[i] - T::of(rate) / root * g[i];
            }
            tensor.keep("s", s);
        } else {
            let whole = tensor.scalar("whole", first);
            *whole += mean(&squares(&g));
            let rate = rate / (whole.sqrt() + eps);
            for (p, g) in tensor.p.iter_mut().zip(&g) {
                *p = *p - T::of(rate) * *g;
            }
        }
    }
}
