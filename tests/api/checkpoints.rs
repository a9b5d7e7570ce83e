//! Checkpoints: what they hold, what is refused and then changes nothing, and what a migration takes over.

use crate::{Scratch, bytes, optimizer, rule, values_f32};
use std::collections::BTreeMap;
use updraft::{Checkpoint, Error, Math, Optimizer, Restore, Rule, StateValues, Tensor};

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
    bytes(&opt)
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
    assert_eq!(path.as_ref(), Some(&file.0));
    assert_eq!(bytes(&tried), bytes(&untouched), "{name}");
    step(&mut tried, &mut p, 5);
    step(&mut untouched, &mut q, 5);
    assert_eq!((p, bytes(&tried)), (q, bytes(&untouched)), "{name}");
    reason.to_string()
}

/// The header as JSON, and the data.
fn parts(bytes: &[u8]) -> (serde_json::Value, Vec<u8>) {
    let (len, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*len) as usize);
    (serde_json::from_slice(header).unwrap(), data.to_vec())
}

/// A file of these parts, with the checksum that its contents have.
fn file(header: &serde_json::Value, data: &[u8]) -> Vec<u8> {
    let mut header = header.clone();
    if let Some(metadata) = header.get_mut("__metadata__").and_then(|metadata| metadata.as_object_mut()) {
        metadata.remove("checksum");
        let sum = checksum(&header, data);
        header["__metadata__"]["checksum"] = sum.into();
    }
    unsealed(&header, data)
}

/// The checksum as it is described, written once more.
fn checksum(header: &serde_json::Value, data: &[u8]) -> String {
    let mut all = Vec::new();
    let mut add = |bytes: &[u8]| {
        all.extend((bytes.len() as u64).to_le_bytes());
        all.extend(bytes);
    };
    let header: BTreeMap<String, serde_json::Value> = serde_json::from_value(header.clone()).unwrap();
    let metadata: BTreeMap<String, String> = serde_json::from_value(header["__metadata__"].clone()).unwrap();
    for (key, text) in &metadata {
        add(key.as_bytes());
        add(text.as_bytes());
    }
    for (name, entry) in header.iter().filter(|(name, _)| *name != "__metadata__") {
        let numbers = |key: &str| -> Vec<u64> { serde_json::from_value(entry[key].clone()).unwrap() };
        let mut add = |bytes: &[u8]| {
            all.extend((bytes.len() as u64).to_le_bytes());
            all.extend(bytes);
        };
        add(name.as_bytes());
        add(entry["dtype"].as_str().unwrap().as_bytes());
        let shape = numbers("shape");
        all.extend((shape.len() as u64).to_le_bytes());
        shape.iter().for_each(|n| all.extend(n.to_le_bytes()));
        let range = numbers("data_offsets");
        let data = &data[range[0] as usize..range[1] as usize];
        all.extend((data.len() as u64).to_le_bytes());
        all.extend(data);
    }
    format!("xxh3-128:{:032x}", twox_hash::XxHash3_128::oneshot(&all))
}

