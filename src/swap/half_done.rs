//! Half-done swaps, as the list of containers shows them.

use super::record::Aside;
use super::record::Record;
use super::record::is_aside;
use super::record::marks_swap;
use super::record::name_before;
use super::undo::Pair;
use crate::engine::Summary;
use std::collections::HashSet;

/// Whether the list shows a half-done swap, a container put aside, or a lock.
#[must_use]
pub fn needs_recovery(list: &[Summary]) -> bool {
    let pairs = open_pairs(list);
    let tells = |one: &Summary| marks_swap(one.name()) && !is_replaced(list, &pairs, one);
    list.iter().any(tells) || !pairs.is_empty()
}

/// Whether a container was put aside by a swap, and its owner has created another one of that name since. No
/// recovery puts such a container back.
#[must_use]
pub fn is_left_over(list: &[Summary], one: &Summary) -> bool {
    name_before(one.name()).is_some() && is_replaced(list, &open_pairs(list), one)
}

fn is_replaced(list: &[Summary], pairs: &[Pair], one: &Summary) -> bool {
    let holds = |name: &str| list.iter().any(|other| other.name() == name);
    is_orphan(one, pairs) && name_before(one.name()).is_some_and(holds)
}

/// Whether the list shows no half-done swap and no container put aside.
#[must_use]
pub fn is_clean(list: &[Summary]) -> bool {
    open_pairs(list).is_empty() && list.iter().all(|one| name_before(one.name()).is_none())
}

/// The ids of all containers of half-done swaps. No other swap may begin with these containers.
#[must_use]
pub fn half_done(list: &[Summary]) -> HashSet<String> {
    let pairs = open_pairs(list);
    let aside = list.iter().filter(|one| is_aside(one.name()));
    let aside = aside.filter(|one| !is_replaced(list, &pairs, one));
    let aside: Vec<String> = aside.map(|one| one.id().to_owned()).collect();
    let both = |pair: Pair| [pair.record.old, pair.new];
    let open = pairs
        .into_iter()
        .filter(|pair| !is_all_but_removed(list, pair));
    open.flat_map(both).chain(aside).collect()
}

/// The first pair of a swap whose provider has this id, if the owner replaced that provider in mid-swap. Its successor
/// and the record are gone then, so the name of the container is read.
pub(super) fn replaced_provider(list: &[Summary], id: &str) -> Option<Pair> {
    let one = list.iter().find(|one| one.id() == id)?;
    let aside = Aside::parse(one.name()).filter(|_| is_left_over(list, one))?;
    let record = Record {
        name: aside.name.to_owned(),
        old: id.to_owned(),
        origin: id.to_owned(),
        was_running: aside.was_running,
        restart: aside.restart.unwrap_or_default(),
        provider: None,
        is_one_way: false,
    };
    let new = record.new_name();
    Some(Pair::new(record, new))
}

/// Whether the swap is over except for the old container, which the Engine began to remove and could not (`dead`).
fn is_all_but_removed(list: &[Summary], pair: &Pair) -> bool {
    let find = |id: &str| list.iter().find(|one| one.id() == id);
    let is_dying = |old: &Summary| matches!(old.state(), "dead" | "removing");
    find(&pair.record.old).is_some_and(is_dying)
        && find(&pair.new).is_some_and(|new| new.name() == pair.record.name)
}

/// The pairs of half-done swaps: the old container is still there, or the successor does not have its name yet.
///
/// Each container that was swapped once has a record for good, so the list may hold thousands of them.
pub(super) fn open_pairs(list: &[Summary]) -> Vec<Pair> {
    let ids: HashSet<&str> = list.iter().map(Summary::id).collect();
    let is_there = |id: &str| ids.contains(id);
    let aside: Vec<&Summary> = list.iter().filter(|one| is_aside(one.name())).collect();
    let pair = |one: &Summary| {
        let mut record = Record::of_summary(one)?;
        if !is_there(&record.old) {
            // Somebody removed the old container, and the process at work made it again.
            let name = record.old_name();
            let again = aside.iter().find(|one| one.name() == name);
            record.old = again.map_or(record.old, |again| again.id().to_owned());
        }
        let open =
            is_there(&record.old) || is_there(record.swap()) || one.name() == record.new_name();
        open.then(|| Pair::new(record, one.id().to_owned()))
    };
    // The list begins with the newest container. Dependents were created after their provider.
    list.iter().rev().filter_map(pair).collect()
}

/// Whether this is an old container put aside whose successor was removed by somebody.
pub(super) fn is_orphan(one: &Summary, pairs: &[Pair]) -> bool {
    name_before(one.name()).is_some() && pairs.iter().all(|pair| pair.record.old != one.id())
}
