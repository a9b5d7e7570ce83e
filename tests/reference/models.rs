//! The table of the references in `model.rs`'s form.

use super::model::Model;
use super::{Real, clip};

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
}

/// Rules that are not shipped: each uses a fragment, so that there is something to step.
pub const SMALL: &[(&str, &str)] =
    &[("clip_norm_sgd", "optimizer clip_norm_sgd\nhyper lr = 0.01 in [0, inf)\nuse clip_norm\np -= lr * g\n")];
