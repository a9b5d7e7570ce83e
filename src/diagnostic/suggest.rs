//! Did you mean?
//!
//! Comes in: a name that means nothing, and the names that would. Goes out: the one that was probably meant. Equal candidates
//! are decided by the alphabet, so that every run says the same. It does not know what the names are.

/// The candidate closest to `name`, if one is close: the same letters but for case and underscores, a few typing errors
/// (about one in three characters; two neighbours swapped are one error), or one the beginning of the other.
///
/// ```
/// use updraft::diagnostic::did_you_mean;
/// assert_eq!(did_you_mean("weightdecay", ["lr", "weight_decay"]), Some("weight_decay"));
/// assert_eq!(did_you_mean("ebta1", ["beta1", "beta2"]), Some("beta1"));
/// assert_eq!(did_you_mean("x", ["lr"]), None);
/// ```
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer names are nobody's typing error, and the distance takes quadratic time.
    const LONGEST: usize = 64;
    let fold = |text: &str| -> Vec<char> {
        text.chars().filter(|c| *c != '_').flat_map(char::to_lowercase).take(LONGEST + 1).collect()
    };
    let wanted = fold(name);
    if wanted.is_empty() || wanted.len() > LONGEST {
        return None;
    }
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates.into_iter().filter(|candidate| *candidate != name) {
        let folded = fold(candidate);
        if folded.is_empty() || folded.len() > LONGEST {
            continue;
        }
        let (shorter, longer) = if wanted.len() < folded.len() { (&wanted, &folded) } else { (&folded, &wanted) };
        let limit = longer.len().div_ceil(3).min(4);
        let distance = distance(&wanted, &folded);
        let rank = if distance == 0 {
            0
        } else if distance <= limit && distance < shorter.len().max(2) && distance < longer.len() {
            distance
        } else if shorter.len() >= 3 && longer.starts_with(shorter) {
            limit + 1
        } else {
            continue;
        };
        if best.is_none_or(|(least, name)| (rank, candidate) < (least, name)) {
            best = Some((rank, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// How many insertions, deletions, replacements and swaps of neighbours turn `a` into `b`.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant_and_nothing_far_fetched() {
        let names = ["lr", "beta1", "beta2", "weight_decay", "eps", "momentum", "sqrt", "p"];
        let cases = [
            ("Lr", Some("lr")),
            ("beta", Some("beta1")),
            ("weightDecay", Some("weight_decay")),
            ("wieght_decay", Some("weight_decay")),
            ("epsilon", Some("eps")),
            ("sqr", Some("sqrt")),
            ("m", None),
            ("g", None),
            ("x", None),
            ("gamma", None),
            ("momentun", Some("momentum")),
            ("lrr", Some("lr")),
        ];
        for (typed, meant) in cases {
            assert_eq!(did_you_mean(typed, names), meant, "{typed}");
        }
    }
}
