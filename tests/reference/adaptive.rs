//! Rules that divide by a size of past gradients: adagrad, rmsprop, adadelta and ftrl.

use super::{Real, Step, rule};

rule! {
    /// The sum of squared gradients.
    Adagrad {
        hyper lr = 0.01;
        hyper lr_decay = 0.0;
        hyper weight_decay = 0.0;
        hyper initial_accumulator_value = 0.0;
        hyper eps = 1e-10;
        flag maximize;
        state s = initial_accumulator_value;
    }
}

impl<T: Real> Step<T> for Adagrad<T> {
    fn step(&mut self, p: &mut [T], g: &[T]) {
        let Self { lr, lr_decay, weight_decay, eps, maximize, .. } = *self;
        self.t += 1;
        let rate = lr / (1.0 + lr_decay * (self.t as f64 - 1.0));
        for i in 0..p.len() {
            let mut g = if maximize { -g[i] } else { g[i] };
            if weight_decay != 0.0 {
                g = g + T::of(weight_decay) * p[i];
            }
            self.s[i] = self.s[i] + g * g;
            p[i] = p[i] - T::of(rate) * g / (self.s[i].sqrt() + T::of(eps));
        }
    }
}

rule! {
    /// A running mean of squared gradients.
    Rmsprop {
        hyper lr = 0.01;
        hyper alpha = 0.99;
        hyper eps = 1e-8;
        hyper weight_decay = 0.0;
        hyper momentum = 0.0;
        flag centered;
        flag maximize;
        state v = 0.0;
        state m = 0.0;
        state b = 0.0;
    }
}

impl<T: Real> Step<T> for Rmsprop<T> {
    fn step(&mut self, p: &mut [T], g: &[T]) {
        let Self { lr, alpha, eps, weight_decay, momentum, centered, maximize, .. } = *self;
        self.t += 1;
        for i in 0..p.len() {
            let mut g = if maximize { -g[i] } else { g[i] };
            if weight_decay != 0.0 {
                g = g + T::of(weight_decay) * p[i];
            }
            self.v[i] = T::of(alpha) * self.v[i] + T::of(1.0 - alpha) * (g * g);
            let mut var = self.v[i];
            if centered {
                self.m[i] = T::of(alpha) * self.m[i] + T::of(1.0 - alpha) * g;
                var = (self.v[i] - self.m[i] * self.m[i]).max(T::of(0.0));
            }
            let mut d = g / (var.sqrt() + T::of(eps));
            if momentum != 0.0 {
                self.b[i] = T::of(momentum) * self.b[i] + d;
                d = self.b[i];
            }
            p[i] = p[i] - T::of(lr) * d;
        }
    }
}

rule! {
    /// Running means of squared gradients and squared steps.
    Adadelta {
        hyper lr = 1.0;
        hyper rho = 0.9;
        hyper eps = 1e-6;
        hyper weight_decay = 0.0;
        flag maximize;
        state v = 0.0;
        state u = 0.0;
    }
}

impl<T: Real> Step<T> for Adadelta<T> {
    fn step(&mut self, p: &mut [T], g: &[T]) {
        let Self { lr, rho, eps, weight_decay, maximize, .. } = *self;
        self.t += 1;
        for i in 0..p.len() {
            let mut g = if maximize { -g[i] } else { g[i] };
            if weight_decay != 0.0 {
                g = g + T::of(weight_decay) * p[i];
            }
            self.v[i] = T::of(rho) * self.v[i] + T::of(1.0 - rho) * (g * g);
            let from = (self.v[i] + T::of(eps)).sqrt();
            let to = (self.u[i] + T::of(eps)).sqrt();
            let d = to / from * g;
            self.u[i] = T::of(rho) * self.u[i] + T::of(1.0 - rho) * (d * d);
            p[i] = p[i] - T::of(lr) * d;
        }
    }
}

rule! {
    /// Follow the regularised leader.
    Ftrl {
        hyper lr = 1e-3;
        hyper beta = 0.0;
        hyper l1 = 0.0;
        hyper l2 = 0.0;
        hyper initial_accumulator_value = 0.1;
        state z = 0.0;
        state n = initial_accumulator_value;
    }
}

impl<T: Real> Step<T> for Ftrl<T> {
    fn step(&mut self, p: &mut [T], g: &[T]) {
        let Self { lr, beta, l1, l2, .. } = *self;
        self.t += 1;
        for i in 0..p.len() {
            let before = self.n[i].sqrt();
            self.n[i] = self.n[i] + g[i] * g[i];
            let after = self.n[i].sqrt();
            let sigma = (after - before) / T::of(lr);
            self.z[i] = self.z[i] + (g[i] - sigma * p[i]);
            let z = self.z[i];
            p[i] = if z.abs() <= T::of(l1) {
                T::of(0.0)
            } else {
                (z.sign() * T::of(l1) - z) / ((T::of(beta) + after) / T::of(lr) + T::of(l2))
            };
        }
    }
}
