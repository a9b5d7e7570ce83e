//! Updraft beside other implementations of the same optimizers, on arrays with the same values, measured in turn.

pub mod crates;
pub mod floor;
pub mod hand;
pub mod peer;
pub mod plot;
pub mod rule;

/// Values that look random, normal enough, the same everywhere: sums of uniform numbers.
pub fn values(n: usize, seed: u64, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..n).map(|_| scale * (uniform() + uniform() + uniform() + uniform())).collect()
}

/// The middle one.
pub fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
