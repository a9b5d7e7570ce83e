//! Numbers that look random: the network's start and the order of the images.
//!
//! In comes a seed; out come draws that are the same on every host and in every release, because the generator is ChaCha8
//! and everything made of it is made here, in integer and exactly rounded operations.
//!
//! Each purpose has a stream of its own, so the order of epoch 3 depends on the seed and on nothing that was drawn before.
//! It is deliberately not the generator of rules (`uniform()` in a rule file): the two share no draws.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What draws are for.
pub(super) enum Purpose {
    /// The parameters before the first step.
    Start,
    /// The order of the images in an epoch, counted from 0.
    Order { epoch: usize },
}

/// A generator for one purpose under one seed.
pub(super) fn generator(seed: u64, purpose: Purpose) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(match purpose {
        Purpose::Start => 0,
        Purpose::Order { epoch } => epoch as u64 + 1,
    });
    random
}

/// A multiple of 2^-23 in [-1, 1), every one of them equally likely.
pub(super) fn symmetric(random: &mut impl Rng) -> f32 {
    const STEPS: f32 = (1 << 23) as f32;
    (random.next_u32() >> 8) as f32 / STEPS - 1.0
}

/// Puts `items` in random order (Fisher and Yates).
pub(super) fn shuffle(items: &mut [u32], random: &mut impl Rng) {
    for last in (1..items.len()).rev() {
        // The high half of a 64 by 64 bit product: an index up to `last`, with a bias below 2^-32 for any set we accept.
        let index = (u128::from(random.next_u64()) * (last as u128 + 1)) >> 64;
        items.swap(last, index as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frozen draws: if these change, every published figure of the trainer changes with them.
    #[test]
    fn draws_never_change() {
        let mut start = generator(0, Purpose::Start);
        let draws = [(); 4].map(|()| symmetric(&mut start));
        assert_eq!(draws, [0.30939424, 0.41815078, 0.45973969, -0.0681566]);
        let mut items: Vec<u32> = (0..10).collect();
        shuffle(&mut items, &mut generator(0, Purpose::Order { epoch: 0 }));
        assert_eq!(items, [5, 1, 9, 0, 3, 2, 8, 4, 6, 7]);
    }

    #[test]
    fn every_order_is_equally_likely() {
        let mut random = generator(1, Purpose::Start);
        let mut counts = [[0_u32; 4]; 4];
        for _ in 0..4000 {
            let mut items = [0, 1, 2, 3];
            shuffle(&mut items, &mut random);
            items.iter().enumerate().for_each(|(place, &item)| counts[place][item as usize] += 1);
        }
        assert!(counts.iter().flatten().all(|count| (880..1120).contains(count)), "{counts:?}");
    }

    #[test]
    fn symmetric_fills_its_interval() {
        let mut random = generator(2, Purpose::Start);
        let draws: Vec<f32> = (0..10_000).map(|_| symmetric(&mut random)).collect();
        assert!(draws.iter().all(|draw| (-1.0..1.0).contains(draw)));
        assert!(draws.iter().any(|&draw| draw < -0.999) && draws.iter().any(|&draw| draw > 0.999));
        assert!((draws.iter().sum::<f32>() / 10_000.0).abs() < 0.02);
    }

    #[test]
    fn seeds_and_epochs_differ() {
        let first = |seed, purpose| generator(seed, purpose).next_u64();
        let draws = [
            first(0, Purpose::Start),
            first(1, Purpose::Start),
            first(0, Purpose::Order { epoch: 0 }),
            first(0, Purpose::Order { epoch: 1 }),
        ];
        for (index, draw) in draws.iter().enumerate() {
            assert!(!draws[..index].contains(draw));
        }
    }
}
