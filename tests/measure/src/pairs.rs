//! Interleaved pairs: two things measured in turn, because single figures of a shared machine swing by
//! a factor of two.

use std::time::Instant;

/// So many pairs of figures. Each side goes first in turn, so that neither always runs on the other's
/// warm cache.
pub fn pairs(
    count: usize,
    mut one: impl FnMut() -> f64,
    mut other: impl FnMut() -> f64,
) -> Vec<[f64; 2]> {
    let pair = |at: usize| {
        if at.is_multiple_of(2) {
            let first = one();
            [first, other()]
        } else {
            let first = other();
            [one(), first]
        }
    };
    (0..count).map(pair).collect()
}

/// Nanoseconds for one of `calls`, all of which `batch` makes.
pub fn nanoseconds_each(calls: usize, batch: impl FnOnce()) -> f64 {
    let start = Instant::now();
    batch();
    start.elapsed().as_secs_f64() * 1e9 / calls as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn each_side_goes_first_in_turn_and_keeps_its_place_in_the_pair() {
        let order = RefCell::new(String::new());
        let side = |name: char, figure: f64| {
            order.borrow_mut().push(name);
            figure
        };

        let pairs = pairs(2, || side('a', 1.0), || side('b', 2.0));

        assert_eq!(pairs, [[1.0, 2.0], [1.0, 2.0]]);
        assert_eq!(order.into_inner(), "abba");
    }
}
