//! Rules that find their own rate from the whole model: dog, dowg, dadapt_adam, prodigy, momo, polyak_sps.

use super::Real;
use super::model::Model;
use super::sums::{dot, exact, norm_model, products, squares, sum_model};

/// `dog`.
pub fn dog<T: Real>(model: &mut Model<T>) {
    let [lr, reps_rel, eps, weight_decay] = model.hypers(["lr", "reps_rel", "eps", "weight_decay"]);
    let first = reps_rel * (1.0 + norm_model(&model.each(|x| x.p.clone())));
    decay(model, weight_decay);
    let distance = norm_model(&gone(model));
    let square = sum_model(&model.each(|x| squares(&x.g)));
    let r = model.scalar("r", first);
    *r = Real::max(*r, distance);
    let r = *r;
    let s = model.scalar("s", eps);
    *s += square;
    let rate = lr * r / s.sqrt();
    descend(model, rate);
}

/// `dowg`.
pub fn dowg<T: Real>(model: &mut Model<T>) {
    let [lr, eps] = model.hypers(["lr", "eps"]);
    let gone = gone(model);
    let distance2 = sum_model(&gone.iter().map(|x| squares(x)).collect::<Vec<_>>());
    let square = sum_model(&model.each(|x| squares(&x.g)));
    let r2 = model.scalar("r2", eps);
    *r2 = Real::max(*r2, distance2);
    let r2 = *r2;
    let v = model.scalar("v", 0.0);
    *v += r2 * square;
    let rate = lr * r2 / (v.sqrt() + eps);
    descend(model, rate);
}

/// `dadapt_adam`.
pub fn dadapt_adam<T: Real>(model: &mut Model<T>) {
    let [lr, beta1, beta2, eps, weight_decay] = model.hypers(["lr", "beta1", "beta2", "eps", "weight_decay"]);
    let [d0, growth_rate] = model.hypers(["d0", "growth_rate"]);
    let [bias_correction, decoupled] = model.hypers(["bias_correction", "decoupled_weight_decay"]);
    if decoupled == 0.0 {
        decay(model, weight_decay);
    }
    let rate = *model.scalar("d", d0) * lr;
    let rate = if bias_correction != 0.0 { rate * correction(model, beta1, beta2) } else { rate };
    let rho = beta2.sqrt();
    let (mut gains, mut lengths) = (Vec::new(), Vec::new());
    for tensor in &mut model.tensors {
        let (mut m, mut v, mut s) = (tensor.take("m", 0.0), tensor.take("v", 0.0), tensor.take("s", 0.0));
        let slope = |(s, v): (&T, &T)| *s / (v.sqrt() + T::of(eps));
        let slope: Vec<T> = s.iter().zip(&v).map(slope).collect();
        for i in 0..tensor.numel() {
            let g = tensor.g[i];
            m[i] = T::of(beta1) * m[i] + T::of(rate * (1.0 - beta1)) * g;
            v[i] = T::of(beta2) * v[i] + T::of(1.0 - beta2) * (g * g);
            s[i] = T::of(rho) * s[i] + T::of(rate * (1.0 - rho)) * g;
            if decoupled != 0.0 {
                tensor.p[i] = tensor.p[i] * T::of(1.0 - rate * weight_decay);
            }
            tensor.p[i] = tensor.p[i] - m[i] / (v[i].sqrt() + T::of(eps));
        }
        gains.push(products(&tensor.g, &slope));
        lengths.push(s.iter().map(|s| s.abs()).collect());
        tensor.keep("m", m);
        tensor.keep("v", v);
        tensor.keep("s", s);
    }
    let (gain, length) = (sum_model(&gains), sum_model::<T>(&lengths));
    let num = model.scalar("num", 0.0);
    *num = rho * *num + (1.0 - rho) * (rate * gain);
    let num = *num;
    let d = model.scalar("d", d0);
    if lr > 0.0 && length > 0.0 {
        *d = Real::max(*d, Real::min(num / ((1.0 - rho) * length), *d * growth_rate));
    }
}

