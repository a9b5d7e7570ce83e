//! Rules that step along a sign: rprop, signum and lion.

use super::{Real, Step, rule};

rule! {
    /// Step sizes that grow while the gradient keeps its sign.
    Rprop {
        hyper lr = 0.01;
        hyper etaminus = 0.5;
        hyper etaplus = 1.2;
        hyper step_min = 1e-6;
        hyper step_max = 50.0;
        flag maximize;
        state eta = lr;
        state prev = 0.0;
    }
}

impl<T: Real> Step<T> for Rprop<T> {
    fn step(&mut self, p: &mut [T], g: &[T]) {
        let Self { etaminus, etaplus, step_min, step_max, maximize, .. } = *self;
        self.t += 1;
        for i in 0..p.len() {
            let mut g = if maximize { -g[i] } else { g[i] };
            let q = g * self.prev[i];
            let factor = if q > T::of(0.0) {
                T::of(etaplus)
            } else if q < T::of(0.0) {
                T::of(etaminus)
            } else {
                T::of(1.0)
            };
            self.eta[i] = (self.eta[i] * factor).clamp(T::of(step_min), T::of(step_max));
            if q < T::of(0.0) {
                g = T::of(0.0);
            }
            p[i] = p[i] - self.eta[i] * g.sign();
            self.prev[i] = g;
        }
    }
}

rule! {
    /// The sign of a running mean of gradients.
    Signum {
        hyper lr = 0.01;
        hyper momentum = 0.9;
        hyper weight_decay = 0.0;
        state m = 0.0;
    }
}

impl<T: Real> Step<T> for Signum<T> {
    fn step(&mut self, p: &mut [T], g: &[T]) {
        let Self { lr, momentum, weight_decay, .. } = *self;
        self.t += 1;
        for i in 0..p.len() {
            let mut g = g[i];
            if momentum != 0.0 {
                self.m[i] = T::of(momentum) * self.m[i] + T::of(1.0 - momentum) * g;
                g = self.m[i];
            }
            p[i] = p[i] * T::of(1.0 - lr * weight_decay);
            p[i] = p[i] - T::of(lr) * g.sign();
        }
    }
}

rule! {
    /// The sign of an interpolation between momentum and gradient.
    Lion {
        hyper lr = 1e-4;
        hyper beta1 = 0.9;
        hyper beta2 = 0.99;
        hyper weight_decay = 0.0;
        state m = 0.0;
    }
}

impl<T: Real> Step<T> for Lion<T> {
    fn step(&mut self, p: &mut [T], g: &[T]) {
        let Self { lr, beta1, beta2, weight_decay, .. } = *self;
        self.t += 1;
        for i in 0..p.len() {
            let g = g[i];
            let c = T::of(beta1) * self.m[i] + T::of(1.0 - beta1) * g;
            p[i] = p[i] * T::of(1.0 - lr * weight_decay);
            p[i] = p[i] - T::of(lr) * c.sign();
            self.m[i] = T::of(beta2) * self.m[i] + T::of(1.0 - beta2) * g;
        }
    }
}
