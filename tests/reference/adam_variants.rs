//! Adam's relatives from papers: adabelief, yogi, adabound, adan, qhadam, laprop, adopt, ademamix.

use super::{Real, Step, power, rule};

rule! {
    /// The variance of the gradient around its running mean.
    Adabelief {
        hyper lr = 1e-3;
        hyper beta1 = 0.9;
        hyper beta2 = 0.999;
        hyper eps = 1e-16;
        hyper weight_decay = 0.0;
        state m = 0.0;
        state s = 0.0;
    }
}

impl<T: Real> Step<T> for Adabelief<T> {
    fn step(&mut self, p: &mut [T], g: &[T]) {
        let Self { lr, beta1, beta2, eps, weight_decay, .. } = *self;
        self.t += 1;
        let c1 = 1.0 - power(beta1, self.t);
        let c2 = 1.0 - power(beta2, self.t);
        for i in 0..p.len() {
            p[i] = p[i] * T::of(1.0 - lr * weight_decay);
            self.m[i] = T::of(beta1) * self.m[i] + T::of(1.0 - beta1) * g[i];
            let surprise = g[i] - self.m[i];
            let fresh = T::of(1.0 - beta2) * (surprise * surprise);
            self.s[i] = T::of(beta2) * self.s[i] + fresh + T::of(eps);
            let m_hat = self.m[i] / T::of(c1);
            let s_hat = self.s[i] / T::of(c2);
            p[i] = p[i] - T::of(lr) * m_hat / (s_hat.sqrt() + T::of(eps));
        }
    }
}

rule! {
    /// A second moment that moves by additive steps.
    Yogi {
        hyper lr = 0.01;
        hyper beta1 = 0.9;
        hyper beta2 = 0.999;
        hyper eps = 1e-3;
        hyper weight_decay = 0.0;
        hyper initial_accumulator_value = 1e-6;
        state m = 0.0;
        state v = initial_accumulator_value;
    }
}

impl<T: Real> Step<T> for Yogi<T> {
    fn step(&mut self, p: &mut [T], g: &[T]) {
        let Self { lr, beta1, beta2, eps, weight_decay, .. } = *self;
        self.t += 1;
        let c1 = 1.0 - power(beta1, self.t);
        let c2 = 1.0 - power(beta2, self.t);
        for i in 0..p.len() {
            let mut g = g[i];
            if weight_decay != 0.0 {
                g = g + T::of(weight_decay) * p[i];
            }
            self.m[i] = T::of(beta1) * self.m[i] + T::of(1.0 - beta1) * g;
            let direction = (self.v[i] - g * g).sign();
            self.v[i] = self.v[i] - T::of(1.0 - beta2) * direction * (g * g);
            let m_hat = self.m[i] / T::of(c1);
            let v_hat = self.v[i] / T::of(c2);
            p[i] = p[i] - T::of(lr) * m_hat / (v_hat.sqrt() + T::of(eps));
        }
    }
}

rule! {
    /// Rates clipped into a narrowing band.
    Adabound {
        hyper lr = 1e-3;
        hyper beta1 = 0.9;
        hyper beta2 = 0.999;
        hyper final_lr = 0.1;
        hyper gamma = 1e-3;
        hyper eps = 1e-8;
        hyper weight_decay = 0.0;
        state m = 0.0;
        state v = 0.0;
    }
}

impl<T: Real> Step<T> for Adabound<T> {
    fn step(&mut self, p: &mut [T], g: &[T]) {
        let Self { lr, beta1, beta2, final_lr, gamma, eps, weight_decay, .. } = *self;
        self.t += 1;
        let t = self.t as f64;
        let low = final_lr * (1.0 - 1.0 / (gamma * t + 1.0));
        let high = final_lr * (1.0 + 1.0 / (gamma * t));
        let rate = lr * (1.0 - power(beta2, self.t)).sqrt() / (1.0 - power(beta1, self.t));
        for i in 0..p.len() {
            let mut g = g[i];
            if weight_decay != 0.0 {
                g = g + T::of(weight_decay) * p[i];
            }
            self.m[i] = T::of(beta1) * self.m[i] + T::of(1.0 - beta1) * g;
            self.v[i] = T::of(beta2) * self.v[i] + T::of(1.0 - beta2) * (g * g);
            let own = T::of(rate) / (self.v[i].sqrt() + T::of(eps));
            p[i] = p[i] - own.clamp(T::of(low), T::of(high)) * self.m[i];
        }
    }
}

