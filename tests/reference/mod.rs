//! The shipped rules once more, by hand: plain loops over slices, one element at a time.
//!
//! Nothing here knows of the compiler. A reference does what the `.opt` file says under
//! `Math::Strict`, so an engine must agree with it bit for bit:
//! - what depends on hypers and `t` alone is `f64`, in the order written, with `libm`'s functions;
//! - [`Real::of`] rounds it once, where it meets an element;
//! - every operation on elements rounds once, and none is fused.

#![allow(dead_code, reason = "each test crate uses a part")]

mod adam;
mod adam_reduced;
mod adam_variants;
mod adaptive;
pub mod cases;
mod distance;
mod factored;
mod fragments;
mod gradient;
mod layerwise;
pub mod model;
pub mod model_cases;
pub mod models;
mod sampled;
mod sign;
pub mod sums;

use std::fmt::Debug;
use std::ops::{Add, Div, Mul, Neg, Sub};

use adam::{Adam, Adamax, Adamw, Amsgrad, Nadam, Radam};
use adam_variants::{Adabelief, Adabound, Adan, Ademamix, Adopt, Laprop, Qhadam, Yogi};
use adaptive::{Adadelta, Adagrad, Ftrl, Rmsprop};
use gradient::{Asgd, Sgd};
use sign::{Lion, Rprop, Signum};

/// A type that elements are computed in.
pub trait Real:
    Copy
    + Debug
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// The nearest value of this type.
    fn of(scalar: f64) -> Self;
    /// The same value in `f64`.
    fn wide(self) -> f64;
    /// The correctly rounded square root.
    fn sqrt(self) -> Self;
    /// The value without its sign bit.
    fn abs(self) -> Self;
    /// Whether the sign bit is set.
    fn negative(self) -> bool;

    /// 1, -1, else the value itself: zeros keep their sign, NaN stays NaN.
    fn sign(self) -> Self {
        if self > Self::of(0.0) {
            Self::of(1.0)
        } else if self < Self::of(0.0) {
            Self::of(-1.0)
        } else {
            self
        }
    }

    /// The larger value; NaN if either is, and -0 < +0.
    fn max(self, other: Self) -> Self {
        if self.is_nan() || other.is_nan() {
            self + other
        } else if self > other || (self == other && other.negative()) {
            self
        } else {
            other
        }
    }

    /// The smaller value; NaN if either is, and -0 < +0.
    fn min(self, other: Self) -> Self {
        if self.is_nan() || other.is_nan() {
            self + other
        } else if self < other || (self == other && self.negative()) {
            self
        } else {
            other
        }
    }

    /// `min(max(self, low), high)`.
    fn clamp(self, low: Self, high: Self) -> Self {
        self.max(low).min(high)
    }

    /// Whether this is no number.
    fn is_nan(self) -> bool {
        self.partial_cmp(&self).is_none()
    }

    /// Equal to the bit, where all NaNs are one value.
    fn same(self, other: Self) -> bool {
        let equal = self == other && self.negative() == other.negative();
        equal || (self.is_nan() && other.is_nan())
    }
}

macro_rules! real {
    ($T:ident) => {
        impl Real for $T {
            fn of(scalar: f64) -> Self {
                scalar as $T
            }
            fn wide(self) -> f64 {
                self.into()
            }
            fn sqrt(self) -> Self {
                <$T>::sqrt(self)
            }
            fn abs(self) -> Self {
                <$T>::abs(self)
            }
            fn negative(self) -> bool {
                self.is_sign_negative()
            }
        }
    };
}
real!(f32);
real!(f64);

/// `base^t` for a count of steps.
fn power(base: f64, t: u64) -> f64 {
    libm::pow(base, t as f64)
}

/// One step of one tensor.
pub trait Step<T> {
    /// Updates the parameters and the state with one gradient.
    fn step(&mut self, p: &mut [T], g: &[T]);
}

/// A rule with its settings and the state of one tensor.
pub trait Reference<T>: Step<T> {
    /// The names of the element states.
    fn states(&self) -> &'static [&'static str];
    /// The names of the scalar states.
    fn scalars(&self) -> &'static [&'static str];
    /// An element state by name. It is there from the start, whether or not a step touched it.
    fn state(&self, name: &str) -> Option<&[T]>;
    /// A scalar state by name.
    fn scalar(&self, name: &str) -> Option<f64>;
}

