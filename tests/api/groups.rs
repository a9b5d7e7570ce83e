//! Groups: by glob, by closure, the first match, `default`.

use crate::rule;
use updraft::{Error, Rule, Tensor};

const SGD: &str = "hyper lr = 1\n\np -= lr*g\n";

/// The learning rate that a tensor got: each starts at 0 and has the gradient -1.
fn rates(opt: &mut updraft::Optimizer, tensors: &[(&str, &[usize])]) -> Vec<f64> {
    tensors
        .iter()
        .map(|(name, shape)| {
            let mut p = ndarray::ArrayD::<f64>::zeros(*shape);
            let g = p.mapv(|_| -1.0);
            opt.step(&mut [Tensor::new(name, &mut p, &g)]).unwrap();
            p.iter().copied().next().unwrap_or(f64::NAN)
        })
        .collect()
}

#[test]
fn the_first_group_that_matches_has_a_tensor() {
    let mut opt = rule(SGD)
        .optimizer()
        .set("lr", 10.0)
        .unwrap()
        .group("bias", "*.bias", |g| g.set("lr", 2.0))
        .unwrap()
        .group("vectors", |_: &str, shape: &[usize]| shape.len() < 2, |g| g.set("lr", 3.0))
        .unwrap()
        .group("head", String::from("head?*"), |g| g.set("lr", 4.0))
        .unwrap()
        .group("untouched", "body*", |g| Ok(g))
        .unwrap()
        .build()
        .unwrap();
    let tensors: [(&str, &[usize]); 7] = [
        ("l1.bias", &[2]),
        ("l1.scale", &[2]),
        ("head.weight", &[2, 2]),
        ("head.bias", &[2, 2]),
        ("l1.weight", &[2, 2]),
        ("body/weight", &[1, 1]),
        ("encoder/l1.bias", &[1, 1]),
    ];
    assert_eq!(rates(&mut opt, &tensors), [2.0, 3.0, 4.0, 2.0, 10.0, 10.0, 2.0]);
    assert_eq!(opt.groups().collect::<Vec<_>>(), ["bias", "vectors", "head", "untouched", "default"]);
    // All groups at once, then one.
    opt.set("lr", 7.0).unwrap();
    opt.group("head").unwrap().set("lr", 8.0).unwrap();
    assert_eq!(rates(&mut opt, &tensors), [7.0, 7.0, 8.0, 7.0, 7.0, 7.0, 7.0]);
}

#[test]
fn default_can_be_set_by_name() {
    let mut opt = rule(SGD).optimizer().group("a", "a*", |g| g.set("lr", 2.0)).unwrap().build().unwrap();
    opt.group("default").unwrap().set("lr", 5.0).unwrap();
    assert_eq!(rates(&mut opt, &[("a", &[1]), ("b", &[1])]), [2.0, 5.0]);
    assert_eq!(opt.hyper("lr").unwrap().as_f64(), Some(5.0));
}

#[test]
fn what_is_set_for_all_after_a_group_was_added_reaches_it_unless_it_sets_it() {
    let rule = rule("hyper lr = 1\nhyper scale = 1\n\np -= lr*scale*g\n");
    let builder = rule.optimizer().group("a", "a*", |g| g.set("lr", 2.0)).unwrap().set("scale", 3.0).unwrap();
    let mut opt = builder.set("lr", 5.0).unwrap().build().unwrap();
    assert_eq!(rates(&mut opt, &[("a", &[1]), ("b", &[1])]), [6.0, 15.0]);
}

#[test]
fn wrong_groups_are_refused() {
    let builder = || Rule::shipped("adam").unwrap().optimizer();
    for name in ["default", "twice"] {
        let result = builder().group("twice", "a", |g| Ok(g)).unwrap().group(name, "b", |g| Ok(g));
        assert!(matches!(result, Err(Error::DuplicateGroup { group }) if group == name));
    }
    let error = builder().group("g", "a[", |g| Ok(g)).unwrap().build().unwrap_err();
    assert!(matches!(&error, Error::BadPattern { group, pattern, .. } if group == "g" && pattern == "a["), "{error}");
    assert!(matches!(builder().group("g", "a", |g| g.set("lr", -1.0)), Err(Error::HyperOutOfRange { .. })));
    let mut opt = builder().group("g", "a", |g| Ok(g)).unwrap().build().unwrap();
    let error = opt.group("h").map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("the groups are g, default"), "{error}");
}