/// `prodigy`. The default of `beta3` is NaN here and stands for the root of `beta2`.
pub fn prodigy<T: Real>(model: &mut Model<T>) {
    let [lr, beta1, beta2, beta3, eps] = model.hypers(["lr", "beta1", "beta2", "beta3", "eps"]);
    let [weight_decay, d0, d_coef, growth_rate] = model.hypers(["weight_decay", "d0", "d_coef", "growth_rate"]);
    let [bias_correction, decoupled] = model.hypers(["bias_correction", "decoupled_weight_decay"]);
    let [safeguard_warmup] = model.hypers(["safeguard_warmup"]);
    let beta3 = if beta3.is_nan() { beta2.sqrt() } else { beta3 };
    if decoupled == 0.0 {
        decay(model, weight_decay);
    }
    let d = *model.scalar("d", d0);
    let rate = d * lr;
    let rate = if bias_correction != 0.0 { rate * correction(model, beta1, beta2) } else { rate };
    remember(model);
    let (mut ways, mut lengths) = (Vec::new(), Vec::new());
    for tensor in &mut model.tensors {
        let (mut m, mut v, mut s) = (tensor.take("m", 0.0), tensor.take("v", 0.0), tensor.take("s", 0.0));
        let weight = d / d0 * if safeguard_warmup != 0.0 { d } else { rate };
        for i in 0..tensor.numel() {
            let g = tensor.g[i];
            m[i] = T::of(beta1) * m[i] + T::of(d * (1.0 - beta1)) * g;
            v[i] = T::of(beta2) * v[i] + T::of(d * d * (1.0 - beta2)) * (g * g);
            s[i] = T::of(beta3) * s[i] + T::of(weight) * g;
        }
        let back: Vec<T> = tensor.arrays["p0"].iter().zip(&tensor.p).map(|(p0, p)| *p0 - *p).collect();
        ways.push(products(&tensor.g, &back));
        lengths.push(s.iter().map(|s| s.abs()).collect());
        tensor.keep("m", m);
        tensor.keep("v", v);
        tensor.keep("s", s);
    }
    let (way, length) = (sum_model(&ways), sum_model::<T>(&lengths));
    let num = model.scalar("num", 0.0);
    *num = beta3 * *num + d / d0 * rate * way;
    let num = *num;
    let d_max = model.scalar("d_max", d0);
    let mut next = d;
    if lr > 0.0 && length > 0.0 {
        let guess = d_coef * num / length;
        let start = if d == d0 { Real::max(d, guess) } else { d };
        *d_max = Real::max(*d_max, guess);
        next = Real::min(*d_max, start * growth_rate);
    }
    *model.scalar("d", d0) = next;
    for tensor in &mut model.tensors {
        for i in 0..tensor.numel() {
            if decoupled != 0.0 {
                tensor.p[i] = tensor.p[i] * T::of(1.0 - rate * weight_decay);
            }
            let (m, v) = (tensor.arrays["m"][i], tensor.arrays["v"][i]);
            tensor.p[i] = tensor.p[i] - T::of(rate) * m / (v.sqrt() + T::of(next * eps));
        }
    }
}