rule! {
    /// Nesterov momentum from the gradient's change.
    Adan {
        hyper lr = 1e-3;
        hyper beta1 = 0.98;
        hyper beta2 = 0.92;
        hyper beta3 = 0.99;
        hyper eps = 1e-8;
        hyper weight_decay = 0.0;
        state m = 0.0;
        state d = 0.0;
        state n = 0.0;
        state prev = 0.0;
    }
}

impl<T: Real> Step<T> for Adan<T> {
    fn step(&mut self, p: &mut [T], g: &[T]) {
        let Self { lr, beta1, beta2, beta3, eps, weight_decay, .. } = *self;
        self.t += 1;
        let c1 = 1.0 - power(beta1, self.t);
        let c2 = 1.0 - power(beta2, self.t);
        let c3 = 1.0 - power(beta3, self.t);
        for i in 0..p.len() {
            let g = g[i];
            let change = if self.t == 1 { T::of(0.0) } else { g - self.prev[i] };
            let ahead = g + T::of(beta2) * change;
            self.m[i] = T::of(beta1) * self.m[i] + T::of(1.0 - beta1) * g;
            self.d[i] = T::of(beta2) * self.d[i] + T::of(1.0 - beta2) * change;
            self.n[i] = T::of(beta3) * self.n[i] + T::of(1.0 - beta3) * (ahead * ahead);
            let u = self.m[i] / T::of(c1) + T::of(beta2 / c2) * self.d[i];
            let n_hat = self.n[i] / T::of(c3);
            p[i] = p[i] - T::of(lr) * u / (n_hat.sqrt() + T::of(eps));
            p[i] = p[i] / T::of(1.0 + lr * weight_decay);
            self.prev[i] = g;
        }
    }
}

rule! {
    /// Each moment averaged with its newest term.
    Qhadam {
        hyper lr = 1e-3;
        hyper beta1 = 0.995;
        hyper beta2 = 0.999;
        hyper nu1 = 0.7;
        hyper nu2 = 1.0;
        hyper eps = 1e-8;
        hyper weight_decay = 0.0;
        flag decoupled_weight_decay;
        state m = 0.0;
        state v = 0.0;
    }
}

impl<T: Real> Step<T> for Qhadam<T> {
    fn step(&mut self, p: &mut [T], g: &[T]) {
        let Self { lr, beta1, beta2, nu1, nu2, eps, weight_decay, decoupled_weight_decay, .. } = *self;
        self.t += 1;
        let c1 = 1.0 - power(beta1, self.t);
        let c2 = 1.0 - power(beta2, self.t);
        for i in 0..p.len() {
            let mut g = g[i];
            if decoupled_weight_decay {
                p[i] = p[i] * T::of(1.0 - lr * weight_decay);
            } else if weight_decay != 0.0 {
                g = g + T::of(weight_decay) * p[i];
            }
            self.m[i] = T::of(beta1) * self.m[i] + T::of(1.0 - beta1) * g;
            self.v[i] = T::of(beta2) * self.v[i] + T::of(1.0 - beta2) * (g * g);
            let a = T::of(nu1 / c1) * self.m[i] + T::of(1.0 - nu1) * g;
            let b = T::of(nu2 / c2) * self.v[i] + T::of(1.0 - nu2) * (g * g);
            p[i] = p[i] - T::of(lr) * a / (b.sqrt() + T::of(eps));
        }
    }
}

rule! {
    /// Normalised gradients, then momentum.
    Laprop {
        hyper lr = 4e-4;
        hyper beta1 = 0.9;
        hyper beta2 = 0.999;
        hyper eps = 1e-15;
        hyper weight_decay = 0.0;
        state m = 0.0;
        state v = 0.0;
    }
}

