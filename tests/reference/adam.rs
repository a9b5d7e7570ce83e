//! Adam and those of its kind that torch has: amsgrad, adamw, adamax, nadam and radam.

use super::{Real, Step, power, rule};

rule! {
    /// Two moments, both corrected for their start at zero.
    Adam {
        hyper lr = 1e-3;
        hyper beta1 = 0.9;
        hyper beta2 = 0.999;
        hyper eps = 1e-8;
        hyper weight_decay = 0.0;
        flag maximize;
        state m = 0.0;
        state v = 0.0;
    }
}

impl<T: Real> Step<T> for Adam<T> {
    fn step(&mut self, p: &mut [T], g: &[T]) {
        let Self { lr, beta1, beta2, eps, weight_decay, maximize, .. } = *self;
        self.t += 1;
        let c1 = 1.0 - power(beta1, self.t);
        let c2 = 1.0 - power(beta2, self.t);
        for i in 0..p.len() {
            let mut g = if maximize { -g[i] } else { g[i] };
            if weight_decay != 0.0 {
                g = g + T::of(weight_decay) * p[i];
            }
            self.m[i] = T::of(beta1) * self.m[i] + T::of(1.0 - beta1) * g;
            self.v[i] = T::of(beta2) * self.v[i] + T::of(1.0 - beta2) * (g * g);
            let m_hat = self.m[i] / T::of(c1);
            let v_hat = self.v[i] / T::of(c2);
            p[i] = p[i] - T::of(lr) * m_hat / (v_hat.sqrt() + T::of(eps));
        }
    }
}

rule! {
    /// Adam with the largest second moment so far.
    Amsgrad {
        hyper lr = 1e-3;
        hyper beta1 = 0.9;
        hyper beta2 = 0.999;
        hyper eps = 1e-8;
        hyper weight_decay = 0.0;
        flag maximize;
        state m = 0.0;
        state v = 0.0;
        state v_max = 0.0;
    }
}

impl<T: Real> Step<T> for Amsgrad<T> {
    fn step(&mut self, p: &mut [T], g: &[T]) {
        let Self { lr, beta1, beta2, eps, weight_decay, maximize, .. } = *self;
        self.t += 1;
        let c1 = 1.0 - power(beta1, self.t);
        let c2 = 1.0 - power(beta2, self.t);
        for i in 0..p.len() {
            let mut g = if maximize { -g[i] } else { g[i] };
            if weight_decay != 0.0 {
                g = g + T::of(weight_decay) * p[i];
            }
            self.m[i] = T::of(beta1) * self.m[i] + T::of(1.0 - beta1) * g;
            self.v[i] = T::of(beta2) * self.v[i] + T::of(1.0 - beta2) * (g * g);
            self.v_max[i] = self.v_max[i].max(self.v[i]);
            let m_hat = self.m[i] / T::of(c1);
            let v_hat = self.v_max[i] / T::of(c2);
            p[i] = p[i] - T::of(lr) * m_hat / (v_hat.sqrt() + T::of(eps));
        }
    }
}

rule! {
    /// Adam with decoupled weight decay.
    Adamw {
        hyper lr = 1e-3;
        hyper beta1 = 0.9;
        hyper beta2 = 0.999;
        hyper eps = 1e-8;
        hyper weight_decay = 0.01;
        flag maximize;
        state m = 0.0;
        state v = 0.0;
    }
}

impl<T: Real> Step<T> for Adamw<T> {
    fn step(&mut self, p: &mut [T], g: &[T]) {
        let Self { lr, beta1, beta2, eps, weight_decay, maximize, .. } = *self;
        self.t += 1;
        let c1 = 1.0 - power(beta1, self.t);
        let c2 = 1.0 - power(beta2, self.t);
        for i in 0..p.len() {
            let g = if maximize { -g[i] } else { g[i] };
            p[i] = p[i] * T::of(1.0 - lr * weight_decay);
            self.m[i] = T::of(beta1) * self.m[i] + T::of(1.0 - beta1) * g;
            self.v[i] = T::of(beta2) * self.v[i] + T::of(1.0 - beta2) * (g * g);
            let m_hat = self.m[i] / T::of(c1);
            let v_hat = self.v[i] / T::of(c2);
            p[i] = p[i] - T::of(lr) * m_hat / (v_hat.sqrt() + T::of(eps));
        }
    }
}

rule! {
    /// Adam with a decayed largest gradient.
    Adamax {
        hyper lr = 2e-3;
        hyper beta1 = 0.9;
        hyper beta2 = 0.999;
        hyper eps = 1e-8;
        hyper weight_decay = 0.0;
        flag maximize;
        state m = 0.0;
        state u = 0.0;
    }
}

