//! How everything has to be once it is calm again, and what is not so.

use super::Storm;
use super::members::GENERATION;
use super::members::Member;
use super::members::Published;
use super::members::WHO;
use super::others::renamed;
use super::script::Deed;
use super::script::Disturbance;
use super::script::PROVIDER;
use super::script::followers;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How long before its first call, and after its last one, a swap may know what it will do.
const BEFORE: Duration = Duration::from_millis(500);
const AFTER: Duration = Duration::from_millis(2500);

/// What a container's owner wants it to be.
pub(super) struct Wish {
    count: RangeInclusive<usize>,
    names: Vec<String>,
    /// `None`: it cannot be known.
    is_up: Option<bool>,
    image: Wanted,
    has_data: bool,
    /// It shares a namespace of the provider that is there now.
    shares: bool,
    generation: &'static str,
    /// Nobody but the program has touched it.
    is_plain: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// The newest of its tag, or any good one where the newest is bad.
    Newest,
    /// Any good one, if it runs.
    Good,
    /// The one it was made from.
    First,
    Anything,
}

/// A container as the Engine shows it now.
struct Present {
    name: String,
    inspect: Value,
}

impl Wish {
    /// Whether it is one that its owner replaced in mid-swap: that may lie about, as it is said, while it
    /// does not run.
    fn is_replaced(&self, one: &Present) -> bool {
        self.generation == "2"
            && one.name.contains(".iw-old-")
            && one.inspect["State"]["Running"] == false
    }
}

