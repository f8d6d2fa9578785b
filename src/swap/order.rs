//! Dependencies among many containers, without comparing each of them with each other one.

use super::dependencies::compose_services;
use super::dependencies::depends_on;
use super::dependencies::may_depend;
use super::dependencies::named_by;
use super::dependencies::service_of;
use crate::engine::Container;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::HashMap;

/// An id in a setting has at least so many digits.
const SHORT_ID: usize = 12;

/// Returns, for each of these containers, the places of those that it depends on.
#[must_use]
#[cold]
pub fn dependencies_among(all: &[&Container]) -> Vec<Vec<usize>> {
    let mut index = Index::default();
    for (place, one) in all.iter().enumerate() {
        index.add(key('n', one.name()), place);
        index.add(
            key('i', one.id().get(..SHORT_ID).unwrap_or_default()),
            place,
        );
        if let Some((project, service)) = service_of(one) {
            index.add(key('s', project) + "/" + service, place);
        }
    }
    let needed_by = |(place, one): (usize, &&Container)| {
        let mut keys = Vec::new();
        if may_depend(one) {
            for target in named_by(one) {
                keys.push(key('n', target));
                keys.extend(target.get(..SHORT_ID).map(|id| key('i', id)));
            }
            for (project, service) in compose_services(one) {
                keys.push(key('s', project) + "/" + service);
            }
        }
        let found = keys.iter().flat_map(|key| index.find(key));
        found
            .filter(|&other| other != place && depends_on(one, all[other]))
            .collect()
    };
    all.iter().enumerate().map(needed_by).collect()
}

/// Sorts the items so that each comes after its dependencies. Otherwise the order stays, also in a circle of
/// dependencies.
#[must_use]
#[cold]
pub fn in_order<T>(items: Vec<T>, container: impl Fn(&T) -> &Container) -> Vec<T> {
    let order = order_of(&items.iter().map(container).collect::<Vec<_>>());
    let mut items: Vec<Option<T>> = items.into_iter().map(Some).collect();
    let sorted = order.into_iter().filter_map(|place| items[place].take());
    sorted.collect()
}

/// Returns the places of the containers in their order.
#[cold]
fn order_of(all: &[&Container]) -> Vec<usize> {
    let needed = dependencies_among(all);
    let mut dependents = vec![Vec::new(); all.len()];
    for (place, needed) in needed.iter().enumerate() {
        for &other in needed {
            dependents[other].push(place);
        }
    }
    // How many dependencies of each container are still to come.
    let mut missing: Vec<usize> = needed.iter().map(Vec::len).collect();
    let free = (0..all.len()).filter(|&place| missing[place] == 0);
    let mut free: BinaryHeap<Reverse<usize>> = free.map(Reverse).collect();
    let mut is_sorted = vec![false; all.len()];
    let mut sorted = Vec::with_capacity(all.len());
    let mut first = 0;
    while first < all.len() {
        // Without a free container, there is a circle, which its first container opens.
        let next = free.pop().map_or(first, |Reverse(place)| place);
        if !is_sorted[next] {
            is_sorted[next] = true;
            sorted.push(next);
            for &dependent in &dependents[next] {
                missing[dependent] -= 1;
                if missing[dependent] == 0 {
                    free.push(Reverse(dependent));
                }
            }
        }
        while is_sorted.get(first) == Some(&true) {
            first += 1;
        }
    }
    sorted
}

/// The containers by everything that a dependency may name.
#[derive(Default)]
struct Index {
    /// The place in `chain` of the last entry of each key.
    last: HashMap<String, usize>,
    /// The entries: the place of a container, and the entry before it that has the same key.
    chain: Vec<(usize, Option<usize>)>,
}

impl Index {
    fn add(&mut self, key: String, place: usize) {
        let before = self.last.insert(key, self.chain.len());
        self.chain.push((place, before));
    }

    fn find(&self, key: &str) -> impl Iterator<Item = usize> {
        let mut next = self.last.get(key).copied();
        std::iter::from_fn(move || {
            let (place, before) = *self.chain.get(next?)?;
            next = before;
            Some(place)
        })
    }
}

fn key(kind: char, text: &str) -> String {
    let mut key = kind.to_string();
    key.push_str(text);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use serde_json::json;

    fn container(name: &str, host: Value, labels: Value) -> Container {
        Container::new(
            json!({"Id": format!("{name:0<64}"), "Name": format!("/{name}"),
            "HostConfig": host, "Config": {"Labels": labels}}),
        )
    }

    fn compose(service: &str, depends: &str) -> Value {
        json!({"com.docker.compose.project": "p", "com.docker.compose.service": service,
            "com.docker.compose.depends_on": depends})
    }

    fn within(of: &str) -> Value {
        json!({"NetworkMode": format!("container:{of}")})
    }

    #[test]
    fn the_index_finds_what_a_comparison_of_each_with_each_finds() {
        let id = format!("{:0<64}", "vpn");
        let after = |names: &str| json!({"com.centurylinklabs.watchtower.depends-on": names});
        let all = [
            container("vpn", json!({}), json!({})),
            container("by-id", within(&id), json!({})),
            container("by-short-id", within(&id[..12]), json!({})),
            container("by-name", within("vpn"), json!({})),
            container("linked", json!({"Links": ["/vpn:/linked/x"]}), json!({})),
            container("after", json!({}), after("vpn, /by-name")),
            container("db-1", json!({}), compose("db", "")),
            container("db-2", json!({}), compose("db", "")),
            container("web", json!({}), compose("web", "db:service_started:false")),
            container("itself", within("itself"), compose("x", "x:a:b,y")),
        ];
        let all: Vec<&Container> = all.iter().collect();
        for (one, mut found) in all.iter().zip(dependencies_among(&all)) {
            let others = all.iter().enumerate();
            let others = others.filter(|(_, other)| other.id() != one.id());
            let others = others.filter(|(_, other)| depends_on(one, other));
            let expected: Vec<usize> = others.map(|(place, _)| place).collect();
            found.sort_unstable();
            found.dedup();
            assert_eq!(found, expected, "{}", one.name());
        }
    }

    #[test]
    fn what_is_depended_on_goes_first() {
        let after = |name: &str| json!({"com.centurylinklabs.watchtower.depends-on": name});
        let plain = |name: &str| container(name, json!({}), json!({}));
        let needs = "db:service_healthy:false,cache:service_started:true";
        for (all, expected) in [
            (
                vec![
                    container("web", json!({}), compose("web", needs)),
                    container("side", json!({}), after("web")),
                    container("cache", json!({}), compose("cache", "")),
                    container("db", json!({}), compose("db", "")),
                ],
                "cache db web side",
            ),
            (
                vec![
                    plain("a"),
                    container("b", json!({}), after("d")),
                    plain("c"),
                    plain("d"),
                ],
                "a c d b",
            ),
            (
                vec![
                    container("a", json!({}), after("b")),
                    container("b", json!({}), after("a")),
                    plain("c"),
                    container("d", json!({}), after("b")),
                ],
                "c a b d",
            ),
            (vec![], ""),
        ] {
            let order = in_order(all, |one| one);
            let names: Vec<&str> = order.iter().map(Container::name).collect();
            assert_eq!(names.join(" "), expected);
        }
    }
}
