//! Rules whose second moment is one value per row and column, or per block: adafactor, came, sm3, adam_mini.

use super::model::{Model, Tensor};
use super::sums::{Per, max_per, mean, mean_per, mean_runs, rms, squares};
use super::{Real, power};

/// `adafactor`.
pub fn adafactor<T: Real>(model: &mut Model<T>) {
    let [lr, beta2_decay, eps1, eps2, d] = model.hypers(["lr", "beta2_decay", "eps1", "eps2", "d"]);
    let [weight_decay, maximize] = model.hypers(["weight_decay", "maximize"]);
    for tensor in &mut model.tensors {
        if maximize != 0.0 {
            for g in &mut tensor.g {
                *g = -*g;
            }
        }
        let t = tensor.t as f64;
        let scale = Real::max(eps2, rms(&tensor.p)) * Real::min(lr, 1.0 / t.sqrt());
        let weight = T::of(libm::pow(t, beta2_decay));
        let least = if eps1 == 0.0 { epsilon::<T>() } else { eps1 };
        if tensor.rank() >= 2 {
            let mut r = tensor.take_per(Per::Row, "r", 0.0);
            let mut c = tensor.take_per(Per::Col, "c", 0.0);
            for (r, mean) in r.iter_mut().zip(mean_per(Per::Row, &squares(&tensor.g), &tensor.shape)) {
                *r = *r + weight * (mean - *r);
            }
            for (c, mean) in c.iter_mut().zip(mean_per(Per::Col, &squares(&tensor.g), &tensor.shape)) {
                *c = *c + weight * (mean - *c);
            }
            let means = mean_rows(tensor, &r);
            let share: Vec<T> =
                r.iter().enumerate().map(|(i, r)| *r / means[i / tensor.rows()].max(T::of(least))).collect();
            for i in 0..tensor.numel() {
                let v = share[tensor.of(Per::Row, i)] * c[tensor.of(Per::Col, i)];
                tensor.g[i] = tensor.g[i] / v.max(T::of(least * least)).sqrt();
            }
            tensor.keep("r", r);
            tensor.keep("c", c);
        } else {
            let mut v = tensor.take("v", 0.0);
            for (v, g) in v.iter_mut().zip(&mut tensor.g) {
                *v = *v + weight * (*g * *g - *v);
                *g = *g / v.max(T::of(least * least)).sqrt();
            }
            tensor.keep("v", v);
        }
        let clip = Real::max(1.0, rms(&tensor.g) / d);
        for (p, g) in tensor.p.iter_mut().zip(&tensor.g) {
            if weight_decay != 0.0 {
                *p = *p * T::of(1.0 - lr * weight_decay);
            }
            *p = *p - T::of(scale / clip) * *g;
        }
    }
}

/// `came`.
pub fn came<T: Real>(model: &mut Model<T>) {
    let [lr, beta1, beta2, beta3] = model.hypers(["lr", "beta1", "beta2", "beta3"]);
    let [eps1, eps2, d, weight_decay] = model.hypers(["eps1", "eps2", "d", "weight_decay"]);
    for tensor in &mut model.tensors {
        let square: Vec<T> = tensor.g.iter().map(|g| *g * *g + T::of(eps1)).collect();
        if tensor.rank() >= 2 {
            let mut r = tensor.take_per(Per::Row, "r", 0.0);
            let mut c = tensor.take_per(Per::Col, "c", 0.0);
            average(&mut r, beta2, &mean_per(Per::Row, &square, &tensor.shape));
            average(&mut c, beta2, &mean_per(Per::Col, &square, &tensor.shape));
            let factor = rsqrt_of_product(tensor, &r, &c);
            for (g, factor) in tensor.g.iter_mut().zip(factor) {
                *g = *g * factor;
            }
            tensor.keep("r", r);
            tensor.keep("c", c);
        } else {
            let mut v = tensor.take("v", 0.0);
            average(&mut v, beta2, &square);
            for (g, v) in tensor.g.iter_mut().zip(&v) {
                *g = *g * (T::of(1.0) / v.sqrt());
            }
            tensor.keep("v", v);
        }
        let clip = Real::max(1.0, rms(&tensor.g) / d);
        for g in &mut tensor.g {
            *g = *g / T::of(clip);
        }
        let mut m = tensor.take("m", 0.0);
        average(&mut m, beta1, &tensor.g);
        let mut update = m.clone();
        if tensor.rank() >= 2 {
            let stray = |(g, m): (&T, &T)| (*g - *m) * (*g - *m) + T::of(eps2);
            let stray: Vec<T> = tensor.g.iter().zip(&m).map(stray).collect();
            let mut sr = tensor.take_per(Per::Row, "sr", 0.0);
            let mut sc = tensor.take_per(Per::Col, "sc", 0.0);
            average(&mut sr, beta3, &mean_per(Per::Row, &stray, &tensor.shape));
            average(&mut sc, beta3, &mean_per(Per::Col, &stray, &tensor.shape));
            for (update, trust) in update.iter_mut().zip(rsqrt_of_product(tensor, &sr, &sc)) {
                *update = trust * *update;
            }
            tensor.keep("sr", sr);
            tensor.keep("sc", sc);
        }
        for (p, update) in tensor.p.iter_mut().zip(update) {
            *p = T::of(1.0 - lr * weight_decay) * *p - T::of(lr) * update;
        }
        tensor.keep("m", m);
    }
}

