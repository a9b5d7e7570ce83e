//! The schedules that are part of the crate.
/// The shipped schedules: name and text, sorted by name.
pub const SHIPPED_SCHEDULES: &[(&str, &str)] = &[];