fn unsealed(header: &serde_json::Value, data: &[u8]) -> Vec<u8> {
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
    let all =
        ["checksum", "flags", "format", "groups", "host", "hypers", "program", "rule", "schedules", "seed", "set"];
    assert_eq!(keys, all);
    assert_eq!(metadata["groups"], r#"{"b":["b"],"default":["a"]}"#);
    assert_eq!(metadata["hypers"], r#"{"b":{"lr":"0.1","on":"true"},"default":{"lr":"0.1","on":"true"}}"#);
    assert_eq!(metadata["set"], r#"{"b":[],"default":[]}"#);
    // Nothing was sealed anew here.
    assert_eq!(metadata["checksum"], {
        let mut header = header.clone();
        header["__metadata__"].as_object_mut().unwrap().remove("checksum");
        checksum(&header, &parts(&good()).1)
    });
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
    assert!(refused("rule", &good(), sgd).contains("another rule: `r`"));
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
    assert!(refused("no-t", &renamed("a/t", "a/u"), opt).contains("stored as U64"));
    assert!(refused("no-state", &renamed("a/k", "a/u"), opt).contains("no state `u`"));
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
    assert!(refused("dtype", &changed(half), opt).contains("F32, F64, BF16 or F16"));
    let wide = |header: &mut serde_json::Value| {
        header["b/m"]["dtype"] = "F64".into();
        header["b/m"]["shape"] = serde_json::json!([1]);
    };
    assert!(refused("wide", &changed(wide), opt).contains("f64"));
    let int = |header: &mut serde_json::Value| header["a/k"]["dtype"] = "U64".into();
    assert!(refused("int", &changed(int), opt).contains("stored as U64"));
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
    let (mut header, data) = parts(&bytes(&opt));
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

/// No bit of a file may change, but for blanks in its header.
#[test]
fn every_flipped_bit_is_refused() {
    let good = good();
    let before = bytes(&build(TEXT));
    let mut opt = build(TEXT);
    for byte in 0..good.len() {
        for bit in 0..8 {
            let mut flipped = good.clone();
            flipped[byte] ^= 1 << bit;
            match opt.load_bytes(&flipped) {
                Ok(()) => {
                    assert!(good[byte].is_ascii_whitespace() && flipped[byte].is_ascii_whitespace(), "{byte}, {bit}");
                    opt.reset();
                }
                Err(Error::Checkpoint { path: None, .. }) => assert_eq!(opt.steps("a"), 0),
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert_eq!(bytes(&opt), before);
}

#[test]
fn a_changed_number_is_told_from_another_state_by_the_checksum() {
    let (header, mut data) = parts(&good());
    data[0] ^= 1;
    let reason = refused("damaged", &unsealed(&header, &data), || build(TEXT));
    assert!(reason.contains("damaged") && reason.contains("checksum") && reason.contains("earlier copy"), "{reason}");
    let mut without = header.clone();
    without["__metadata__"].as_object_mut().unwrap().remove("checksum");
    let reason = refused("no-checksum", &unsealed(&without, &data), || build(TEXT));
    assert!(reason.contains("no `checksum`"), "{reason}");
    // Another tool may lay the header out in another way.
    let (header, data) = parts(&good());
    let mut spaced = serde_json::to_vec_pretty(&header).unwrap();
    spaced.resize(spaced.len().next_multiple_of(8), b' ');
    let file = [&(spaced.len() as u64).to_le_bytes()[..], &spaced, &data].concat();
    build(TEXT).load_bytes(&file).unwrap();
}

/// Text is for people: which lines of the rule have changed.
#[test]
fn another_version_of_the_rule_is_refused_with_the_difference() {
    let now = TEXT.replace("state k per tensor = 0", "state k per tensor = 1").replace("lr*m*(", "2*lr*m*(");
    let error = build(&now).load_bytes(&good()).unwrap_err().to_string();
    insta::assert_snapshot!(error);
    let sgd = Rule::shipped("sgd").unwrap();
    let error = sgd.optimizer().build().unwrap().load_bytes(&good()).unwrap_err().to_string();
    assert!(error.contains("another rule: `r`, and this is `sgd`") && !error.contains("migration"), "{error}");
}

/// States that both versions have are taken over, the others begin or end, and both are listed.
#[test]
fn a_migration_takes_over_what_both_have() {
    let now = "hyper lr = 0.1\nhyper on = true\nhyper decay = 0.5\nstate m = 0\nstate k per row = 7\nstate v = p\n\n\
               if rank >= 2 { k += sum(g) }\nif on { m += decay*g }\nv += g\np -= lr*m*v\n";
    let (mut opt, mut p) = (build(TEXT), [vec![1.0; 3], vec![1.0; 2]]);
    step(&mut opt, &mut p, 1);
    opt.group("b").unwrap().set("lr", 0.7).unwrap();
    let checkpoint = opt.checkpoint();
    let build = || rule(now).optimizer().math(Math::Strict).group("c", "b*", |g| Ok(g)).unwrap().build().unwrap();
    let mut new = build();
    let before = bytes(&new);
    assert!(new.restore(&checkpoint, Restore::default()).is_err());
    assert_eq!(bytes(&new), before);
    let migration = new.restore(&checkpoint, Restore { migrate: true, ..Restore::default() }).unwrap();
    insta::assert_snapshot!(migration);
    let states = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    assert_eq!(
        (migration.added, migration.removed, migration.restarted),
        (states(&["v"]), states(&["c", "n"]), states(&["k"]))
    );
    assert_eq!((new.steps("a"), new.state("a", "m")), (1, opt.state("a", "m")));
    assert_eq!((new.state("a", "v"), new.state("a", "k")), (None, None));
    // What comes is as if it had always been so: m from then, v from its first value.
    let (mut a, g) = (p[0].clone(), values_f32(9, 3));
    let Some(StateValues::F32(m)) = opt.state("a", "m") else { panic!("a has an m") };
    let expected: Vec<f32> = (0..3)
        .map(|i| {
            let (m, v) = (m[i] + 0.5 * g[i], a[i] + g[i]);
            a[i] - 0.1 * m * v
        })
        .collect();
    new.step(&mut [Tensor::new("a", &mut a, &g)]).unwrap();
    assert_eq!(a, expected);
    // And a checkpoint of it is one of the new rule.
    let saved = new.checkpoint();
    assert!(saved.program().contains("state v") && !saved.program().contains("state n"));
    let mut again = build();
    again.restore(&saved, Restore::default()).unwrap();
    assert_eq!(bytes(&again), saved.to_bytes().unwrap());
}

#[test]
fn hypers_come_back_unless_they_are_to_stay() {
    let text = "hyper a = 1 in [0, 10]\nhyper b = 2*a\nhyper mode = one of slow | fast\nhyper list = [1, 2]\nhyper big = inf\n\n\
                p -= a*b*g*len(list)\nif mode == fast { p -= g }\nif big < 1 { p -= 1 }\n";
    let build = |text: &str| rule(text).optimizer().group("b", "b*", |g| Ok(g)).unwrap().build().unwrap();
    let mut opt = build(text);
    opt.set("a", 3.0).unwrap();
    opt.set("list", [4.0, 5.0, 6.0]).unwrap();
    opt.group("b").unwrap().set("b", 0.1 + 0.2).unwrap();
    let checkpoint = opt.checkpoint();
    let values = |opt: &mut Optimizer, group: &str| {
        ["a", "b", "mode", "list", "big"].map(|name| opt.group(group).unwrap().hyper(name).unwrap())
    };
    let mut resumed = build(text);
    resumed.set("a", 9.0).unwrap();
    resumed.restore(&checkpoint, Restore { hypers: false, migrate: false }).unwrap();
    assert_eq!(resumed.hyper("a").unwrap(), 9.0.into());
    resumed.restore(&checkpoint, Restore::default()).unwrap();
    for group in ["default", "b"] {
        assert_eq!(values(&mut resumed, group), values(&mut opt, group));
    }
    // What followed from a default follows from it still.
    resumed.set("a", 4.0).unwrap();
    assert_eq!(resumed.hyper("b").unwrap(), 8.0.into());
    assert_eq!(resumed.group("b").unwrap().hyper("b").unwrap(), (0.1 + 0.2).into());
    // A default that has changed since does not change the run.
    let mut changed = build(&text.replace("2*a", "5*a"));
    changed.restore(&checkpoint, Restore::default()).unwrap();
    assert_eq!(values(&mut changed, "default"), values(&mut opt, "default"));
    // A value that the rule does not take any more is refused, and nothing has changed.
    let mut narrow = build(&text.replace("[0, 10]", "[0, 2]"));
    let before = bytes(&narrow);
    let error = narrow.restore(&checkpoint, Restore { migrate: true, ..Restore::default() }).unwrap_err().to_string();
    assert!(error.contains("hypers") && error.contains("`a`"), "{error}");
    assert_eq!(bytes(&narrow), before);
}

#[test]
fn what_is_decided_when_building_is_built_as_it_was() {
    let text = "hyper n = 2 in 1.. fixed\nstate m = 0\n\nif n > 1 { m += g }\np -= m\n";
    let mut opt = rule(text).optimizer().set("n", 3.0).unwrap().build().unwrap();
    opt.step(&mut [Tensor::new("a", &mut [1.0f32], &[0.5])]).unwrap();
    let checkpoint = opt.checkpoint();
    let mut other = optimizer(text);
    let error = other.restore(&checkpoint, Restore::default()).unwrap_err().to_string();
    assert!(error.contains("`n` was 3 and is 2 now") && error.contains("when building"), "{error}");
    let migration = other.restore(&checkpoint, Restore { migrate: true, ..Restore::default() }).unwrap();
    assert_eq!(migration.other, ["`n` was 3 and is 2 now"]);
}

/// Hypers are a group's, so a tensor that has moved would go on with other ones.
#[test]
fn tensors_stay_in_their_groups() {
    let build = |pattern: &str| rule(TEXT).optimizer().group("b", pattern, |g| Ok(g)).unwrap().build().unwrap();
    let good = good();
    let mut moved = build("a*");
    moved.load_bytes(&good).unwrap();
    let before = bytes(&moved);
    let error = moved.step(&mut [Tensor::new("a", &mut [1.0f32; 3], &[0.5; 3])]).unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, Error::GroupChanged { .. }), "{message}");
    assert!(message.contains("`a` was in the group `default`") && message.contains("is in `b`"), "{message}");
    assert_eq!(bytes(&moved), before);
    let mut known = build("a*");
    known.register("a", &[3], updraft::Storage::F32).unwrap();
    let error = known.load_bytes(&good).unwrap_err().to_string();
    assert!(error.contains("`a` was in the group `default`, and is in `b` now"), "{error}");
    let checkpoint = Checkpoint::from_bytes(&good).unwrap();
    known.restore(&checkpoint, Restore { migrate: true, ..Restore::default() }).unwrap();
    assert_eq!(known.steps("a"), 3);
}

/// The host's parameters, arrays and text travel with the rest, whatever they are called, and the optimizer leaves them be.
#[test]
fn hosts_add_what_is_theirs() {
    let (mut opt, mut p) = (build(TEXT), [vec![1.0; 3], vec![1.0; 2]]);
    step(&mut opt, &mut p, 1);
    let mut checkpoint = opt.checkpoint();
    checkpoint.put_param("a", &[3], &p[0]).unwrap();
    checkpoint.put_param("a/m", &[2, 1], &[half::bf16::ONE; 2]).unwrap();
    checkpoint.put_array("losses", &[2], &[0.5, f64::NAN]).unwrap();
    checkpoint.put_text("epoch", "\"3\"");
    checkpoint.put_text("rule", "mine");
    for (shape, len) in [(&[2, 2][..], 3), (&[usize::MAX, 2], 0), (&[], 0)] {
        assert!(matches!(checkpoint.put_array("x", shape, &vec![0.0f32; len]), Err(Error::ArrayShape { .. })));
    }
    let bytes_of_file = checkpoint.to_bytes().unwrap();
    let read = Checkpoint::from_bytes(&bytes_of_file).unwrap();
    assert_eq!(read.to_bytes().unwrap(), bytes_of_file);
    assert_eq!(read.param("a"), Some((&[3][..], StateValues::F32(&p[0]))));
    assert_eq!(read.param("a/m"), Some((&[2, 1][..], StateValues::Bf16(&[half::bf16::ONE; 2]))));
    assert_eq!(read.param("b"), None);
    let Some((&[2], StateValues::F64(losses))) = read.array("losses") else { panic!("losses are missing") };
    assert!(losses[0] == 0.5 && losses[1].is_nan());
    assert_eq!((read.text("epoch"), read.text("rule"), read.text("x")), (Some("\"3\""), Some("mine"), None));
    assert_eq!((read.rule(), read.steps("a"), read.steps("z")), ("r", 1, 0));
    assert_eq!(read.tensors().collect::<Vec<_>>(), ["a", "b"]);
    let mut resumed = build(TEXT);
    resumed.restore(&read, Restore::default()).unwrap();
    assert_eq!(bytes(&resumed), bytes(&opt));
}

/// A part of a tensor lies within it, or random numbers and sums would be those of other elements.
#[test]
fn parts_that_lie_outside_of_their_tensor() {
    for (first, len) in [(2, 3), (0, 3), (4, 0), (u64::MAX, 1), (1, u64::MAX)] {
        let shards = serde_json::json!({"a": {"shape": [3], "first": first, "len": len}}).to_string();
        let reason =
            refused("shards", &changed(|h| h["__metadata__"]["shards"] = shards.clone().into()), || build(TEXT));
        assert!(reason.contains("`shards`") && reason.contains("outside"), "{first}, {len}: {reason}");
    }
}

/// A tensor that is only registered takes the part that the file has.
#[test]
fn a_registered_tensor_takes_the_part_of_the_file() {
    let mut opt = build(TEXT);
    let step = |opt: &mut Optimizer| {
        let mut a = [1.0f32; 2];
        opt.step(&mut [Tensor::new("a", &mut a, &[0.5; 2]).shard(&[6], 3)]).unwrap();
        a
    };
    step(&mut opt);
    let mut registered = build(TEXT);
    registered.register("a", &[6], updraft::Storage::F32).unwrap();
    registered.load_bytes(&bytes(&opt)).unwrap();
    assert_eq!(bytes(&registered), bytes(&opt));
    assert_eq!(step(&mut registered), step(&mut opt));
    // And the other way round: what has been kept for a part is not that of the whole.
    let mut whole = build(TEXT);
    whole.step(&mut [Tensor::new("a", &mut [1.0f32; 6], &[0.5; 6])]).unwrap();
    let error = opt.load_bytes(&bytes(&whole)).unwrap_err().to_string();
    assert!(error.contains("`a` was another part of its tensor"), "{error}");
}

/// What the host joins to a rule decides its bits as much as the rule.
#[test]
fn host_options_are_those_of_then() {
    let rule = rule(TEXT);
    let build = |decay: f64| rule.optimizer().average(decay).unwrap().build().unwrap();
    let mut opt = build(0.5);
    opt.step(&mut [Tensor::new("a", &mut [1.0f32], &[0.5])]).unwrap();
    let checkpoint = opt.checkpoint();
    build(0.5).restore(&checkpoint, Restore::default()).unwrap();
    let others = [
        ("`average` was 0.5 when it was written, and is 0.9 now", build(0.9)),
        ("`math` was fast", rule.optimizer().math(Math::Strict).average(0.5).unwrap().build().unwrap()),
        ("`skip_nonfinite` was false", rule.optimizer().skip_nonfinite(true).average(0.5).unwrap().build().unwrap()),
        ("`unscale` was false", rule.optimizer().unscale(true).average(0.5).unwrap().build().unwrap()),
    ];
    for (expected, mut other) in others {
        let error = other.restore(&checkpoint, Restore::default()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        let migration = other.restore(&checkpoint, Restore { migrate: true, ..Restore::default() }).unwrap();
        assert!(migration.other.len() == 1 && migration.other[0].starts_with(expected), "{:?}", migration.other);
    }
}

/// What was given for a step that never came is not of the run that is restored.
#[test]
fn inputs_are_forgotten() {
    let text = "input x = 1\n\np -= x*g\n";
    let mut opt = optimizer(text);
    let bytes = bytes(&opt);
    opt.input("x", 5.0).unwrap();
    opt.load_bytes(&bytes).unwrap();
    let mut a = [1.0f32];
    opt.step(&mut [Tensor::new("a", &mut a, &[0.5])]).unwrap();
    assert_eq!(a, [0.5]);
}

#[test]
fn earlier_files_are_kept_on_request() {
    let file = Scratch::new("kept");
    let (mut opt, mut p) = (build(TEXT), [vec![1.0; 3], vec![1.0; 2]]);
    let mut written = Vec::new();
    for k in 0..4 {
        step(&mut opt, &mut p, k);
        opt.checkpoint().save_keeping(&file.0, 2).unwrap();
        written.push(bytes(&opt));
    }
    let numbered = |n: usize| std::path::PathBuf::from(format!("{}.{n}", file.0.display()));
    assert_eq!(std::fs::read(&file.0).unwrap(), written[3]);
    assert_eq!([1, 2].map(|n| std::fs::read(numbered(n)).unwrap()), [written[2].clone(), written[1].clone()]);
    assert!(!numbered(3).exists());
    [1, 2].into_iter().for_each(|n| std::fs::remove_file(numbered(n)).unwrap());
}
