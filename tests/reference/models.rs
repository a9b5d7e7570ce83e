//! The table of the references in `model.rs`'s form.

use super::model::Model;
use super::{Real, clip, distance, factored};

/// What a rule takes from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// A number for the model in each step.
    Model(&'static str),
    /// An array of the shape of each parameter.
    Elements(&'static str),
    /// What the rule's first `normal()` draws, as the input `normal` of each tensor.
    Normal,
}

/// The rules by name: the step, every hyper with its default (a flag is 0 or 1), what is given from outside.
macro_rules! models {
    ($($name:literal $step:path, [$($hyper:ident $default:expr),* $(,)?], [$($needs:expr),*];)*) => {
        /// The name of every rule.
        pub const MODELS: &[&str] = &[$($name),*];

        /// The step of a rule.
        pub fn step<T: Real>(rule: &str) -> fn(&mut Model<T>) {
            match rule {
                $($name => $step,)*
                _ => panic!("no reference for the rule {rule}"),
            }
        }

        /// A rule's hypers with their defaults.
        pub fn defaults(rule: &str) -> &'static [(&'static str, f64)] {
            match rule {
                $($name => &[$((stringify!($hyper), $default)),*],)*
                _ => panic!("no reference for the rule {rule}"),
            }
        }

        /// What a rule needs from outside.
        pub fn needs(rule: &str) -> &'static [Needs] {
            match rule {
                $($name => &[$($needs),*],)*
                _ => panic!("no reference for the rule {rule}"),
            }
        }
    };
}

models! {
    "clip_norm_sgd" clip::clip_norm_sgd, [lr 0.01, max_norm 1.0], [];
    "adafactor" factored::adafactor, [
        lr 0.01, beta2_decay -0.8, eps1 0.0, eps2 1e-3, d 1.0, weight_decay 0.0, maximize 0.0,
    ], [];
    "adam_mini" factored::adam_mini, [lr 1e-3, beta1 0.9, beta2 0.999, eps 1e-8, weight_decay 0.0], [];
    "came" factored::came, [
        lr 2e-4, beta1 0.9, beta2 0.999, beta3 0.9999, eps1 1e-30, eps2 1e-16, d 1.0, weight_decay 0.0,
    ], [];
    "dadapt_adam" distance::dadapt_adam, [
        lr 1.0, beta1 0.9, beta2 0.999, eps 1e-8, weight_decay 0.0, d0 1e-6, growth_rate f64::INFINITY,
        bias_correction 0.0, decoupled_weight_decay 0.0,
    ], [];
    "dog" distance::dog, [lr 1.0, reps_rel 1e-6, eps 1e-8, weight_decay 0.0], [];
    "dowg" distance::dowg, [lr 1.0, eps 1e-4], [];
    "momo" distance::momo, [
        lr 1.0, beta 0.9, lb 0.0, weight_decay 0.0, bias_correction 0.0, use_fstar 0.0,
    ], [Needs::Model("loss")];
    "polyak_sps" distance::polyak_sps, [lr 1.0, c 0.5, fstar 0.0, eps 1e-8], [Needs::Model("loss")];
    "prodigy" distance::prodigy, [
        lr 1.0, beta1 0.9, beta2 0.999, beta3 f64::NAN, eps 1e-8, weight_decay 0.0, d0 1e-6, d_coef 1.0,
        growth_rate f64::INFINITY, bias_correction 0.0, decoupled_weight_decay 1.0, safeguard_warmup 0.0,
    ], [];
    "sm3" factored::sm3, [lr 0.1, momentum 0.9, eps 1e-30], [];
}

/// Rules that are not shipped: each uses a fragment, so that there is something to step.
pub const SMALL: &[(&str, &str)] =
    &[("clip_norm_sgd", "optimizer clip_norm_sgd\nhyper lr = 0.01 in [0, inf)\nuse clip_norm\np -= lr * g\n")];
