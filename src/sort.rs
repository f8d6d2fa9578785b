//! A stable sort that is compiled once. The standard library's sort is compiled for each type, at 3 KB each.

/// Sorts a list. `is_before` says whether the first item has to stand before the second. Equal items keep their order.
pub(crate) fn sort<T>(list: &mut Vec<T>, is_before: impl Fn(&T, &T) -> bool) {
    let order = order(list.len(), &|one, other| {
        is_before(&list[one], &list[other])
    });
    let mut items: Vec<Option<T>> = list.drain(..).map(Some).collect();
    list.extend(order.into_iter().filter_map(|place| items[place].take()));
}

/// The places of the items in their new order: a merge sort.
fn order(length: usize, is_before: &dyn Fn(usize, usize) -> bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..length).collect();
    let mut width = 1;
    while width < length {
        let mut merged = Vec::with_capacity(length);
        for run in order.chunks(2 * width) {
            let (left, right) = run.split_at(width.min(run.len()));
            let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
            while let (Some(one), Some(other)) = (left.peek(), right.peek()) {
                let next = if is_before(**other, **one) {
                    &mut right
                } else {
                    &mut left
                };
                merged.extend(next.next());
            }
            merged.extend(left.chain(right));
        }
        order = merged;
        width *= 2;
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_sorted_and_equal_items_keep_their_order() {
        let mut seed: u32 = 1;
        for length in 0..70 {
            let mut list: Vec<(u32, usize)> = Vec::new();
            for place in 0..length {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                list.push((seed >> 28, place));
            }
            let mut expected = list.clone();
            expected.sort_by_key(|(key, _)| *key);
            sort(&mut list, |one, other| one.0 < other.0);
            assert_eq!(list, expected);
        }
    }
}
