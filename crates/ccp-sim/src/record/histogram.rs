//! Many durations in little memory.

/// Counts durations in classes of about one part in 64, so that percentiles need neither all samples
/// nor a sort. Whole numbers only: the same on every machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    classes: Vec<u64>,
    count: u64,
    sum: u128,
    most: u64,
}

/// Classes per doubling.
const CLASSES: u64 = 64;

/// The class of `value`: below 128 each has its own.
fn class(value: u64) -> usize {
    let doublings = (value | 127).ilog2() as u64 - 6;
    (doublings * CLASSES + (value >> doublings)) as usize
}

/// The middle of a class.
fn middle(class: usize) -> u64 {
    let class = class as u64;
    if class < 2 * CLASSES {
        return class;
    }
    let doublings = class / CLASSES - 1;
    let low = (class - doublings * CLASSES) << doublings;
    low + (1 << doublings) / 2
}

impl Histogram {
    pub(crate) fn add(&mut self, value: u64) {
        let class = class(value);
        if self.classes.len() <= class {
            self.classes.resize(class + 1, 0);
        }
        if let Some(count) = self.classes.get_mut(class) {
            *count += 1;
        }
        self.count += 1;
        self.sum += u128::from(value);
        self.most = self.most.max(value);
    }

    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn mean(&self) -> u64 {
        (self.sum / u128::from(self.count.max(1))) as u64
    }

    pub(crate) const fn most(&self) -> u64 {
        self.most
    }

    /// The value that `percent` of all are at or below; 0 if there are none.
    pub(crate) fn percentile(&self, percent: u64) -> u64 {
        let wanted = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (class, count) in self.classes.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return middle(class).min(self.most);
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::{Histogram, class, middle};

    #[test]
    fn a_class_is_a_sixty_fourth_wide_at_most() {
        for value in (0..100_000).chain([u64::MAX / 3, u64::MAX - 1, u64::MAX]) {
            let found = middle(class(value));
            assert!(found.abs_diff(value) <= value / 64, "{value} {found}");
        }
        let mut last = 0;
        for value in 0..100_000 {
            assert!(class(value) == last || class(value) == last + 1, "{value}");
            last = class(value);
        }
    }

    #[test]
    fn percentiles() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(50), 0);
        (1..=100).for_each(|value| histogram.add(value));
        let at = |percent| histogram.percentile(percent);
        assert_eq!((at(1), at(50), at(99), at(100)), (1, 50, 99, 100));
        assert_eq!((histogram.mean(), histogram.most()), (50, 100));
    }
}
