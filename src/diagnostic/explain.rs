//! What each code means, for a person who has just met it.
//!
//! Comes in: a [`Code`]. Goes out: an [`Explanation`]: a few sentences, a minimal rule file that has exactly this finding (in a
//! file called `example.opt`), and the same file mended. Tests run every example. A limit that no short file can exceed has no
//! bad example.

use super::Code;

/// A code explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What it means, why it matters, and what to do.
    pub what: &'static str,
    /// A whole file with this finding and no other; `None` for limits that no short file can exceed.
    pub bad: Option<&'static str>,
    /// A whole file without any finding.
    pub good: &'static str,
}

/// A file without any finding, for limits.
const PLAIN: &str = "optimizer example\nhyper lr = 1e-3 in [0, inf)\np -= lr * g\n";

impl Code {
    /// What this code means, with examples.
    ///
    /// ```
    /// let explanation = updraft::Code::UnexpectedToken.explain();
    /// assert!(explanation.good.starts_with("optimizer example\n"));
    /// ```
    pub fn explain(self) -> Explanation {
        let (what, bad, good) = match self {
            Code::SourceTooLong => (
                "A rule file may have 256 KiB, one statement 32768 words and signs. An update rule is a page of formulas, so a longer file is probably not a rule: \
                 check the path. If a program writes your rules, let it use `def` and `let` instead of repeating formulas.",
                None,
                PLAIN,
            ),
            Code::NestingTooDeep => (
                "Brackets, blocks, prefix operators, `^` and `if then else` may nest 64 deep, all counted together. The limit \
                 keeps every stage of the compiler within a small stack, on any thread of your program. Chains such as \
                 `a + b + c` do not nest and may be as long as you like. Give inner parts names with `let`.",
                None,
                PLAIN,
            ),
            Code::UnclosedBracket => (
                "A `(` or `[` has no partner. A statement goes on over line ends while a bracket is open, so it was taken to \
                 end where it plainly could not go on: at a blank line, at a brace, or where the next statement begins. Close \
                 the bracket where you meant it to end.",
                Some("optimizer example\nhyper lr = 1e-3 in [0, inf)\ng *= (1 + lr\np -= lr * g\n"),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\ng *= (1 + lr)\np -= lr * g\n",
            ),
            Code::UnmatchedBrace => (
                "A `{` or `}` has no partner. Every block begins with `{` at the end of the line of its `if` or `else` and \
                 ends with `}`. If the message points at a `{`, its `}` is missing somewhere below; if it points at a `}`, \
                 there is one too many or a `{` is missing above.",
                Some("optimizer example\nhyper lr = 1e-3 in [0, inf)\nif t > 10 {\n    p -= lr * g\n"),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\nif t > 10 {\n    p -= lr * g\n}\n",
            ),
            Code::UnterminatedText => (
                "A text begins with `\"` and must end with `\"` on the same line. Without the second quote the rest of the \
                 line would be part of the text, comments included.",
                Some(
                    "optimizer example\nhyper lr = 1e-3 in [0, inf)\nrequire lr < 1, \"lr is the size of a step\np -= lr * g\n",
                ),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\nrequire lr < 1, \"lr is the size of a step\"\np -= lr * g\n",
            ),
            Code::UnexpectedToken => (
                "The line is not a declaration or a statement of the language from this place on. The message says what \
                 could have stood there, and the help line what to type if the mistake is a common one. A product needs its \
                 `*`, a power is `^`, conditions are joined with `and` and `or`, and there is one statement on a line. In a call \
                 of a schedule every argument has its name, `cosine(at = s)`; in a call of a function none has.",
                Some("optimizer example\nhyper lr = 1e-3 in [0, inf)\np -= 2 lr * g\n"),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\np -= 2 * lr * g\n",
            ),
            Code::MalformedNumber => (
                "Numbers are written `1`, `0.5` or `1e-3`: digits on both sides of the point, no grouping, no suffix. A \
                 number that can be read in one way only cannot be misread, neither by people nor by the interval `1..`.",
                Some("optimizer example\nhyper lr = .001 in [0, inf)\np -= lr * g\n"),
                "optimizer example\nhyper lr = 0.001 in [0, inf)\np -= lr * g\n",
            ),
            Code::MisplacedHeader => (
                "A file holds one rule. Its first line, after comments, says what it is and what it is called: \
                 `optimizer NAME`, `fragment NAME` or `schedule NAME`. This file has no such line, or more than one, or \
                 something stands before it.",
                Some("hyper lr = 1e-3 in [0, inf)\noptimizer example\np -= lr * g\n"),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\np -= lr * g\n",
            ),
            Code::WrongFileName => (
                "The name in the header is not the name of the file. Rules are found by the names of their files, so two \
                 names for one rule would let a file say it is something that it is not. Rename one of the two.",
                Some("optimizer another\nhyper lr = 1e-3 in [0, inf)\np -= lr * g\n"),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\np -= lr * g\n",
            ),
            Code::UnknownName => (
                "Nothing of this name is declared before this place. The parameter is `p`, the gradient `g`, the number of \
                 the step `t`; everything else is a `hyper`, a `state`, an `input` or a `let` of yours, and a `let` inside a \
                 block ends with the block. Check the spelling, or declare it.",
                Some("optimizer example\nhyper lr = 1e-3 in [0, inf)\np -= lr * grad\n"),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\np -= lr * g\n",
            ),
            Code::UnknownFunction => (
                "There is no function of this name: neither a built-in one (`sqrt`, `abs`, `max` and so on) nor a `def` of \
                 yours. In a schedule, nor is a schedule called so, beside it or among the shipped ones. Only functions can be \
                 called; a product needs its `*`.",
                Some("optimizer example\nhyper lr = 1e-3 in [0, inf)\np -= lr * sgn(g)\n"),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\np -= lr * sign(g)\n",
            ),
            Code::UnknownExtent => (
                "What follows `per` is not an extent. A value exists once per `model`, `group`, `tensor`, `matrix`, `row`, \
                 `col`, `unit` or `element`; that is what decides how much memory it takes and where it may be used.",
                Some("optimizer example\nhyper lr = 1e-3 in [0, inf)\nlet rate per layer = 2 * lr\np -= rate * g\n"),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\nlet rate per tensor = 2 * lr\np -= rate * g\n",
            ),
            Code::DuplicateName => (
                "The same name is declared twice. Every name means one thing in a file, so that a formula can be read \
                 without knowing where it stands. Choose another name; to change a value, assign to it without `let`.",
                Some(
                    "optimizer example\nhyper lr = 1e-3 in [0, inf)\nlet rate = 2 * lr\nlet rate = rate / t\np -= rate * g\n",
                ),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\nlet rate = 2 * lr\nlet slower = rate / t\np -= slower * g\n",
            ),
            Code::ReservedName => (
                "A name of your own cannot be a keyword or a built-in name such as `p`, `g`, `t`, `sqrt` or `inf`. They mean \
                 the same in every file. Choose another name.",
                Some("optimizer example\nhyper inf = 1e-3 in [0, 1)\np -= inf * g\n"),
                "optimizer example\nhyper lr = 1e-3 in [0, 1)\np -= lr * g\n",
            ),
            Code::MisplacedDeclaration => (
                "Declarations (`hyper`, `state`, `input`, `def`, `require`) stand at the top of a file, outside of blocks \
                 and before the first statement. What a rule remembers and what can be set does not depend on where \
                 execution is. Move the line up.",
                Some(
                    "optimizer example\nhyper lr = 1e-3 in [0, inf)\ng += 0.01 * p\nhyper scale = 2 in [0, inf)\np -= scale * lr * g\n",
                ),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\nhyper scale = 2 in [0, inf)\ng += 0.01 * p\np -= scale * lr * g\n",
            ),
            Code::UnknownDtype => (
                "The type behind `as` is none that a state can be stored in: f32, f64, bf16 and f16. It is the state's \
                 type in memory only, rounded to when it is assigned for the last time; a state that says none is stored \
                 as the parameter is. Whoever builds the optimizer may choose another.",
                Some(
                    "optimizer example\nhyper lr = 1e-3 in [0, inf)\nstate m as bfloat16 = 0\nm = 0.9*m + g\np -= lr * m\n",
                ),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\nstate m as bf16 = 0\nm = 0.9*m + g\np -= lr * m\n",
            ),
            Code::WrongArity => (
                "The function takes another number of arguments. The message says how many; for a `def` of yours, the \
                 declaration is shown.",
                Some("optimizer example\nhyper lr = 1e-3 in [0, inf)\np -= lr * clamp(g, 1)\n"),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\np -= lr * clamp(g, -1, 1)\n",
            ),
            Code::RecursiveDef => (
                "A `def` calls itself, directly or through another one. Every `def` is replaced by its body where it is \
                 called, which would never end; there are no loops in an update rule. Write the formula without recursion.",
                Some(
                    "optimizer example\nhyper lr = 1e-3 in [0, inf)\ndef twice(x) = 2 * twice(x)\np -= lr * twice(g)\n",
                ),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\ndef twice(x) = 2 * x\np -= lr * twice(g)\n",
            ),
            Code::NotANumber => (
                "A condition stands where a number is needed. Conditions are not numbers: true is not 1. Say which number \
                 you mean with `if ... then 1 else 0`.",
                Some("optimizer example\nhyper lr = 1e-3 in [0, inf)\np -= lr * (g > 0)\n"),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\np -= lr * (if g > 0 then 1 else 0)\n",
            ),
            Code::NotACondition => (
                "A number stands where a condition is needed. Numbers are not conditions: 0 is not false. Compare it, as \
                 in `lr > 0`, or make the hyper a flag by giving it the default `true` or `false`.",
                Some("optimizer example\nhyper lr = 1e-3 in [0, inf)\nif lr { p -= lr * g }\n"),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\nif lr > 0 { p -= lr * g }\n",
            ),
            Code::NotAllowedHere => (
                "The name exists, but has no value at this place. A default of a hyper may use earlier hypers only: there \
                 is no parameter, gradient or step yet. An initial value of a state may use `p` and hypers, but not `g` or \
                 `t`. Move the formula into a statement.",
                Some("optimizer example\nhyper lr = 1e-3 / t in [0, inf)\np -= lr * g\n"),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\np -= lr / t * g\n",
            ),
            Code::NotAssignable => (
                "Only `p`, `g`, states and locals can be assigned. Hypers and inputs belong to the host, `t` counts by \
                 itself, and a `def` is a formula. Give the new value a name of its own with `let`.",
                Some("optimizer example\nhyper lr = 1e-3 in [0, inf)\nlr *= 0.5\np -= lr * g\n"),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\nlet rate = 0.5 * lr\np -= rate * g\n",
            ),
            Code::ExtentGrows => (
                "A value that differs from element to element is assigned to something that exists once per tensor (or \
                 group, or model), or the assignment stands under a condition that differs from element to element. One \
                 place cannot hold many values. Reduce the value first (`mean(x)`, `norm(x per row)`), or the condition \
                 (`any(c)`, `all(c)`); or declare what is assigned with the larger extent.",
                Some(
                    "optimizer example\nhyper lr = 1e-3 in [0, inf)\nstate v per tensor = 0\nv += g^2\np -= lr * g / (sqrt(v) + 1e-8)\n",
                ),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\nstate v = 0\nv += g^2\np -= lr * g / (sqrt(v) + 1e-8)\n",
            ),
            Code::NothingToReduce => (
                "A reduction makes one value of many: `sum mean norm rms min max any all count` of one argument and `dot` of \
                 two, one per tensor unless `per EXTENT` says otherwise. Here there is no more than one value for each result. \
                 A hyper is one per group and `t` one per tensor: only `per group` and `per model` reduce those of many tensors.",
                Some("optimizer example\nhyper lr = 1e-3 in [0, inf)\np -= lr * g / max(t)\n"),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\np -= lr * g / max(t per model)\n",
            ),
            Code::NotAReduction => (
                "Only a reduction (`sum mean norm rms min max any all count dot`) says per what it is, with `per EXTENT` last in \
                 the call. Any other function has the extent of its arguments, and `min` and `max` of two arguments are such.",
                Some("optimizer example\nhyper lr = 1e-3 in [0, inf)\np -= lr * g / (sqrt(g^2 per row) + 1e-8)\n"),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\np -= lr * g / (sqrt(mean(g^2 per row)) + 1e-8)\n",
            ),
            Code::ReductionUnderCondition => (
                "A reduction stands in a block, or in an arm of an `if`, whose condition differs within a tensor. It could mean \
                 two things: of all values, or only of those where the condition holds. Say which: reduce before the condition, \
                 or reduce `if CONDITION then x else 0`.",
                Some(
                    "optimizer example\nhyper lr = 1e-3 in [0, inf)\nif g > 0 {\n    p -= lr * g / (norm(g) + 1)\n}\n",
                ),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\nlet size = norm(g) + 1\nif g > 0 {\n    p -= lr * g / size\n}\n",
            ),
            Code::MisplacedStatement => (
                "The statement cannot stand there. `skip if` stands before the first assignment to `p` or a state, because a step \
                 that is skipped changes nothing, and not in a block whose condition differs within a tensor or reads a \
                 reduction of this step. `report` and `view` stand outside of blocks: the host may ask for them at any time.",
                Some("optimizer example\nhyper lr = 1e-3 in [0, inf)\np -= lr * g\nskip if any(g != g)\n"),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\nskip if any(g != g)\np -= lr * g\n",
            ),
            Code::ScalarOnly => (
                "This operation exists for scalars (values per model, group or tensor, computed in f64), not for elements. \
                 Elements have only operations that are one instruction or a short polynomial. Compute what you need from \
                 hypers and `t` first, and then combine it with the elements.",
                Some("optimizer example\nhyper lr = 1e-3 in [0, inf)\np -= lr * (g % 2)\n"),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\np -= lr * (t % 2) * g\n",
            ),
            Code::LiteralOutOfRange => (
                "The number is too large for an f64, so it would be infinite. If infinity is meant, write `inf`.",
                Some("optimizer example\nhyper lr = 1e-3 in [0, inf)\np -= lr * min(g, 1e999)\n"),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\np -= lr * min(g, 1e9)\n",
            ),
            Code::DefaultOutOfInterval => (
                "The default of the hyper is outside the interval that the hyper itself declares, so the rule could not \
                 even be built with its defaults. `[` and `]` include the end, `(` and `)` do not. Change one of the two. A call \
                 of a schedule is held to the intervals and the `require` lines of that schedule in the same way.",
                Some("optimizer example\nhyper lr = 1 in [0, 1)\np -= lr * g\n"),
                "optimizer example\nhyper lr = 1 in [0, 1]\np -= lr * g\n",
            ),
            Code::EmptyInterval => (
                "No number is in this interval: its ends are in the wrong order, or equal and not both included. The \
                 smaller end comes first.",
                Some("optimizer example\nhyper lr = 0.5 in (1, 0)\np -= lr * g\n"),
                "optimizer example\nhyper lr = 0.5 in (0, 1)\np -= lr * g\n",
            ),
            Code::ValueNotAssigned => (
                "A schedule gives a value at every step, so `value` has to be assigned whichever way the conditions go, and \
                 before it is read. Give the `if` an `else`, or assign `value = base` first.",
                Some("schedule example\nhyper warmup = 10 in 1..\nif s < warmup {\n    value = base * s / warmup\n}\n"),
                "schedule example\nhyper warmup = 10 in 1..\nvalue = base\nif s < warmup {\n    value = base * s / warmup\n}\n",
            ),
            Code::StatefulCall => (
                "A schedule can call another one at any step (`cosine(at = s - 10)`), so the one that is called must give \
                 its value from the step alone: no state, no inputs. Join stateful schedules where they are attached: \
                 `linear(...) for 100 then plateau(...)`.",
                Some("schedule example\nvalue = plateau(at = s, base = base)\n"),
                "schedule example\nvalue = cosine(at = s, base = base)\n",
            ),
            Code::BrokenCall => (
                "The schedule that is called, or the rule that is used, has errors of its own, is not there, or names this \
                 one in turn. Check that file first: `updraft check FILE`. Calls and `use` are expanded, at most 8 deep.",
                Some("schedule example\nvalue = example(at = s - 1)\n"),
                "schedule example\nvalue = cosine(at = s, base = base)\n",
            ),
            Code::TooManyOperations => (
                "With every `def` inlined, the rule has more than 4096 operations. A `def` is copied wherever it is called, \
                 so one that calls another twice doubles it. Compute what is used more than once in a `let`. Operations times reductions \
                 may be 49152 at most.",
                None,
                PLAIN,
            ),
            Code::TooManyNames => (
                "A rule may have 64 states, 256 hypers and 256 inputs, a hyper 256 modes, a list 4096 elements. Each state costs memory for every element of every parameter; a \
                 rule that needs more is probably several rules.",
                None,
                PLAIN,
            ),
            Code::UnusedHyper => (
                "Nothing reads this hyper, so setting it has no effect, which would mislead whoever tunes it. Use it, or \
                 delete it.",
                Some("optimizer example\nhyper lr = 1e-3 in [0, inf)\nhyper momentum = 0.9 in [0, 1)\np -= lr * g\n"),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\np -= lr * g\n",
            ),
            Code::UnusedState => (
                "Nothing reads this state, but it takes memory for every element and is written to every checkpoint. Use \
                 it, or delete it.",
                Some("optimizer example\nhyper lr = 1e-3 in [0, inf)\nstate m = 0\np -= lr * g\n"),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\nstate m = 0\nm = 0.9*m + g\np -= lr * m\n",
            ),
            Code::UnusedInput => (
                "Nothing reads this input, but the host is asked for it. Use it, or delete it.",
                Some("optimizer example\nhyper lr = 1e-3 in [0, inf)\ninput scale\np -= lr * g\n"),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\ninput scale\np -= lr * scale * g\n",
            ),
            Code::UnusedDef => (
                "Nothing calls this `def`. Call it, or delete it.",
                Some("optimizer example\nhyper lr = 1e-3 in [0, inf)\ndef twice(x) = 2 * x\np -= lr * g\n"),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\ndef twice(x) = 2 * x\np -= lr * twice(g)\n",
            ),
            Code::UnusedValue => (
                "A value is assigned and never read: the name is assigned again first, or the rule ends. Often a later \
                 formula was meant to use it. Use it, or delete the line.",
                Some("optimizer example\nhyper lr = 1e-3 in [0, inf)\nlet decayed = g + 0.01*p\np -= lr * g\n"),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\nlet decayed = g + 0.01*p\np -= lr * decayed\n",
            ),
            Code::StateNeverUpdated => (
                "The rule reads this state but never assigns it, so it keeps its initial value for ever. Either the line \
                 that updates it is missing, or it is a constant and should be a `hyper`.",
                Some("optimizer example\nhyper lr = 1e-3 in [0, inf)\nstate m = 0\np -= lr * (g + m)\n"),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\nstate m = 0\nm = 0.9*m + g\np -= lr * (g + m)\n",
            ),
            Code::ParameterNeverUpdated => (
                "The rule never assigns `p`, so a step changes no parameter. If the file only prepares the gradient for \
                 other rules, it is a `fragment`.",
                Some("optimizer example\n"),
                "optimizer example\np -= 1e-3 * g\n",
            ),
            Code::ZeroOverZero => (
                "With the defaults of the hypers, in the first step, this division is 0/0 where the gradient is 0: the \
                 parameter becomes NaN and never recovers. Gradients that are exactly 0 are common (unused rows of an \
                 embedding, dead units). Add a small number to the divisor.",
                Some("optimizer example\nhyper lr = 1e-3 in [0, inf)\nstate v = 0\nv += g^2\np -= lr * g / sqrt(v)\n"),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\nstate v = 0\nv += g^2\np -= lr * g / (sqrt(v) + 1e-8)\n",
            ),
            Code::SqrtOfNegative => (
                "This square root is taken of a value that may be negative, and would then be NaN. Squares, absolute values \
                 and sums of them are known not to be negative, and so is a state that starts at 0 or above and that every \
                 assignment keeps there. Take the root of `abs(x)` or `max(x, 0)`, or say why it cannot happen with \
                 `# allow(sqrt-of-negative): reason` at the end of the line.",
                Some(
                    "optimizer example\nhyper lr = 1e-3 in [0, inf)\nstate v = 0\nv += g\np -= lr * g / (sqrt(v) + 1e-8)\n",
                ),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\nstate v = 0\nv += g\np -= lr * g / (sqrt(abs(v)) + 1e-8)\n",
            ),
            Code::UnusedAllow => (
                "An `allow` comment names no lint, or a lint that has nothing to say on this line. A comment that silences \
                 nothing today would silence a real finding tomorrow. Correct the name, or delete the comment.",
                Some(
                    "optimizer example\nhyper lr = 1e-3 in [0, inf)\np -= lr * g  # allow(zero-over-zero): it cannot happen\n",
                ),
                "optimizer example\nhyper lr = 1e-3 in [0, inf)\np -= lr * g\n",
            ),
        };
        Explanation { what, bad, good }
    }
}