/// `momo`.
pub fn momo<T: Real>(model: &mut Model<T>) {
    let [lr, beta, lb, weight_decay] = model.hypers(["lr", "beta", "lb", "weight_decay"]);
    let [bias_correction, use_fstar] = model.hypers(["bias_correction", "use_fstar"]);
    let from_zero = bias_correction != 0.0;
    let loss = model.inputs["loss"];
    for tensor in &mut model.tensors {
        let goes_on = from_zero || tensor.t > 1;
        let product = dot(&tensor.p, &tensor.g);
        let mut m = tensor.take("m", 0.0);
        for (m, g) in m.iter_mut().zip(&tensor.g) {
            *m = if goes_on { T::of(beta) * *m + T::of(1.0 - beta) * *g } else { *g };
        }
        tensor.keep("m", m);
        let gamma = tensor.scalar("gamma", 0.0);
        *gamma = if goes_on { beta * *gamma + (1.0 - beta) * product } else { product };
    }
    let now = sum_model(&model.each(|x| products(&x.p, &x.arrays["m"])));
    let past = exact(&model.tensors.iter().map(|x| x.scalars["gamma"]).collect::<Vec<_>>());
    let square = sum_model(&model.each(|x| squares(&x.arrays["m"])));
    let k = model.scalar("k", 0.0);
    *k += 1.0;
    let k = *k;
    let f = model.scalar("f", 0.0);
    *f = if from_zero || k > 1.0 { beta * *f + (1.0 - beta) * loss } else { loss };
    let f = *f;
    let rho = if from_zero { 1.0 - libm::pow(beta, k) } else { 1.0 };
    let growth = 1.0 + lr * weight_decay;
    let mut low = lb;
    if use_fstar != 0.0 {
        let cap = growth * f + now - growth * past;
        let bound = model.scalar("bound", lb);
        if cap < growth * rho * *bound {
            *bound = Real::max(cap / (2.0 * growth * rho), lb);
        }
        low = *bound;
    }
    let excess = Real::max(growth * (f - rho * low) + now - growth * past, 0.0);
    let rate = if square == 0.0 { 0.0 } else { Real::min(lr / rho, excess / square) };
    if use_fstar != 0.0 {
        *model.scalar("bound", lb) = Real::max((f + now - past - 0.5 * rate * square) / rho, lb);
    }
    for tensor in &mut model.tensors {
        for i in 0..tensor.numel() {
            tensor.p[i] = tensor.p[i] - T::of(rate) * tensor.arrays["m"][i];
            if weight_decay != 0.0 {
                tensor.p[i] = tensor.p[i] / T::of(growth);
            }
        }
    }
}

/// `polyak_sps`.
pub fn polyak_sps<T: Real>(model: &mut Model<T>) {
    let [lr, c, fstar, eps] = model.hypers(["lr", "c", "fstar", "eps"]);
    let loss = model.inputs["loss"];
    let square = sum_model(&model.each(|x| squares(&x.g)));
    descend(model, Real::min(lr, Real::max(loss - fstar, 0.0) / (c * square + eps)));
}

/// `if weight_decay != 0 { g += weight_decay * p }`.
fn decay<T: Real>(model: &mut Model<T>, weight_decay: f64) {
    if weight_decay != 0.0 {
        for tensor in &mut model.tensors {
            for (g, p) in tensor.g.iter_mut().zip(&tensor.p) {
                *g = *g + T::of(weight_decay) * *p;
            }
        }
    }
}

/// Makes the state `p0`: what `p` was before the first step.
fn remember<T: Real>(model: &mut Model<T>) {
    for tensor in &mut model.tensors {
        let p0 = tensor.take_from("p0", &tensor.p.clone());
        tensor.keep("p0", p0);
    }
}

/// `p - p0` of every tensor.
fn gone<T: Real>(model: &mut Model<T>) -> Vec<Vec<T>> {
    remember(model);
    model.each(|x| x.p.iter().zip(&x.arrays["p0"]).map(|(p, p0)| *p - *p0).collect())
}

/// `p -= rate * g`.
fn descend<T: Real>(model: &mut Model<T>, rate: f64) {
    for tensor in &mut model.tensors {
        for (p, g) in tensor.p.iter_mut().zip(&tensor.g) {
            *p = *p - T::of(rate) * *g;
        }
    }
}

/// Counts a step of the model in `k`: what Adam's bias corrections make of the rate.
fn correction<T: Real>(model: &mut Model<T>, beta1: f64, beta2: f64) -> f64 {
    let k = model.scalar("k", 0.0);
    *k += 1.0;
    (1.0 - libm::pow(beta2, *k)).sqrt() / (1.0 - libm::pow(beta1, *k))
}
