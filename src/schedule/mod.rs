//! Schedules: values of hypers that change with the step.

mod shipped;
pub use shipped::SHIPPED_SCHEDULES;
