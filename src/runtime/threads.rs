//! Who runs the tensors of a step, and the pieces of a long sweep: the calling thread, or a pool: the optimizer's own or the host's.
//!
//! What is computed does not depend on it: kernels treat each element alike, and sums have one value however they are cut.

use rayon::prelude::*;

/// The calling thread alone, or a pool.
#[derive(Clone, Copy)]
pub(crate) struct Threads<'a>(pub(crate) Option<&'a rayon::ThreadPool>);

/// The least number of values that are worth a thread's attention: some ten microseconds of work.
const LEAST: usize = 1 << 15;

impl Threads<'_> {
    /// Whether work on so many values, that can be shared out, is.
    pub(crate) fn share(&self, values: usize) -> bool {
        self.0.is_some() && values > LEAST
    }

    /// How long the pieces of a sweep are that may be cut at multiples of `granule`; as long as the sweep, if it is not cut.
    pub(crate) fn piece_len(&self, len: usize, granule: usize) -> usize {
        let Some(pool) = self.0.filter(|_| len > LEAST) else { return len };
        // More pieces than threads, so that one that is held up holds up less.
        let pieces = 2 * pool.current_num_threads();
        let least = len.div_ceil(pieces).max(LEAST);
        least.checked_next_multiple_of(granule).map_or(len, |piece| piece.min(len))
    }

    /// Does something with each, at the same time.
    pub(crate) fn for_each<X: Send>(&self, all: &mut [X], f: impl Fn(&mut X) + Send + Sync) {
        match self.0 {
            None => all.iter_mut().for_each(f),
            Some(pool) => pool.install(|| all.par_iter_mut().for_each(f)),
        }
    }
}
