//! The events of messages.

use super::Document;
use imagewatch::notify::Receiver;
use std::collections::BTreeSet;

#[test]
fn the_events_are_the_programs() {
    let refusal = Receiver::parse("https://h/?events=x").expect_err("an unknown event");
    let refusal = refusal.to_string();
    let (_, names) = refusal.split_once("`events` takes ").expect("the names");
    let known: BTreeSet<&str> = names.trim_end_matches(')').split(", ").collect();
    let document = Document::of("docs/messages.md");
    let levels = ["`success`", "`info`", "`warning`", "`failure`"];
    let rows = document.rows().filter(|cells| levels.contains(&cells[1]));
    let said: BTreeSet<&str> = rows.map(|cells| cells[0].trim_matches('`')).collect();
    assert_eq!(said, known);
}
