//! Lines cut to a frame, and made of no more points than the eye sees.

/// A point in pixels.
pub(crate) type Point = (f64, f64);

/// A rectangle in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Frame {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) right: f64,
    pub(crate) bottom: f64,
}

impl Frame {
    pub(crate) fn width(&self) -> f64 {
        self.right - self.left
    }

    pub(crate) fn height(&self) -> f64 {
        self.bottom - self.top
    }

    /// The parts of a line inside the frame.
    pub(crate) fn clip(&self, points: &[Point]) -> Vec<Vec<Point>> {
        let mut parts: Vec<Vec<Point>> = Vec::new();
        if let [(x, y)] = points[..] {
            let inside =
                (self.left..=self.right).contains(&x) && (self.top..=self.bottom).contains(&y);
            return if inside { vec![points.to_vec()] } else { parts };
        }
        for pair in points.windows(2) {
            let Some((from, to)) = self.clip_segment(pair[0], pair[1]) else {
                continue;
            };
            match parts.last_mut() {
                Some(part) if part.last() == Some(&from) => part.push(to),
                _ => parts.push(vec![from, to]),
            }
        }
        parts
    }

    /// Liang and Barsky's algorithm (1984).
    fn clip_segment(&self, from: Point, to: Point) -> Option<(Point, Point)> {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let (mut enter, mut leave) = (0.0f64, 1.0f64);
        for (direction, distance) in [
            (-dx, from.0 - self.left),
            (dx, self.right - from.0),
            (-dy, from.1 - self.top),
            (dy, self.bottom - from.1),
        ] {
            if direction == 0.0 {
                if distance < 0.0 {
                    return None;
                }
            } else if direction < 0.0 {
                enter = enter.max(distance / direction);
            } else {
                leave = leave.min(distance / direction);
            }
        }
        if enter > leave {
            return None;
        }
        let at = |t: f64| match t {
            0.0 => from,
            1.0 => to,
            t => (from.0 + t * dx, from.1 + t * dy),
        };
        Some((at(enter), at(leave)))
    }
}

/// The same line with at most four points per pixel of width: in each column the first, the lowest, the
/// highest and the last. Points must be in order of x.
pub(crate) fn thinned(points: Vec<Point>) -> Vec<Point> {
    let [(first, _), .., (last, _)] = points[..] else {
        return points;
    };
    if points.len() as f64 <= 4.0 * (last - first).max(1.0) {
        return points;
    }
    let mut out: Vec<Point> = Vec::new();
    let columns = points.chunk_by(|a, b| a.0.floor() == b.0.floor());
    for column in columns {
        let by_y = |pick: fn(f64, f64) -> bool| {
            (0..column.len()).fold(0, |best, i| {
                if pick(column[i].1, column[best].1) {
                    i
                } else {
                    best
                }
            })
        };
        let mut keep = [0, by_y(|a, b| a < b), by_y(|a, b| a > b), column.len() - 1];
        keep.sort_unstable();
        for (n, &i) in keep.iter().enumerate() {
            if n == 0 || keep[n - 1] != i {
                out.push(column[i]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame = Frame {
        left: 0.0,
        top: 0.0,
        right: 10.0,
        bottom: 10.0,
    };

    #[test]
    fn lines_are_cut_at_the_frame() {
        assert_eq!(FRAME.clip(&[(1.0, 1.0), (5.0, 5.0), (9.0, 1.0)]).len(), 1);
        // Out over the top and in again: two parts.
        let parts = FRAME.clip(&[(2.0, 5.0), (4.0, -5.0), (6.0, 5.0)]);
        assert_eq!(
            parts,
            [vec![(2.0, 5.0), (3.0, 0.0)], vec![(5.0, 0.0), (6.0, 5.0)]]
        );
        assert!(FRAME.clip(&[(-5.0, 1.0), (-1.0, 9.0)]).is_empty());
        assert!(
            FRAME.clip(&[(-5.0, 6.0), (6.0, -5.0)]).len() == 1,
            "cuts a corner"
        );
        assert!(
            FRAME.clip(&[(-9.0, 2.0), (2.0, -9.0)]).is_empty(),
            "passes a corner"
        );
        assert_eq!(FRAME.clip(&[(3.0, 3.0)]), [vec![(3.0, 3.0)]]);
        assert!(FRAME.clip(&[(3.0, 13.0)]).is_empty());
        assert!(FRAME.clip(&[]).is_empty());
    }

    #[test]
    fn many_points_are_thinned_without_losing_a_peak() {
        let few: Vec<Point> = (0..30).map(|i| (f64::from(i), 1.0)).collect();
        assert_eq!(thinned(few.clone()), few);
        let mut many: Vec<Point> = (0..100_000).map(|i| (f64::from(i) / 1000.0, 5.0)).collect();
        many[31_337].1 = -7.0;
        many[31_338].1 = 99.0;
        let thin = thinned(many.clone());
        assert!(thin.len() <= 401, "{}", thin.len());
        assert!(thin.contains(&many[31_337]) && thin.contains(&many[31_338]));
        assert!(
            thin.windows(2).all(|pair| pair[0].0 <= pair[1].0),
            "in order"
        );
        assert_eq!((thin.first(), thin.last()), (many.first(), many.last()));
    }
}
