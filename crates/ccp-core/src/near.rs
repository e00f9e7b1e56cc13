//! Suggestions for names that do not exist.

/// The one of `known` that `name` was most likely meant to be: at most a third of its letters are
/// other. The first of several that are equally near.
pub(crate) fn near<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let limit = name.chars().count().div_ceil(3);
    known
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be changed, left out or put in to make `b` from `a`.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = Vec::with_capacity(row.len());
        next.push(left);
        for (y, above) in b.chars().zip(row.iter().skip(1)) {
            left = (left + 1)
                .min(above + 1)
                .min(diagonal + usize::from(x != y));
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{distance, near};

    #[test]
    fn distances() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("cwnd", "cwnd"), 0);
        assert_eq!(distance("cwnd_packet", "cwnd_packets"), 1);
        assert_eq!(distance("rate", "tear"), 4);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn only_near_names_are_suggested() {
        let known = ["cwnd_packets", "rate_mbit"];
        assert_eq!(near("cwnd_packet", known), Some("cwnd_packets"));
        assert_eq!(near("rate_mbits", known), Some("rate_mbit"));
        assert_eq!(near("report", known), None);
    }
}