impl<T: Real> Step<T> for Laprop<T> {
    fn step(&mut self, p: &mut [T], g: &[T]) {
        let Self { lr, beta1, beta2, eps, weight_decay, .. } = *self;
        self.t += 1;
        let c1 = 1.0 - power(beta1, self.t);
        let c2 = 1.0 - power(beta2, self.t);
        for i in 0..p.len() {
            let g = g[i];
            p[i] = p[i] * T::of(1.0 - lr * weight_decay);
            self.v[i] = T::of(beta2) * self.v[i] + T::of(1.0 - beta2) * (g * g);
            let root = (self.v[i] / T::of(c2)).sqrt() + T::of(eps);
            self.m[i] = T::of(beta1) * self.m[i] + T::of(1.0 - beta1) * g / root;
            p[i] = p[i] - T::of(lr / c1) * self.m[i];
        }
    }
}

rule! {
    /// Divides by the second moment of the steps before.
    Adopt {
        hyper lr = 1e-3;
        hyper beta1 = 0.9;
        hyper beta2 = 0.9999;
        hyper eps = 1e-6;
        hyper weight_decay = 0.0;
        flag decoupled_weight_decay;
        flag maximize;
        state m = 0.0;
        state v = 0.0;
    }
}

impl<T: Real> Step<T> for Adopt<T> {
    fn step(&mut self, p: &mut [T], g: &[T]) {
        let Self { lr, beta1, beta2, eps, weight_decay, decoupled_weight_decay, maximize, .. } = *self;
        self.t += 1;
        let bound = libm::pow(self.t as f64 - 1.0, 0.25);
        for i in 0..p.len() {
            let mut g = if maximize { -g[i] } else { g[i] };
            if weight_decay != 0.0 && !decoupled_weight_decay {
                g = g + T::of(weight_decay) * p[i];
            }
            if self.t == 1 {
                self.v[i] = g * g;
                continue;
            }
            if decoupled_weight_decay {
                p[i] = p[i] * T::of(1.0 - lr * weight_decay);
            }
            let u = (g / self.v[i].sqrt().max(T::of(eps))).clamp(T::of(-bound), T::of(bound));
            self.m[i] = T::of(beta1) * self.m[i] + T::of(1.0 - beta1) * u;
            p[i] = p[i] - T::of(lr) * self.m[i];
            self.v[i] = T::of(beta2) * self.v[i] + T::of(1.0 - beta2) * (g * g);
        }
    }
}

rule! {
    /// A fast and a very slow momentum.
    Ademamix {
        hyper lr = 1e-3;
        hyper beta1 = 0.9;
        hyper beta2 = 0.999;
        hyper beta3 = 0.9999;
        hyper alpha = 5.0;
        hyper t_alpha = 0.0;
        hyper t_beta3 = 0.0;
        hyper eps = 1e-8;
        hyper weight_decay = 0.0;
        state m1 = 0.0;
        state m2 = 0.0;
        state v = 0.0;
    }
}

impl<T: Real> Step<T> for Ademamix<T> {
    fn step(&mut self, p: &mut [T], g: &[T]) {
        let Self { lr, beta1, beta2, beta3, alpha, t_alpha, t_beta3, eps, weight_decay, .. } = *self;
        self.t += 1;
        let t = self.t as f64;
        let c1 = 1.0 - power(beta1, self.t);
        let c2 = 1.0 - power(beta2, self.t);
        let alpha = alpha * Real::min(1.0, t / t_alpha);
        let warm = t / t_beta3;
        let beta3 = if warm < 1.0 {
            libm::exp(1.0 / ((1.0 - warm) / libm::log(beta1) + warm / libm::log(beta3)))
        } else {
            beta3
        };
        for i in 0..p.len() {
            let g = g[i];
            p[i] = p[i] * T::of(1.0 - lr * weight_decay);
            self.m1[i] = T::of(beta1) * self.m1[i] + T::of(1.0 - beta1) * g;
            self.m2[i] = T::of(beta3) * self.m2[i] + T::of(1.0 - beta3) * g;
            self.v[i] = T::of(beta2) * self.v[i] + T::of(1.0 - beta2) * (g * g);
            let u = self.m1[i] / T::of(c1) + T::of(alpha) * self.m2[i];
            let v_hat = self.v[i] / T::of(c2);
            p[i] = p[i] - T::of(lr) * u / (v_hat.sqrt() + T::of(eps));
        }
    }
}
