//! Lists, modes and `given` in the scalar code of an optimizer, in every engine.

use crate::rule;
use updraft::{Engine, Error, HyperValue, Optimizer, Tensor};

fn engines() -> Vec<Engine> {
    vec![
        Engine::Eval,
        #[cfg(feature = "jit")]
        Engine::Jit,
    ]
}

fn each(text: &str, set: &[(&str, HyperValue)], check: impl Fn(&mut Optimizer)) {
    for engine in engines() {
        let builder = rule(text).optimizer().engine(engine);
        let mut opt = set.iter().fold(builder, |b, (name, x)| b.set(name, x.clone()).unwrap()).build().unwrap();
        check(&mut opt);
    }
}

#[test]
fn lists_are_counted_multiplied_and_indexed() {
    let text = "hyper at = [2, 4]\nhyper by = [0.5, 8]\n\n\
                p = count(at <= t) + 10*len(at) + 100*by[count(at <= t) % 2] + 0*g\n";
    each(text, &[], |opt| {
        let values: [f64; 4] = std::array::from_fn(|_| crate::step(opt));
        assert_eq!(values, [70.0, 821.0, 821.0, 72.0]);
        opt.set("at", [1.0]).unwrap();
        assert_eq!(crate::step(opt), 811.0);
        assert!(matches!(opt.set("at", [f64::NAN]).unwrap_err(), Error::HyperOutOfRange { .. }));
    });
}

#[test]
fn a_mode_selects_a_plan_and_is_fixed() {
    let text = "hyper way = one of up | down\nhyper twice = false\n\n\
                if way == up { p = 1 + 0*g } else { p = -1 + 0*g }\nif twice { p *= 2 }\n";
    for (way, twice, want) in [("up", false, 1.0), ("down", false, -1.0), ("down", true, -2.0)] {
        each(text, &[("way", way.into()), ("twice", twice.into())], |opt| {
            assert_eq!([crate::step(opt), crate::step(opt)], [want; 2]);
            assert_eq!(opt.compiled_plans(), 1);
            assert!(matches!(opt.set("way", "up").unwrap_err(), Error::HyperFixed { .. }));
            assert!(matches!(opt.set("twice", true).unwrap_err(), Error::HyperFixed { .. }));
            assert_eq!(crate::step(opt), want);
        });
    }
    let error = rule(text).optimizer().set("way", "left").unwrap_err().to_string();
    assert!(error.contains("one of up, down"), "{error}");
}

#[test]
fn an_input_that_is_guarded_is_needed_only_where_it_is_given() {
    let text = "input loss\n\nif given(loss) { p = loss + 0*g } else { p = -1 + 0*g }\n";
    each(text, &[], |opt| {
        assert_eq!(crate::step(opt), -1.0);
        opt.input("loss", 3.0).unwrap();
        assert_eq!(crate::step(opt), 3.0);
        assert_eq!(crate::step(opt), -1.0);
    });
    each("input loss\n\np = loss + 0*g\n", &[], |opt| {
        let error = opt.step(&mut [Tensor::new("w", &mut [0.0f64], &[0.0])]).unwrap_err();
        assert!(matches!(error, Error::MissingInput { .. }), "{error}");
    });
}
