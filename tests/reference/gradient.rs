//! Rules that step along the gradient: sgd and asgd.

use super::{Real, Step, rule};

rule! {
    /// Gradient descent with momentum.
    Sgd {
        hyper lr = 1e-3;
        hyper momentum = 0.0;
        hyper dampening = 0.0;
        hyper weight_decay = 0.0;
        flag nesterov;
        flag maximize;
        state m = 0.0;
    }
}

impl<T: Real> Step<T> for Sgd<T> {
    fn step(&mut self, p: &mut [T], g: &[T]) {
        let Self { lr, momentum, dampening, weight_decay, nesterov, maximize, .. } = *self;
        self.t += 1;
        for i in 0..p.len() {
            let mut g = if maximize { -g[i] } else { g[i] };
            if weight_decay != 0.0 {
                g = g + T::of(weight_decay) * p[i];
            }
            if momentum != 0.0 {
                self.m[i] = if self.t == 1 { g } else { T::of(momentum) * self.m[i] + T::of(1.0 - dampening) * g };
                g = if nesterov { g + T::of(momentum) * self.m[i] } else { self.m[i] };
            }
            p[i] = p[i] - T::of(lr) * g;
        }
    }
}

rule! {
    /// Averaged gradient descent.
    Asgd {
        hyper lr = 0.01;
        hyper lambd = 1e-4;
        hyper alpha = 0.75;
        hyper t0 = 1e6;
        hyper weight_decay = 0.0;
        flag maximize;
        state ax = 0.0;
    }
}

impl<T: Real> Step<T> for Asgd<T> {
    fn step(&mut self, p: &mut [T], g: &[T]) {
        let Self { lr, lambd, alpha, t0, weight_decay, maximize, .. } = *self;
        self.t += 1;
        let done = self.t as f64 - 1.0;
        let eta = lr / libm::pow(1.0 + lambd * lr * done, alpha);
        let mu = 1.0 / Real::max(1.0, done - t0);
        for i in 0..p.len() {
            let mut g = if maximize { -g[i] } else { g[i] };
            if weight_decay != 0.0 {
                g = g + T::of(weight_decay) * p[i];
            }
            p[i] = p[i] * T::of(1.0 - lambd * eta);
            p[i] = p[i] - T::of(eta) * g;
            self.ax[i] = if mu == 1.0 { p[i] } else { self.ax[i] + T::of(mu) * (p[i] - self.ax[i]) };
        }
    }
}