impl<T: Real> Step<T> for Adamax<T> {
    fn step(&mut self, p: &mut [T], g: &[T]) {
        let Self { lr, beta1, beta2, eps, weight_decay, maximize, .. } = *self;
        self.t += 1;
        let c1 = 1.0 - power(beta1, self.t);
        for i in 0..p.len() {
            let mut g = if maximize { -g[i] } else { g[i] };
            if weight_decay != 0.0 {
                g = g + T::of(weight_decay) * p[i];
            }
            self.m[i] = T::of(beta1) * self.m[i] + T::of(1.0 - beta1) * g;
            self.u[i] = (T::of(beta2) * self.u[i]).max(g.abs() + T::of(eps));
            p[i] = p[i] - T::of(lr / c1) * self.m[i] / self.u[i];
        }
    }
}

rule! {
    /// Adam with Nesterov momentum.
    Nadam {
        hyper lr = 2e-3;
        hyper beta1 = 0.9;
        hyper beta2 = 0.999;
        hyper eps = 1e-8;
        hyper weight_decay = 0.0;
        hyper momentum_decay = 4e-3;
        flag decoupled_weight_decay;
        flag maximize;
        state m = 0.0;
        state v = 0.0;
        scalar mu_product = 1.0;
    }
}

impl<T: Real> Step<T> for Nadam<T> {
    fn step(&mut self, p: &mut [T], g: &[T]) {
        let Self { lr, beta1, beta2, eps, weight_decay, momentum_decay, decoupled_weight_decay, maximize, .. } = *self;
        self.t += 1;
        let t = self.t as f64;
        let c2 = 1.0 - power(beta2, self.t);
        let mu = beta1 * (1.0 - 0.5 * libm::pow(0.96, t * momentum_decay));
        let mu_next = beta1 * (1.0 - 0.5 * libm::pow(0.96, (t + 1.0) * momentum_decay));
        self.mu_product *= mu;
        let of_m = mu_next / (1.0 - self.mu_product * mu_next);
        let of_g = (1.0 - mu) / (1.0 - self.mu_product);
        for i in 0..p.len() {
            let mut g = if maximize { -g[i] } else { g[i] };
            if decoupled_weight_decay {
                p[i] = p[i] * T::of(1.0 - lr * weight_decay);
            } else if weight_decay != 0.0 {
                g = g + T::of(weight_decay) * p[i];
            }
            self.m[i] = T::of(beta1) * self.m[i] + T::of(1.0 - beta1) * g;
            self.v[i] = T::of(beta2) * self.v[i] + T::of(1.0 - beta2) * (g * g);
            let u = T::of(of_m) * self.m[i] + T::of(of_g) * g;
            let v_hat = self.v[i] / T::of(c2);
            p[i] = p[i] - T::of(lr) * u / (v_hat.sqrt() + T::of(eps));
        }
    }
}

rule! {
    /// Adam with a rectified start.
    Radam {
        hyper lr = 1e-3;
        hyper beta1 = 0.9;
        hyper beta2 = 0.999;
        hyper eps = 1e-8;
        hyper weight_decay = 0.0;
        flag decoupled_weight_decay;
        flag maximize;
        state m = 0.0;
        state v = 0.0;
    }
}

impl<T: Real> Step<T> for Radam<T> {
    fn step(&mut self, p: &mut [T], g: &[T]) {
        let Self { lr, beta1, beta2, eps, weight_decay, decoupled_weight_decay, maximize, .. } = *self;
        self.t += 1;
        let c1 = 1.0 - power(beta1, self.t);
        let c2 = 1.0 - power(beta2, self.t);
        let rho_inf = 2.0 / (1.0 - beta2) - 1.0;
        let rho = rho_inf - 2.0 * self.t as f64 * power(beta2, self.t) / c2;
        for i in 0..p.len() {
            let mut g = if maximize { -g[i] } else { g[i] };
            if decoupled_weight_decay {
                p[i] = p[i] * T::of(1.0 - lr * weight_decay);
            } else if weight_decay != 0.0 {
                g = g + T::of(weight_decay) * p[i];
            }
            self.m[i] = T::of(beta1) * self.m[i] + T::of(1.0 - beta1) * g;
            self.v[i] = T::of(beta2) * self.v[i] + T::of(1.0 - beta2) * (g * g);
            p[i] = if rho > 5.0 {
                let above = (rho - 4.0) * (rho - 2.0) * rho_inf;
                let below = (rho_inf - 4.0) * (rho_inf - 2.0) * rho;
                let rate = lr * (above / below).sqrt() * c2.sqrt() / c1;
                p[i] - T::of(rate) * self.m[i] / (self.v[i].sqrt() + T::of(eps))
            } else {
                p[i] - T::of(lr / c1) * self.m[i]
            };
        }
    }
}