/// `sm3`.
pub fn sm3<T: Real>(model: &mut Model<T>) {
    let [lr, momentum, eps] = model.hypers(["lr", "momentum", "eps"]);
    for tensor in &mut model.tensors {
        if tensor.rank() >= 2 {
            let r = tensor.take_per(Per::Row, "r", 0.0);
            let c = tensor.take_per(Per::Col, "c", 0.0);
            let bound = |i: usize| {
                let g = tensor.g[i];
                r[tensor.of(Per::Row, i)].min(c[tensor.of(Per::Col, i)]) + g * g
            };
            let bound: Vec<T> = (0..tensor.numel()).map(bound).collect();
            tensor.keep("r", max_per(Per::Row, &bound, &tensor.shape));
            tensor.keep("c", max_per(Per::Col, &bound, &tensor.shape));
            for (g, bound) in tensor.g.iter_mut().zip(bound) {
                *g = *g / (bound + T::of(eps)).sqrt();
            }
        } else {
            let mut v = tensor.take("v", 0.0);
            for (v, g) in v.iter_mut().zip(&mut tensor.g) {
                *v = *v + *g * *g;
                *g = *g / (*v + T::of(eps)).sqrt();
            }
            tensor.keep("v", v);
        }
        if momentum != 0.0 {
            let mut m = tensor.take("m", 0.0);
            average(&mut m, momentum, &tensor.g);
            tensor.g.clone_from(&m);
            tensor.keep("m", m);
        }
        for (p, g) in tensor.p.iter_mut().zip(&tensor.g) {
            *p = *p - T::of(lr) * *g;
        }
    }
}

/// `adam_mini`.
pub fn adam_mini<T: Real>(model: &mut Model<T>) {
    let [lr, beta1, beta2, eps, weight_decay] = model.hypers(["lr", "beta1", "beta2", "eps", "weight_decay"]);
    for tensor in &mut model.tensors {
        let (c1, c2) = (1.0 - power(beta1, tensor.t), 1.0 - power(beta2, tensor.t));
        let mut m = tensor.take("m", 0.0);
        average(&mut m, beta1, &tensor.g);
        let rate: Vec<T> = if tensor.rank() >= 2 {
            let mut v = tensor.take_per(Per::Unit, "v", 0.0);
            average(&mut v, beta2, &mean_per(Per::Unit, &squares(&tensor.g), &tensor.shape));
            let rate: Vec<T> = v.iter().map(|v| T::of(lr / c1) / ((*v / T::of(c2)).sqrt() + T::of(eps))).collect();
            tensor.keep("v", v);
            (0..tensor.numel()).map(|i| rate[tensor.of(Per::Unit, i)]).collect()
        } else {
            let square = mean(&squares(&tensor.g));
            let s = tensor.scalar("s", 0.0);
            *s = beta2 * *s + (1.0 - beta2) * square;
            let rate = lr / c1 / ((*s / c2).sqrt() + eps);
            vec![T::of(rate); tensor.numel()]
        };
        for i in 0..tensor.numel() {
            tensor.p[i] = T::of(1.0 - lr * weight_decay) * tensor.p[i] - rate[i] * m[i];
        }
        tensor.keep("m", m);
    }
}

/// `x = beta*x + (1 - beta)*new`.
fn average<T: Real>(x: &mut [T], beta: f64, new: &[T]) {
    for (x, new) in x.iter_mut().zip(new) {
        *x = T::of(beta) * *x + T::of(1.0 - beta) * *new;
    }
}

/// Of what is one per row, the mean of each matrix.
fn mean_rows<T: Real>(tensor: &Tensor<T>, r: &[T]) -> Vec<T> {
    mean_runs(r, Per::Matrix.results(&tensor.shape), tensor.rows())
}

/// `rsqrt(r / mean(r per matrix)) * rsqrt(c)`, per element.
fn rsqrt_of_product<T: Real>(tensor: &Tensor<T>, r: &[T], c: &[T]) -> Vec<T> {
    let means = mean_rows(tensor, r);
    let rows = r.iter().enumerate().map(|(i, r)| T::of(1.0) / (*r / means[i / tensor.rows()]).sqrt());
    let rows: Vec<T> = rows.collect();
    let cols: Vec<T> = c.iter().map(|c| T::of(1.0) / c.sqrt()).collect();
    let product = |i| rows[tensor.of(Per::Row, i)] * cols[tensor.of(Per::Col, i)];
    (0..tensor.numel()).map(product).collect()
}

/// The distance from 1 to the next number.
fn epsilon<T: Real>() -> f64 {
    let single = T::of(1.0 + f64::EPSILON).wide() == 1.0;
    if single { f64::from(f32::EPSILON) } else { f64::EPSILON }
}
