//! The table of the references in `model.rs`'s form.

use super::model::Model;
use super::{Real, adam_reduced, distance, factored, fragments, layerwise, sampled};

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
    "adagrad_norm" layerwise::adagrad_norm, [lr 0.01, beta 1.0], [];
    "adagrad_rowwise" layerwise::adagrad_rowwise,
        [lr 0.01, lr_decay 0.0, weight_decay 0.0, initial_accumulator_value 0.0, eps 1e-10, maximize 0.0], [];
    "adamp" adam_reduced::adamp,
        [lr 1e-3, beta1 0.9, beta2 0.999, eps 1e-8, weight_decay 0.0, delta 0.1, wd_ratio 0.1, nesterov 0.0], [];
    "cautious_adamw" adam_reduced::cautious_adamw,
        [lr 1e-3, beta1 0.9, beta2 0.999, eps 1e-8, weight_decay 0.01], [];
    "clip_adamw" adam_reduced::clip_adamw,
        [lr 1e-3, beta1 0.9, beta2 0.999, eps 1e-8, weight_decay 0.01, maximize 0.0, max_norm 1.0], [];
    "fromage" layerwise::fromage, [lr 0.01], [];
    "lamb" layerwise::lamb, [lr 1e-3, beta1 0.9, beta2 0.999, eps 1e-6, weight_decay 0.01], [];
    "lars" layerwise::lars,
        [lr 1.0, momentum 0.9, trust_coefficient 1e-3, eps 1e-8, weight_decay 0.0, nesterov 0.0], [];
    "mars_adamw" adam_reduced::mars_adamw,
        [lr 3e-3, beta1 0.95, beta2 0.99, eps 1e-8, weight_decay 0.0, gamma 0.025], [];
    "novograd" layerwise::novograd,
        [lr 0.01, beta1 0.95, beta2 0.98, eps 1e-8, weight_decay 0.0, grad_averaging 0.0], [];
    "schedule_free_adamw" sampled::schedule_free_adamw,
        [lr 2.5e-3, beta1 0.9, beta2 0.999, eps 1e-8, weight_decay 0.0, warmup_steps 0.0, r 0.0, weight_lr_power 2.0], [];
    "schedule_free_sgd" sampled::schedule_free_sgd,
        [lr 1.0, momentum 0.9, weight_decay 0.0, warmup_steps 0.0, r 0.0, weight_lr_power 2.0], [];
    "sgld" sampled::sgld, [lr 1e-3, weight_decay 0.0, temperature 1.0], [Needs::Normal];
    "sophia" adam_reduced::sophia,
        [lr 1e-4, beta1 0.965, beta2 0.99, gamma 0.01, eps 1e-12, weight_decay 0.1, every 10.0],
        [Needs::Elements("hessian")];
    "stable_adamw" adam_reduced::stable_adamw, [lr 1e-3, beta1 0.9, beta2 0.99, eps 1e-6, weight_decay 0.01], [];
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

    // Those of `SMALL`.
    "adaptive_clip_sgd" fragments::adaptive_clip_sgd, [lr 0.01, clip_factor 0.01, eps 1e-3], [];
    "cautious_momentum" fragments::cautious_momentum, [lr 0.01, momentum 0.9], [];
    "centralize_sgd" fragments::centralize_sgd, [lr 0.01], [];
    "clip_global_norm_sgd" fragments::clip_global_norm_sgd, [lr 0.01, max_norm 1.0], [];
    "clip_norm_sgd" fragments::clip_norm_sgd, [lr 0.01, max_norm 1.0], [];
    "clip_value_sgd" fragments::clip_value_sgd, [lr 0.01, clip_value 1.0], [];
    "decoupled_weight_decay_sgd" fragments::decoupled_weight_decay_sgd, [lr 0.01, weight_decay 0.01], [];
    "ema_sgd" fragments::ema_sgd, [lr 0.01, decay 0.999], [];
    "grokfast_sgd" fragments::grokfast_sgd, [lr 0.01, alpha 0.98, lambd 2.0], [];
    "lookahead_sgd" fragments::lookahead_sgd, [lr 0.01, k 2.0, alpha 0.5], [];
    "noise_sgd" fragments::noise_sgd, [lr 0.01, eta 0.01, gamma 0.55], [Needs::Normal];
}

/// Rules that are not shipped: name and text. Each uses a fragment, so that there is something to step.
pub const SMALL: &[(&str, &str)] = &[
    ("adaptive_clip_sgd", "optimizer adaptive_clip_sgd\nhyper lr = 0.01 in [0, inf)\nuse adaptive_clip\np -= lr * g\n"),
    (
        "cautious_momentum",
        "optimizer cautious_momentum\nhyper lr = 0.01 in [0, inf)\nhyper momentum = 0.9 in [0, 1)\nstate m = 0\n\
         m = momentum*m + g\ng = m\nuse cautious\np -= lr * g\n",
    ),
    ("centralize_sgd", "optimizer centralize_sgd\nhyper lr = 0.01 in [0, inf)\nuse centralize\np -= lr * g\n"),
    (
        "clip_global_norm_sgd",
        "optimizer clip_global_norm_sgd\nhyper lr = 0.01 in [0, inf)\nuse clip_global_norm\np -= lr * g\n",
    ),
    ("clip_norm_sgd", "optimizer clip_norm_sgd\nhyper lr = 0.01 in [0, inf)\nuse clip_norm\np -= lr * g\n"),
    ("clip_value_sgd", "optimizer clip_value_sgd\nhyper lr = 0.01 in [0, inf)\nuse clip_value\np -= lr * g\n"),
    (
        "decoupled_weight_decay_sgd",
        "optimizer decoupled_weight_decay_sgd\nhyper lr = 0.01 in [0, inf)\nuse decoupled_weight_decay\np -= lr * g\n",
    ),
    ("ema_sgd", "optimizer ema_sgd\nhyper lr = 0.01 in [0, inf)\np -= lr * g\nuse ema\n"),
    ("grokfast_sgd", "optimizer grokfast_sgd\nhyper lr = 0.01 in [0, inf)\nuse grokfast\np -= lr * g\n"),
    (
        "lookahead_sgd",
        "optimizer lookahead_sgd\nhyper lr = 0.01 in [0, inf)\nhyper k = 2 in 1..\np -= lr * g\n\
         use lookahead as back(every = 2*k)\n",
    ),
    ("noise_sgd", "optimizer noise_sgd\nhyper lr = 0.01 in [0, inf)\nuse noise\np -= lr * g\n"),
];