impl Storm<'_> {
    /// What its owner wants of a container, after all that was done to it.
    fn wish(&self, number: usize) -> Wish {
        let member = &self.members[number];
        let mut wish = Wish {
            count: 1..=1,
            names: vec![member.name.clone()],
            is_up: Some(!member.is_stopped),
            image: if member.is_stopped {
                Wanted::First
            } else {
                Wanted::Newest
            },
            has_data: member.has_data,
            shares: member.shares.is_some(),
            generation: "1",
            is_plain: !member.is_stopped,
        };
        if let Some(done) = &self.effect.done {
            if done.member == number {
                self.change_by_deed(&mut wish, member);
                wish.is_plain = false;
            } else if done.member == followers(PROVIDER)[0] && member.shares.is_some() {
                // Who lives in a container that is not as it was is left alone.
                match done.deed {
                    Deed::Stop | Deed::Kill => {
                        wish.image = Wanted::Good;
                        // It ends with the first of its processes, or is not started without it.
                        if done.is_in_swap || member.shares == Some("PidMode") {
                            wish.is_up = None;
                        }
                    }
                    Deed::Remove | Deed::Recreate => {
                        wish.image = Wanted::Good;
                        wish.shares = false;
                        // It ends with the first of its processes, whoever is made in its place.
                        if !done.is_in_swap && member.shares == Some("PidMode") {
                            wish.is_up = None;
                        }
                    }
                    // It ends with the first of its processes, and Docker may start it again before that one is back.
                    Deed::Restart if member.shares == Some("PidMode") => wish.is_up = None,
                    Deed::Restart | Deed::Rename | Deed::Start => {}
                }
                wish.is_plain = matches!(done.deed, Deed::Restart | Deed::Rename);
            }
        }
        // A leftover of an Engine that was killed may be killed again and again by the next one.
        let is_killed = self.script.disturbance == Disturbance::KillEngine;
        let back = self
            .effect
            .in_swap_at_restart
            .as_ref()
            .map(|(_, back)| *back);
        let is_leftover = !self.timeline.was_renewed(&member.name)
            || back.is_some_and(|back| self.timeline.was_swap_over(&member.name, back));
        if is_killed && is_leftover {
            wish.is_up = wish.is_up.filter(|_| member.is_stopped);
        }
        if let Some(pruned) = &self.effect.pruned {
            let own = |id: &String| self.timeline.is_of(id, &member.name);
            let is_taken = pruned.containers.iter().any(own);
            // Both halves of a swap are gone, and so is whoever knew of it.
            if member.is_stopped || (is_taken && self.kills > 0) {
                wish.count = 0..=1;
                wish.image = Wanted::Anything;
                wish.is_up = wish.is_up.filter(|_| member.is_stopped);
                wish.is_plain = false;
            }
            wish.has_data &= !pruned
                .volumes
                .iter()
                .any(|name| has_volume(&member.first, name));
        }
        wish
    }

    fn change_by_deed(&self, wish: &mut Wish, member: &Member) {
        let Some(done) = &self.effect.done else {
            return;
        };
        let mut images = self.tags()[member.tag].published.clone().into_iter();
        let is_near = done.is_in_swap
            || self
                .timeline
                .has_swap(&member.name, done.from - BEFORE, done.to + AFTER);
        let is_certain = done.is_effective && !is_near;
        match done.deed {
            Deed::Restart => {}
            Deed::Start => {
                wish.is_up = Some(true);
                wish.image = Wanted::Newest;
            }
            Deed::Stop | Deed::Kill => {
                let is_certain = is_certain || self.is_stop_of_a_good_successor(member);
                wish.is_up = is_certain.then_some(false);
                wish.image = Wanted::Good;
            }
            Deed::Remove => {
                wish.count = if is_certain { 0..=0 } else { 0..=1 };
                // One that was removed in mid-swap may be the one that is found again.
                wish.image = Wanted::Good;
            }
            Deed::Rename if is_certain => wish.names = vec![renamed(&member.name)],
            Deed::Rename if done.is_effective => wish.names.push(renamed(&member.name)),
            Deed::Rename => {}
            Deed::Recreate => {
                wish.has_data = false;
                if done.is_effective {
                    wish.generation = "2";
                } else {
                    wish.count = 0..=1;
                    wish.image = Wanted::Anything;
                }
                // He may have got a bad one, from the tag as it was in mid-swap.
                if images.any(|one| !one.image.is_good()) {
                    wish.image = Wanted::Anything;
                    wish.is_up = None;
                }
            }
        }
    }

    /// Whether what was stopped ran the newest image, which is good, and its restart policy tells an
    /// owner's stop from an end of its own.
    fn is_stop_of_a_good_successor(&self, member: &Member) -> bool {
        let Some(done) = &self.effect.done else {
            return false;
        };
        let newest = self.tags()[member.tag].newest().clone();
        done.is_effective
            && self.kills == 0
            && matches!(member.policy, "always" | "unless-stopped")
            && newest.image.is_good()
            && done.before["State"]["Running"] == true
            && done.before["Config"]["Labels"]["version"] == *newest.mark
    }

    /// Starts what the Engine does not bring back when it is restarted, as its owner would. What was in
    /// mid-swap is the program's to bring back.
    pub(super) fn start_what_stays_down(&self) {
        let Some((in_swap, back)) = &self.effect.in_swap_at_restart else {
            return;
        };
        if self
            .lab
            .docker
            .names("")
            .iter()
            .any(|name| name.contains(".iw-"))
        {
            return;
        }
        let has_died = self.script.disturbance == Disturbance::KillEngine;
        for member in &self.members {
            // A swap that was under way when the Engine was told to stop may have been over when it did.
            let is_the_programs =
                in_swap.contains(&member.name) && !self.timeline.was_swap_over(&member.name, *back);
            let stays_down = match member.policy {
                _ if member.is_stopped || is_the_programs => false,
                // One that is killed remembers those of this kind as stopped.
                "unless-stopped" => has_died,
                // It may be started before its provider.
                "always" => member.shares.is_some(),
                _ => true,
            };
            let now = self.lab.docker.inspect(&member.name);
            if stays_down && now["State"]["Running"] == false {
                self.timeline
                    .note(format!("starts {}, which the Engine left down", member.who));
                let path = format!("/containers/{}/start", member.name);
                self.lab.docker.ask("POST", &path, b"");
            }
        }
    }

    /// Whether an Engine that was killed shows a container as restarting for ever.
    pub(super) fn has_lost_process(&self) -> bool {
        let is_killed = self.script.disturbance == Disturbance::KillEngine;
        let is_lost = |name: &String| {
            let state = self.lab.docker.inspect(name)["State"].clone();
            state["Restarting"] == true && state["Pid"] == 0
        };
        let names = self.lab.docker.names("");
        is_killed
            && names
                .iter()
                .filter(|name| name.contains(".iw-new-"))
                .any(is_lost)
    }

    /// Who does not run under its own name, though its owner wants it up.
    pub(super) fn down_beside_the_lost_one(&self) -> Vec<String> {
        let numbered = self.members.iter().enumerate();
        let wanted = numbered.filter(|(number, _)| self.wish(*number).is_up == Some(true));
        let is_down = |name: &str| self.lab.docker.inspect(name)["State"]["Running"] != true;
        let down = wanted.filter(|(_, member)| is_down(&member.name));
        down.map(|(_, member)| format!("{} is down", member.who))
            .collect()
    }

    /// Everything that is not as it should be.
    pub(super) fn trouble(&self) -> Vec<String> {
        let mut trouble = Vec::new();
        let (_, list) = self
            .lab
            .docker
            .json("GET", "/containers/json?all=1", &Value::Null);
        let list = list.as_array().cloned().unwrap_or_default();
        let wishes: Vec<Wish> = (0..self.members.len()).map(|one| self.wish(one)).collect();
        let mut left = Vec::new();
        let mut present = Vec::new();
        for (member, wish) in self.members.iter().zip(&wishes) {
            let all = self.present(member, &list).into_iter();
            let (replaced, own): (Vec<_>, Vec<_>) = all.partition(|one| wish.is_replaced(one));
            left.extend(replaced.into_iter().map(|one| one.name));
            present.push(own);
        }
        let provider = present[followers(PROVIDER)[0]].first();
        let (status, answer) = self.program().ask("GET", "/admin/status");
        if status != 200 {
            trouble.push(format!("the status is {status}"));
        }
        for (number, member) in self.members.iter().enumerate() {
            let (wish, found) = (&wishes[number], &present[number]);
            let mut own = self.trouble_with(member, wish, found, provider);
            own.extend(self.untold(member, wish, found, &answer["history"]));
            trouble.extend(
                own.into_iter()
                    .map(|words| format!("{}: {words}", member.who)),
            );
        }
        trouble.extend(self.left_over(&present, &left, &wishes));
        trouble.extend(self.misjudged(&answer, &wishes));
        let (status, health) = self.program().ask("GET", "/health");
        if status != 200 {
            trouble.push(format!("/health is {status}: {health}"));
        }
        for (_, line) in self.log() {
            if line.contains("panicked") {
                trouble.push(line);
            }
        }
        trouble
    }

    /// Every container of this one's label, whatever its name.
    fn present(&self, member: &Member, list: &[Value]) -> Vec<Present> {
        let own = list.iter().filter(|one| one["Labels"][WHO] == member.who);
        let inspect = own.map(|one| {
            self.lab
                .docker
                .inspect(one["Id"].as_str().unwrap_or_default())
        });
        let found = inspect.filter(|inspect| !inspect.is_null());
        found
            .map(|inspect| Present {
                name: text(&inspect, "/Name").trim_start_matches('/').to_owned(),
                inspect,
            })
            .collect()
    }

    fn trouble_with(
        &self,
        member: &Member,
        wish: &Wish,
        found: &[Present],
        provider: Option<&Present>,
    ) -> Vec<String> {
        let mut trouble = Vec::new();
        if !wish.count.contains(&found.len()) {
            let names: Vec<&String> = found.iter().map(|one| &one.name).collect();
            trouble.push(format!(
                "there should be {:?} and there are {names:?}",
                wish.count
            ));
        }
        let Some(Present { name, inspect }) = found.first() else {
            return trouble;
        };
        let mut expect = |right: bool, words: &dyn Fn() -> String| {
            if !right {
                trouble.push(words());
            }
        };
        let state = &inspect["State"];
        let is_up = state["Running"] == true && state["Restarting"] != true;
        expect(wish.names.contains(name), &|| format!("its name is {name}"));
        expect(wish.is_up.is_none_or(|up| up == is_up), &|| {
            format!("its state is {state}")
        });
        let generation = &inspect["Config"]["Labels"][GENERATION];
        expect(*generation == wish.generation, &|| {
            format!("its owner's one was replaced: {generation}")
        });
        let policy = &inspect["HostConfig"]["RestartPolicy"];
        let wanted = &member.first["HostConfig"]["RestartPolicy"];
        expect(policy == wanted, &|| {
            format!("its policy is {policy}, not {wanted}")
        });
        let image = self.wrong_image(member, wish, is_up, inspect);
        expect(image.is_none(), &|| image.clone().unwrap_or_default());
        if let (Some(namespace), true, Some(provider)) = (member.shares, wish.shares, provider) {
            let mode = text(inspect, &format!("/HostConfig/{namespace}"));
            let wanted = format!("container:{}", text(&provider.inspect, "/Id"));
            expect(mode == wanted, &|| {
                format!("it shares {mode}, not {wanted}")
            });
        }
        if wish.has_data {
            let has_data = member.has_its_data(self.lab, &text(inspect, "/Id"));
            expect(has_data, &|| "its data is gone".to_owned());
            let (old, new) = (volumes(&member.first), volumes(inspect));
            expect(old == new, &|| {
                format!("its volumes were {old:?} and are {new:?}")
            });
        }
        trouble
    }

    fn wrong_image(
        &self,
        member: &Member,
        wish: &Wish,
        is_up: bool,
        now: &Value,
    ) -> Option<String> {
        let tags = self.tags();
        let tag = &tags[member.tag];
        let mark = text(now, "/Config/Labels/version");
        let newest = tag.newest();
        let is_newest = mark == newest.mark && newest.ids.contains(&text(now, "/Image"));
        let is_right = match wish.image {
            Wanted::Anything => true,
            Wanted::First => now["Image"] == member.first["Image"],
            Wanted::Newest if newest.image.is_good() => is_newest,
            Wanted::Newest | Wanted::Good => tag.is_good(&mark) || !is_up,
        };
        (!is_right).then(|| {
            format!(
                "it runs {mark} ({}), the tag is {}",
                now["Image"], newest.mark
            )
        })
    }

    /// What the history does not tell, or tells wrongly.
    fn untold(
        &self,
        member: &Member,
        wish: &Wish,
        found: &[Present],
        history: &Value,
    ) -> Vec<String> {
        let mut trouble = Vec::new();
        // Two programs have two histories.
        let is_shared = matches!(self.script.disturbance, Disturbance::SecondProgram(_));
        let entries: Vec<&Value> = history.as_array().into_iter().flatten().collect();
        let own = entries
            .iter()
            .filter(|one| one["container"] == *member.name);
        let own: Vec<&&Value> = own.collect();
        let tags = self.tags();
        let bad = |entry: &&&&Value| {
            let image = tags[member.tag].by_id(entry["new"].as_str().unwrap_or_default());
            entry["outcome"] == "recreated" && image.is_some_and(|one| !one.image.is_good())
        };
        if wish.is_up == Some(true)
            && let Some(entry) = own.iter().find(bad)
        {
            trouble.push(format!("a bad image was accepted: {entry}"));
        }
        let Some(Present { inspect, .. }) = found.first().filter(|_| wish.is_plain && !is_shared)
        else {
            return trouble;
        };
        let now = &inspect["Image"];
        let told = own
            .iter()
            .find(|one| one["outcome"] == "recreated" || one["outcome"] == "rolled_back");
        let is_told = match told {
            Some(entry) if entry["outcome"] == "recreated" => entry["new"] == *now,
            Some(entry) => entry["old"] == *now,
            None => member.first["Image"] == *now,
        };
        if !is_told {
            let told = told.map_or(json!("nothing"), |entry| (**entry).clone());
            trouble.push(format!("it runs {now}, and the history tells {told}"));
        }
        trouble
    }

    /// What nobody wanted is there.
    fn left_over(&self, present: &[Vec<Present>], left: &[String], wishes: &[Wish]) -> Vec<String> {
        let mut trouble = Vec::new();
        let own = present.iter().flatten().map(|one| &one.name);
        let known: BTreeSet<&String> = own.chain(left).collect();
        let names = self.lab.docker.names("");
        let others: Vec<&String> = names.iter().filter(|name| !known.contains(name)).collect();
        if !others.is_empty() {
            trouble.push(format!("containers are left over: {others:?}"));
        }
        // An owner who removes a container keeps its volumes.
        let is_his = |name: &String| {
            let mut all = self.members.iter().zip(wishes);
            all.any(|(one, wish)| has_volume(&one.first, name) && !wish.is_plain)
        };
        let dangling = super::dangling_volumes(self.lab);
        let left: Vec<&String> = dangling
            .difference(&self.dangling)
            .filter(|name| !is_his(name))
            .collect();
        if !left.is_empty() {
            trouble.push(format!("volumes are left over: {left:?}"));
        }
        trouble
    }

    /// What is rejected and should not be, or the other way round.
    fn misjudged(&self, status: &Value, wishes: &[Wish]) -> Vec<String> {
        let mut trouble = Vec::new();
        let references: Vec<&Value> = status["references"]
            .as_array()
            .into_iter()
            .flatten()
            .collect();
        let rejected = status["rejected"].to_string();
        for (number, tag) in self.tags().iter().enumerate() {
            let good = |one: &&Published| one.image.is_good() && rejected.contains(&one.digest);
            if let Some(image) = tag.published.iter().find(good) {
                trouble.push(format!("{} is good and rejected: {rejected}", image.mark));
            }
            let mut own = self
                .members
                .iter()
                .zip(wishes)
                .filter(|(one, _)| one.tag == number && !one.is_stopped);
            if !own.all(|(_, wish)| wish.is_plain) {
                continue;
            }
            let reference = tag.reference(self.lab);
            let found = references.iter().find(|one| one["reference"] == *reference);
            let newest = tag.newest();
            let wanted = if newest.image.is_good() {
                "current"
            } else {
                "rejected"
            };
            let state = found.map_or(Value::Null, |one| one["state"].clone());
            if state != wanted {
                trouble.push(format!(
                    "{} should be {wanted}: {}",
                    newest.mark,
                    found.map_or(&Value::Null, |one| one)
                ));
            }
        }
        trouble
    }
}

fn text(json: &Value, path: &str) -> String {
    let found = json.pointer(path).and_then(Value::as_str);
    found.unwrap_or_default().to_owned()
}

/// Name and target of each volume.
fn volumes(inspect: &Value) -> BTreeSet<(String, String)> {
    let mounts = inspect["Mounts"].as_array().into_iter().flatten();
    mounts
        .map(|mount| (text(mount, "/Name"), text(mount, "/Destination")))
        .collect()
}

fn has_volume(inspect: &Value, name: &str) -> bool {
    volumes(inspect).iter().any(|(own, _)| own == name)
}
