//! Damaged files: a typed error and nothing changed, or the state that was written.

use crate::{Random, cases};
use updraft::{Checkpoint, CheckpointError, Error, Optimizer, Rule, Schedule, Tensor};

/// States of every extent, and a schedule with one.
const RULE: &str = "optimizer kept\nhyper lr = 0.5\nstate m = 0\nstate r per row = 0\nstate k per tensor = 0\n\
                    state c per group = 0\nstate n per model = 0\n\nm += g\nif rank >= 2 { r += mean(g^2 per row) }\nk += 1\n\
                    c += 0.5\nn += 1\np -= lr*m*(k + c + n)\n";

fn build() -> Optimizer {
    let plateau: Schedule = "plateau()".parse().unwrap();
    let builder = Rule::parse("kept", RULE).unwrap().optimizer().schedule("lr", plateau).unwrap();
    builder.group("b", "b*", |group| group.set("lr", 0.25)).unwrap().build().unwrap()
}

fn stepped() -> Optimizer {
    let mut opt = build();
    let (mut a, mut b) = (ndarray::Array2::<f32>::ones((2, 3)), [1.0f64; 5]);
    for k in 0..3 {
        let (ga, gb) = (ndarray::Array2::from_elem((2, 3), 0.1 * k as f32), [0.3; 5]);
        opt.step(&mut [Tensor::new("a", &mut a, &ga), Tensor::new("b", &mut b, &gb)]).unwrap();
        opt.input("metric", 1.0).unwrap();
    }
    opt
}

/// One to three changes: a bit, a byte, a cut, bytes taken from elsewhere, bytes put in, a number of the header.
fn mutated(good: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..1 + random.below(3) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len() as u64) as usize;
        let len = (1 + random.below(16) as usize).min(bytes.len() - at);
        match random.below(8) {
            0 | 1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes[at] = random.below(256) as u8,
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..at + len)),
            5 => {
                let from = random.below((bytes.len() - len + 1) as u64) as usize;
                bytes.copy_within(from..from + len, at);
            }
            6 => drop(bytes.splice(at..at, (0..len).map(|_| random.below(256) as u8).collect::<Vec<_>>())),
            _ => {
                let digits: Vec<usize> = (0..bytes.len()).filter(|i| bytes[*i].is_ascii_digit()).collect();
                if let Some(i) = digits.get(random.below(digits.len().max(1) as u64) as usize) {
                    bytes[*i] = b'0' + random.below(10) as u8;
                }
            }
        }
    }
    bytes
}

/// The file with the checksum of what it holds, if that alone was wrong.
fn sealed(file: &[u8]) -> Option<Vec<u8>> {
    let Err(Error::Checkpoint { reason: CheckpointError::Damaged { written, found }, .. }) =
        Checkpoint::from_bytes(file)
    else {
        return None;
    };
    let at = file.windows(written.len().max(1)).position(|window| window == written.as_bytes())?;
    Some([&file[..at], found.as_bytes(), &file[at + written.len()..]].concat())
}

/// Files that somebody has made: a typed error and nothing changed, or a state that is written as it was read.
#[test]
fn forgeries_are_refused_or_are_states() {
    let good = stepped().to_bytes().unwrap();
    let mut random = Random(8);
    let mut opt = build();
    let mut before = opt.to_bytes().unwrap();
    let (mut taken, mut forged, count) = (0, 0, cases(5_000));
    for case in 0..count {
        let Some(file) = sealed(&mutated(&good, &mut random)) else { continue };
        forged += 1;
        match opt.load_bytes(&file) {
            Ok(()) => {
                before = opt.to_bytes().unwrap();
                opt.load_bytes(&before)
                    .unwrap_or_else(|error| panic!("case {case}: what was written is refused: {error}"));
                assert!(opt.to_bytes().unwrap() == before, "case {case}: what was loaded is written otherwise");
                taken += 1;
            }
            Err(Error::Checkpoint { .. }) => {
                assert!(opt.to_bytes().unwrap() == before, "case {case}: a refused file has changed the state");
            }
            Err(other) => panic!("case {case}: {other}"),
        }
    }
    println!("{forged} forged checkpoints: {taken} were states");
    assert!(count < 1_000 || (forged > count / 50 && taken > 0 && taken < forged), "{taken} of {forged}");
}

#[test]
fn damage_is_refused_or_is_none() {
    let good = stepped().to_bytes().unwrap();
    let mut opt = build();
    opt.load_bytes(&good).unwrap();
    opt.end_epoch();
    let before = opt.to_bytes().unwrap();
    let mut random = Random(7);
    let (mut whole, count) = (0, cases(5_000));
    for case in 0..count {
        let bytes = mutated(&good, &mut random);
        match opt.load_bytes(&bytes) {
            Ok(()) => {
                assert!(opt.to_bytes().unwrap() == good, "case {case}: another state was taken");
                whole += 1;
            }
            Err(Error::Checkpoint { .. }) => {
                // Enough to see it once in a while; the next good one would hide nothing, as it is written again.
                if case % 16 == 0 {
                    let now = opt.to_bytes().unwrap();
                    assert!(now == before || now == good, "case {case}: a refused file has changed the state");
                }
            }
            Err(other) => panic!("case {case}: {other}"),
        }
    }
    println!("{count} mutated checkpoints: {} refused, {whole} were as written", count - whole);
    assert!(count < 100 || whole < count / 20, "{whole} of {count} mutations changed nothing");
}
