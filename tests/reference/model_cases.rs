//! Settings under which every rule of `models.rs` is held to its reference.

use super::cases::Hypers;

/// A rule and its hypers off their defaults. Together the cases of a rule move every hyper and take every branch within 50
/// steps.
pub const MODEL_CASES: &[(&str, Hypers)] =
    &[("clip_norm_sgd", &[]), ("clip_norm_sgd", &[("lr", 0.1), ("max_norm", 4.0)])];
