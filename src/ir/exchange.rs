//! [`Exchange`]: what a host implements whose tensors are sharded over several processes.
//!
//! Comes in: this process's part of a reduction, as integers that add up, or as numbers of which the greatest counts. Goes
//! out: the same of all processes together. Every process calls the same functions in the same order with slices of the
//! same length, because every plan of a rule has the same phases. Integer sums have one value in any order, so
//! the bits of a sharded step are those of the whole one.

/// An all-reduce over the processes that hold shards of the same tensors.
pub trait Exchange: Send + Sync {
    /// Replaces each number by its sum over all processes, wrapping.
    fn sum(&self, partials: &mut [i64]);

    /// Replaces each number by the greatest of all processes; NaN if any is.
    fn max(&self, values: &mut [f64]);
}

/// One process holds everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Exchange for Alone {
    fn sum(&self, _: &mut [i64]) {}

    fn max(&self, _: &mut [f64]) {}
}
