//! State files that cannot be used: a typed error, and nothing has changed.

use crate::{Scratch, bytes, rule, values_f32};
use std::collections::BTreeMap;
use updraft::{Error, Optimizer, Rule, Tensor};

const TEXT: &str = "hyper lr = 0.1\nhyper on = true\nstate m = 0\nstate k per tensor = 0\nstate c per group = 0\n\
                    state n per model = 0\n\nn += 1\nc += 1\nk += 1\nif on { m += g }\np -= lr*m*(k + c + n)\n";

fn build(text: &str) -> Optimizer {
    rule(text).optimizer().group("b", "b*", |g| Ok(g)).unwrap().build().unwrap()
}

fn step(opt: &mut Optimizer, p: &mut [Vec<f32>; 2], seed: u64) {
    let [a, b] = p;
    let (ga, gb) = (values_f32(seed, 3), values_f32(seed + 1, 2));
    opt.step(&mut [Tensor::new("a", a, &ga), Tensor::new("b", b, &gb)]).unwrap();
}

/// The bytes of a good file.
fn good() -> Vec<u8> {
    let (mut opt, mut p) = (build(TEXT), [vec![1.0; 3], vec![1.0; 2]]);
    (0..3).for_each(|k| step(&mut opt, &mut p, 10 + k));
    bytes(&opt, "good")
}

/// Loads bytes that must be refused, into an optimizer at work, which must not notice.
fn refused(name: &str, bytes_of_file: &[u8], opt: impl Fn() -> Optimizer) -> String {
    let file = Scratch::new(name);
    std::fs::write(&file.0, bytes_of_file).unwrap();
    let (mut tried, mut untouched) = (opt(), opt());
    let (mut p, mut q) = ([vec![1.0; 3], vec![1.0; 2]], [vec![1.0; 3], vec![1.0; 2]]);
    for k in 0..2 {
        step(&mut tried, &mut p, k);
        step(&mut untouched, &mut q, k);
    }
    let error = tried.load(&file.0).unwrap_err();
    let Error::Checkpoint { path, reason } = error else { panic!("{name}: {error}") };
    assert_eq!(path, file.0);
    assert_eq!(bytes(&tried, name), bytes(&untouched, &format!("{name}-2")), "{name}");
    step(&mut tried, &mut p, 5);
    step(&mut untouched, &mut q, 5);
    assert_eq!((p, bytes(&tried, name)), (q, bytes(&untouched, &format!("{name}-2"))), "{name}");
    reason
}

/// The header as JSON, and the data.
fn parts(bytes: &[u8]) -> (serde_json::Value, Vec<u8>) {
    let (len, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*len) as usize);
    (serde_json::from_slice(header).unwrap(), data.to_vec())
}

fn file(header: &serde_json::Value, data: &[u8]) -> Vec<u8> {
    let header = serde_json::to_vec(header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, data].concat()
}

/// The file with its header changed.
fn changed(change: impl Fn(&mut serde_json::Value)) -> Vec<u8> {
    let (mut header, data) = parts(&good());
    change(&mut header);
    file(&header, &data)
}

/// The same arrays under other names.
fn renamed(from: &str, to: &str) -> Vec<u8> {
    changed(|header| {
        let entry = header.as_object_mut().unwrap().remove(from).unwrap();
        header[to] = entry;
    })
}

#[test]
fn the_file_itself_is_good() {
    let file = Scratch::new("is-good");
    std::fs::write(&file.0, good()).unwrap();
    build(TEXT).load(&file.0).unwrap();
    // Its names are those that DESIGN lists.
    let (header, _) = parts(&good());
    let names: Vec<&str> = header.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = ["/n", "@b/c", "@default/c", "__metadata__", "a/k", "a/m", "a/t", "b/k", "b/m", "b/t"];
    let mut sorted: Vec<&str> = names;
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    let metadata: BTreeMap<String, String> = serde_json::from_value(header["__metadata__"].clone()).unwrap();
    let keys: Vec<&str> = metadata.keys().map(String::as_str).collect();
    assert_eq!(keys, ["flags", "format", "program", "rule", "schedules", "seed"]);
}

#[test]
fn what_is_no_state_file() {
    let missing = std::env::temp_dir().join("updraft-no-such-file");
    assert!(matches!(build(TEXT).load(&missing), Err(Error::Io { path, .. }) if path == missing));
    assert!(matches!(build(TEXT).save(missing.join("x")), Err(Error::Io { .. })));
    let opt = || build(TEXT);
    assert!(refused("empty", b"", opt).contains("safetensors"));
    assert!(refused("text", b"optimizer r\n\np -= g\n and more text", opt).contains("safetensors"));
    assert!(refused("no-metadata", &file(&serde_json::json!({}), b""), opt).contains("metadata"));
    let reason = refused("format", &changed(|h| h["__metadata__"]["format"] = "updraft-9".into()), opt);
    assert!(reason.contains("updraft-9"), "{reason}");
}