/// Declares a rule: hypers and flags with their defaults, states with their first values.
/// Only the formula is left to write.
macro_rules! rule {
    (
        $(#[$doc:meta])*
        $Rule:ident {
            $(hyper $hyper:ident = $default:expr;)*
            $(flag $flag:ident;)*
            $(state $state:ident = $init:expr;)*
            $(scalar $scalar:ident = $first:expr;)*
        }
    ) => {
        $(#[$doc])*
        #[allow(dead_code)] // Some hypers only set where a state starts.
        pub struct $Rule<T> {
            t: u64,
            $($hyper: f64,)*
            $($flag: bool,)*
            $($state: Vec<T>,)*
            $($scalar: f64,)*
        }

        impl<T: $crate::reference::Real> $Rule<T> {
            /// Hypers with their defaults; a flag is 0 or 1.
            pub const HYPERS: &'static [(&'static str, f64)] =
                &[$((stringify!($hyper), $default),)* $((stringify!($flag), 0.0),)*];

            /// The rule before the first step of a tensor of `len` elements.
            pub fn new(hypers: &[(&str, f64)], len: usize) -> Self {
                for (name, _) in hypers {
                    assert!(Self::HYPERS.iter().any(|(known, _)| known == name), "no hyper {name}");
                }
                let set = |name: &str| hypers.iter().find(|(n, _)| *n == name).map(|(_, x)| *x);
                $(let $hyper: f64 = set(stringify!($hyper)).unwrap_or($default);)*
                Self {
                    t: 0,
                    $($state: vec![T::of($init); len],)*
                    $($scalar: $first,)*
                    $($hyper,)*
                    $($flag: set(stringify!($flag)).is_some_and(|x| x != 0.0),)*
                }
            }
        }

        impl<T: $crate::reference::Real> $crate::reference::Reference<T> for $Rule<T> {
            fn states(&self) -> &'static [&'static str] {
                &[$(stringify!($state)),*]
            }
            fn scalars(&self) -> &'static [&'static str] {
                &[$(stringify!($scalar)),*]
            }
            fn state(&self, name: &str) -> Option<&[T]> {
                match name {
                    $(stringify!($state) => Some(&self.$state),)*
                    _ => None,
                }
            }
            fn scalar(&self, name: &str) -> Option<f64> {
                match name {
                    $(stringify!($scalar) => Some(self.$scalar),)*
                    _ => None,
                }
            }
        }
    };
}
use rule;

/// The rules by name.
macro_rules! rules {
    ($($name:literal $Rule:ident,)*) => {
        /// The name of every rule.
        pub const RULES: &[&str] = &[$($name),*];

        /// A rule by name, with hypers off their defaults, for a tensor of `len` elements.
        pub fn reference<T: Real + 'static>(
            rule: &str,
            hypers: &[(&str, f64)],
            len: usize,
        ) -> Box<dyn Reference<T>> {
            match rule {
                $($name => Box::new($Rule::<T>::new(hypers, len)),)*
                _ => panic!("no reference for the rule {rule}"),
            }
        }

        /// A rule's hypers with their defaults; a flag is 0 or 1.
        pub fn hypers(rule: &str) -> &'static [(&'static str, f64)] {
            match rule {
                $($name => $Rule::<f64>::HYPERS,)*
                _ => panic!("no reference for the rule {rule}"),
            }
        }
    };
}

rules! {
    "adabelief" Adabelief,
    "adabound" Adabound,
    "adadelta" Adadelta,
    "adagrad" Adagrad,
    "adam" Adam,
    "adamax" Adamax,
    "adamw" Adamw,
    "adan" Adan,
    "ademamix" Ademamix,
    "adopt" Adopt,
    "amsgrad" Amsgrad,
    "asgd" Asgd,
    "ftrl" Ftrl,
    "laprop" Laprop,
    "lion" Lion,
    "nadam" Nadam,
    "qhadam" Qhadam,
    "radam" Radam,
    "rmsprop" Rmsprop,
    "rprop" Rprop,
    "sgd" Sgd,
    "signum" Signum,
    "yogi" Yogi,
}
