//! "Did you mean …?"

/// Longer words are not compared.
const MAX_LEN: usize = 64;

/// Shorter words are not taken for the beginning of another.
const MIN_BEGINNING: usize = 6;

/// The candidate that `word` was probably meant to be: the first of those that differ least, if
/// that is at most a third of the word (one character in short words).
pub(crate) fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<String> {
    if word.len() > MAX_LEN {
        return None;
    }
    let limit = (word.chars().count() / 3).max(1);
    let lower = word.to_ascii_lowercase();
    let mut best: Option<(usize, &str)> = None;
    // With nothing near, the first that goes on after the word, such as `Flow.rtt_sample_us` for
    // `Flow.rtt`.
    let mut longer = None;
    for candidate in candidates {
        if longer.is_none() && word.len() >= MIN_BEGINNING && candidate.starts_with(word) {
            longer = Some(candidate);
        }
        if candidate.len() > MAX_LEN || candidate.len().abs_diff(word.len()) > limit + 10 {
            continue;
        }
        // The part after the dot alone, such as `acked` for `Report.acked`, counts as near.
        let tail = candidate.split_once('.').map(|(_, tail)| tail);
        let distance = if tail.is_some_and(|t| t.eq_ignore_ascii_case(word)) {
            1
        } else {
            distance(&lower, &candidate.to_ascii_lowercase())
        };
        let one_sign = word.chars().count() == 1 && distance > 0;
        if distance <= limit && !one_sign && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    let best = best.map(|(_, candidate)| candidate).or(longer);
    best.map(str::to_owned)
}

/// The candidate, names that begin with a capital letter, from which `word` differs by one letter,
/// if it begins with one too and is long enough for that to be a slip. A digit is meant to be there.
pub(crate) fn one_letter_off<'c>(
    word: &str,
    mut candidates: impl Iterator<Item = &'c str>,
) -> Option<String> {
    let long_enough = (4..=MAX_LEN).contains(&word.len());
    let capital = word.starts_with(|c: char| c.is_ascii_uppercase());
    if !long_enough || !capital || word.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    let lower = word.to_ascii_lowercase();
    let near = candidates.find(|c| distance(&lower, &c.to_ascii_lowercase()) == 1);
    near.map(str::to_owned)
}

/// How many characters must be added, removed, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut last_a = None;
    for (i, ca) in a.chars().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        let mut last_b = None;
        for (j, cb) in b.iter().copied().enumerate() {
            let at =
                |row: &[usize], place: usize| row.get(place).copied().unwrap_or(usize::MAX - 1);
            let mut least = (at(&above, j) + usize::from(ca != cb))
                .min(at(&above, j + 1) + 1)
                .min(at(&row, j) + 1);
            if j > 0 && last_a == Some(cb) && last_b == Some(ca) {
                least = least.min(at(&before, j - 1) + 1);
            }
            row.push(least);
            last_b = Some(cb);
        }
        last_a = Some(ca);
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest, one_letter_off};

    #[test]
    fn distances() {
        assert_eq!(distance("cwnd", "cwnd"), 0);
        assert_eq!(distance("cwmd", "cwnd"), 1);
        assert_eq!(distance("cwdn", "cwnd"), 1);
        assert_eq!(distance("", "cwnd"), 4);
        assert_eq!(distance("acked", "sacked"), 1);
    }

    #[test]
    fn only_near_names_are_suggested() {
        let names = ["Cwnd", "Rate", "Report.acked", "Flow.rtt_sample_us"];
        let near = |word| nearest(word, names.into_iter());
        assert_eq!(near("Cwmd").as_deref(), Some("Cwnd"));
        assert_eq!(
            near("Flow.rtt_sample").as_deref(),
            Some("Flow.rtt_sample_us")
        );
        assert_eq!(near("acked").as_deref(), Some("Report.acked"));
        assert_eq!(near("cwnd").as_deref(), Some("Cwnd"));
        assert_eq!(near("banana"), None);
        assert_eq!(near("x"), None);
    }

    #[test]
    fn a_slip_is_one_letter() {
        let slip = |word| one_letter_off(word, ["Cwnd", "Rate", "Ssthresh"].into_iter());
        assert_eq!(slip("Cwmd").as_deref(), Some("Cwnd"));
        assert_eq!(slip("Rates").as_deref(), Some("Rate"));
        assert_eq!(slip("Sstresh").as_deref(), Some("Ssthresh"));
        for meant in ["rate", "late", "ssthresh", "Rate2", "Cwn", "Wet", "Rate_of"] {
            assert_eq!(slip(meant), None, "{meant}");
        }
    }
}