#[test]
fn another_rule_another_program_other_flags_other_groups() {
    let sgd = || Rule::shipped("sgd").unwrap().optimizer().group("b", "b*", |g| Ok(g)).unwrap().build().unwrap();
    assert!(refused("rule", &good(), sgd).contains("another rule (r)"));
    let program = || build(&TEXT.replace("lr*m*(", "2*lr*m*("));
    assert!(refused("program", &good(), program).contains("2*lr*m"));
    let flags =
        || rule(TEXT).optimizer().set("on", false).unwrap().group("b", "b*", |g| Ok(g)).unwrap().build().unwrap();
    assert!(refused("flags", &good(), flags).contains("\"on\":true"));
    let groups = || rule(TEXT).optimizer().group("c", "b*", |g| Ok(g)).unwrap().build().unwrap();
    let reason = refused("groups", &good(), groups);
    assert!(reason.contains("groups") && reason.contains("c, default"), "{reason}");
    // Documentation, defaults and hypers are nobody's business.
    let same = TEXT.replace("lr = 0.1", "lr = 0.7  # the rate");
    let file = Scratch::new("same");
    std::fs::write(&file.0, good()).unwrap();
    build(&same).load(&file.0).unwrap();
}

#[test]
fn wrong_entries() {
    let opt = || build(TEXT);
    assert!(refused("no-t", &renamed("a/t", "a/u"), opt).contains("no state `u`"));
    let reason = refused("t-elsewhere", &renamed("a/t", "z/t"), opt);
    assert!(reason.contains("`a`") && reason.contains("steps"), "{reason}");
    assert!(refused("no-slash", &renamed("a/k", "k"), opt).contains("`/`"));
    assert!(refused("model", &renamed("/n", "a/n"), opt).contains("per model"));
    assert!(refused("group", &renamed("@b/c", "@x/c"), opt).contains("b, default"));
    assert!(refused("no-group", &renamed("@b/c", "b/c"), opt).contains("no such group"));
    let shape = |header: &mut serde_json::Value| header["a/m"]["shape"] = serde_json::json!([3, 1]);
    let reason = refused("shape", &changed(shape), opt);
    assert!(reason.contains("[3, 1]") && reason.contains("[3]"), "{reason}");
    // Three f32 are not three of anything else: read them as one and a half f64, or as six i16.
    let half = |header: &mut serde_json::Value| {
        header["a/m"]["dtype"] = "I16".into();
        header["a/m"]["shape"] = serde_json::json!([6]);
    };
    assert!(refused("dtype", &changed(half), opt).contains("f32, f64, bf16 or f16"));
    let wide = |header: &mut serde_json::Value| {
        header["b/m"]["dtype"] = "F64".into();
        header["b/m"]["shape"] = serde_json::json!([1]);
    };
    assert!(refused("wide", &changed(wide), opt).contains("f64"));
    let int = |header: &mut serde_json::Value| header["a/k"]["dtype"] = "U64".into();
    assert!(refused("int", &changed(int), opt).contains("one f64"));
    let float = |header: &mut serde_json::Value| header["a/t"]["dtype"] = "F64".into();
    assert!(refused("float", &changed(float), opt).contains("one u64"));
}

/// Steps that cannot have been taken would overflow some day.
#[test]
fn absurd_steps() {
    let (header, mut data) = parts(&good());
    let offset = header["a/t"]["data_offsets"][0].as_u64().unwrap() as usize;
    data[offset..offset + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(refused("steps", &file(&header, &data), || build(TEXT)).contains("`a/t`"));
    data[offset..offset + 8].copy_from_slice(&0u64.to_le_bytes());
    assert!(refused("no-steps", &file(&header, &data), || build(TEXT)).contains("no steps"));
}

/// Two states of one tensor that has not been seen must be of one shape.
#[test]
fn states_of_one_tensor_that_disagree() {
    let text = "state m = 0\nstate v = 0\n\nm += g\nv += g^2\np -= m/v\n";
    let mut opt = build(text);
    opt.step(&mut [Tensor::new("unseen", &mut [1.0f32; 4], &[0.5; 4])]).unwrap();
    let (mut header, data) = parts(&bytes(&opt, "disagree"));
    header["unseen/v"]["shape"] = serde_json::json!([2, 2]);
    let reason = refused("disagree", &file(&header, &data), || build(text));
    assert!(reason.contains("[2, 2]") && reason.contains("[4]"), "{reason}");
}

#[test]
fn every_truncation_is_refused() {
    let good = good();
    let file = Scratch::new("truncated");
    let mut opt = build(TEXT);
    for len in 0..good.len() {
        std::fs::write(&file.0, &good[..len]).unwrap();
        let error = opt.load(&file.0).unwrap_err();
        assert!(matches!(error, Error::Checkpoint { .. }), "{len}: {error}");
        assert_eq!(opt.steps("a"), 0);
    }
}

/// A flipped bit never panics. The format has no checksum: a flip in the data, or one that makes another good header, is
/// another state. Anything else is refused, and then nothing has changed.
#[test]
fn every_flipped_bit_is_refused_or_is_another_state() {
    let good = good();
    let header = 8 + u64::from_le_bytes(*good.first_chunk::<8>().unwrap()) as usize;
    let path = Scratch::new("flipped");
    let before = bytes(&build(TEXT), "flipped-before");
    let (mut opt, mut accepted) = (build(TEXT), 0);
    for byte in 0..good.len() {
        for bit in 0..8 {
            let mut flipped = good.clone();
            flipped[byte] ^= 1 << bit;
            std::fs::write(&path.0, &flipped).unwrap();
            match opt.load(&path.0) {
                Ok(()) => {
                    accepted += usize::from(byte < header);
                    opt.reset();
                }
                Err(Error::Checkpoint { .. }) => {
                    // Enough to see it once a byte.
                    if bit == 0 {
                        assert_eq!(bytes(&opt, "flipped-after"), before);
                    }
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    // Names of tensors, blanks, the seed and the like; most of the header is compared.
    assert!(accepted < header * 8 / 10, "{accepted} of {} flips of the header were accepted", header * 8);
}
