//! A workspace with everything that can be lost: a port that answers, data in an anonymous volume,
//! a fixed address, aliases, a restart policy, a label. It is swapped over and over, disturbed in
//! every way, and has to be well after each.

use crate::engine::lab::Lab;
use crate::engine::lab::STOPPED_TOO;
use crate::engine::swap::every_moment::Moment;
use crate::support::engine_proxy::Action;
use crate::support::engine_proxy::EngineProxy;
use crate::support::engine_proxy::Place;
use crate::support::eventually;
use crate::support::free_port;
use crate::support::images::ImageSpec;
use crate::support::images::agent;
use crate::support::program::Program;
use crate::support::tidy;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeSet;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::Sender;
use std::sync::mpsc::channel;
use std::time::Duration;
use std::time::Instant;

/// How long a recovery may take.
const RECOVERY: Duration = Duration::from_secs(120);
/// How long after its start the workspace answers.
const COMING_UP: Duration = Duration::from_secs(5);
/// How long a refresh may take whatever goes wrong.
const LONGEST_REFRESH: Duration = Duration::from_secs(300);
/// How long a volume of another test may have no container.
const LEFT_OVER: Duration = Duration::from_secs(60);
/// The data in the volume.
const DATA: &str = "precious";

/// Said once the admin endpoint can be asked.
const LISTENING: &str = "listening on http://";

/// What the next image is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// It comes up.
    Good,
    /// It exits at once.
    Exits,
}

/// The container, and what it has to be like.
pub(crate) struct Workspace<'l> {
    pub(crate) lab: &'l Lab,
    /// What the names of its containers begin with.
    key: String,
    running: bool,
    network: String,
    address: String,
    port: u16,
    /// Of the image last published.
    generation: u32,
    before: Value,
    bystander: Value,
    dangling: BTreeSet<String>,
}

impl<'l> Workspace<'l> {
    /// One that runs, or one that was stopped.
    pub(crate) fn new(lab: &'l Lab, running: bool) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let key = lab.name(&format!("{number}-"));
        let third = number % 250;
        let second = 100 + std::process::id() % 150;
        let mut workspace = Self {
            lab,
            network: format!("{key}net"),
            key,
            running,
            address: format!("10.{second}.{third}.50"),
            port: free_port(),
            generation: 0,
            before: Value::Null,
            bystander: Value::Null,
            dangling: BTreeSet::new(),
        };
        let subnet = format!("10.{second}.{third}.0/24");
        let config = json!({"Name": workspace.network, "IPAM": {"Config": [{"Subnet": subnet}]}});
        let (status, answer) = lab.docker.json("POST", "/networks/create", &config);
        assert_eq!(status, 201, "{answer}");
        workspace.make();
        workspace
    }

    /// The name that must not be lost.
    pub(crate) fn name(&self) -> String {
        format!("{}w", self.key)
    }

    /// What the names of its containers begin with.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The next `docker compose up` has to start what runs.
    #[track_caller]
    pub(crate) fn assert_tag_is_what_runs(&self, done: &[String]) {
        let docker = &self.lab.docker;
        let tagged = docker.image(&self.lab.reference(&self.runtime()));
        assert_eq!(
            docker.inspect(&self.name())["Image"],
            tagged["Id"],
            "{done:?}"
        );
    }

    fn runtime(&self) -> String {
        format!("{}app", self.key)
    }

    fn make(&mut self) {
        let docker = &self.lab.docker;
        self.publish(Next::Good);
        self.lab.pull(&self.runtime());
        let image = self.lab.reference(&self.runtime());
        let port = json!([{"HostIp": "127.0.0.1", "HostPort": self.port.to_string()}]);
        let body = json!({
            "Image": image, "Labels": {"owner": "me"}, "Volumes": {"/data": {}}, "StopTimeout": 1,
            "ExposedPorts": {"8000/tcp": {}},
            "HostConfig": {"NetworkMode": self.network, "RestartPolicy": {"Name": "always"},
                           "PortBindings": {"8000/tcp": port}},
            "NetworkingConfig": {"EndpointsConfig": {&self.network: {
                "Aliases": ["agent", "helper"], "IPAMConfig": {"IPv4Address": self.address}}}},
        });
        // The bystander is always the oldest.
        let bystander = format!("{}by", self.key);
        docker.run(&bystander, &json!({"Image": image}));
        self.bystander = docker.inspect(&bystander);
        docker.run(&self.name(), &body);
        let write = format!("echo {DATA} > /data/file");
        docker.exec(&self.name(), &["/bin/busybox", "sh", "-c", &write]);
        if !self.running {
            docker.stop(&self.name());
        }
        self.before = docker.inspect(&self.name());
        self.dangling = self.dangling_volumes();
    }

    /// Throws away what a failure left, and begins anew.
    pub(crate) fn renew(&mut self) {
        self.remove();
        self.port = free_port();
        self.make();
    }

    /// Volumes too: a successor has them by name, so the Engine keeps them.
    fn remove(&self) {
        let docker = &self.lab.docker;
        let mut owned = volumes(&self.before);
        for name in docker.names(&self.key) {
            owned.extend(volumes(&docker.inspect(&name)));
            docker.remove(&name);
        }
        for (name, _) in owned {
            docker.ask("DELETE", &format!("/volumes/{name}"), b"");
        }
    }

    /// A kill between the move of the tag and the creation of the successor leaves the tag there. Then the next run has
    /// other calls.
    fn give_back_tag(&self) {
        if let Some(image) = self.lab.docker.inspect(&self.name())["Image"].as_str() {
            let name = self.lab.reference(&self.runtime());
            let name = name.trim_end_matches(":latest");
            let path = format!("/images/{image}/tag?repo={name}&tag=latest");
            self.lab.docker.ask("POST", &path, b"");
        }
    }

    /// Publishes another image and answers its mark.
    pub(crate) fn publish(&mut self, next: Next) -> String {
        self.give_back_tag();
        self.generation += 1;
        let mark = format!("v{}", self.generation);
        let serve = match next {
            Next::Good => {
                "httpd -p 8000 -h /; trap 'exit 0' TERM; while sleep 1 & wait $!; do :; done"
            }
            Next::Exits => "exit 3",
        };
        let script = format!("echo {mark} > /tmp/mark; {serve}");
        // A volume that older images do not have: it goes with a successor that is not accepted.
        let volume = format!("/extra-{mark}");
        // No workspace has another one's images: if all names of an image move at the same time, Docker with
        // containerd's store loses it, though containers run it.
        let image = ImageSpec::new(&mark)
            .with("Labels", json!({"version": mark, "workspace": self.key}))
            .with("Cmd", json!(["/bin/busybox", "sh", "-c", script]))
            .with("Volumes", json!({ volume: {} }));
        self.lab.publish(&self.runtime(), &image);
        mark
    }

    /// Where it answers.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn id(&self) -> String {
        self.before["Id"].as_str().expect("an id").to_owned()
    }

    /// What it follows.
    pub(crate) fn reference(&self) -> String {
        self.lab.reference(&self.runtime())
    }

    /// The id of the image it runs.
    pub(crate) fn image(&self) -> String {
        self.before["Image"].as_str().expect("an id").to_owned()
    }

    /// The mark of the image it runs.
    pub(crate) fn mark(&self) -> String {
        let label = &self.before["Config"]["Labels"]["version"];
        label.as_str().unwrap_or_default().to_owned()
    }

    /// The program that looks after this workspace and no other, without waiting for it.
    pub(crate) fn spawn(&self, host: &str) -> Program {
        self.spawn_with(host, &[])
    }

    /// The same with more variables.
    pub(crate) fn spawn_with(&self, host: &str, more: &[(&str, &str)]) -> Program {
        let name = self.name();
        let mut vars = vec![("DOCKER_HOST", host), ("IMAGEWATCH_PREFIX", name.as_str())];
        vars.extend((!self.running).then_some(STOPPED_TOO));
        vars.extend(more);
        self.lab.spawn(&self.runtime(), &vars)
    }

    /// Starts the program, has it refresh, and does something to one of its calls.
    pub(crate) fn run(&self, plan: Option<(Place, Action)>) -> Run {
        let between = EngineProxy::part(&self.lab.docker, &self.key);
        let now = self.lab.docker.inspect(&self.name());
        between.number_first(&[&self.bystander["Id"], &now["Id"], &now["Image"]]);
        let (tell, events) = channel();
        if let Some((place, action)) = plan {
            let tell = tell.clone();
            between.at(place, action, move |line| {
                let _ = tell.send(Event::Called(line));
            });
        }
        let program = self.spawn(&between.host());
        let mut early = Vec::new();
        eventually("it listens, or does the call", || {
            early.extend(events.try_iter());
            (program.has_said(LISTENING) || !early.is_empty()).then_some(())
        });
        let mut run = Run {
            program,
            between,
            events,
            tell,
            early,
            asked: false,
        };
        if run.program.has_said(LISTENING) {
            run.ask();
        }
        run
    }

    /// An undisturbed swap to such an image: its calls.
    #[track_caller]
    pub(crate) fn undisturbed(&mut self, next: Next) -> Vec<String> {
        self.publish(next);
        let mut run = self.run(None);
        let (status, report) = run.await_report();
        assert_eq!(status, 200, "{report}");
        self.settle(COMING_UP);
        run.between.lines()
    }

    /// Starts the program once more, undisturbed, and waits until all is well again.
    #[track_caller]
    pub(crate) fn recover(&mut self) -> String {
        self.recover_through(&EngineProxy::part(&self.lab.docker, &self.key))
    }

    /// The same for its calls.
    #[track_caller]
    pub(crate) fn recover_calls(&mut self) -> Vec<String> {
        let between = EngineProxy::part(&self.lab.docker, &self.key);
        self.recover_through(&between);
        between.lines()
    }

    #[track_caller]
    fn recover_through(&mut self, between: &EngineProxy) -> String {
        let mut program = self.spawn(&between.host());
        program.await_line(LISTENING);
        self.await_well(RECOVERY);
        program.signal("TERM");
        program.await_exit();
        self.settle(COMING_UP)
    }

    /// Starts the program, which recovers, and kills it at this call of that.
    #[track_caller]
    pub(crate) fn cut_recovery_short(&self, moment: &Moment) {
        let between = EngineProxy::part(&self.lab.docker, &self.key);
        let (tell, called) = channel();
        let (place, action) = moment.plan();
        between.at(place, action, move |line| {
            let _ = tell.send(line);
        });
        let mut program = self.spawn(&between.host());
        let line = called.recv_timeout(RECOVERY);
        assert!(
            line.is_ok() || !moment.is_certain(),
            "no such call in {:?}",
            between.lines()
        );
        program.kill();
    }

    /// After a restart of the Engine, which nothing brings it back from.
    pub(crate) fn restart_bystander(&mut self) {
        let bystander = format!("{}by", self.key);
        self.lab.docker.start(&bystander);
        self.bystander = self.lab.docker.inspect(&bystander);
    }

    /// Waits until all is well, and answers the mark of the image it runs then, or else what is
    /// wrong.
    pub(crate) fn wait_well(&self, patience: Duration) -> Result<String, String> {
        wait(patience, || self.look())
    }

    /// The same, where it has to be well.
    #[track_caller]
    pub(crate) fn await_well(&self, patience: Duration) -> String {
        let outcome = self.wait_well(patience);
        outcome.unwrap_or_else(|trouble| panic!("after {patience:?}: {trouble}"))
    }

    /// The same, and that is how things are from now on.
    #[track_caller]
    pub(crate) fn settle(&mut self, patience: Duration) -> String {
        let mark = self.await_well(patience);
        self.await_no_stray_volume();
        self.before = self.lab.docker.inspect(&self.name());
        mark
    }

    /// From now on things are as they are, volumes included.
    pub(crate) fn take_as_it_is(&mut self) {
        self.before = self.lab.docker.inspect(&self.name());
        self.dangling = self.dangling_volumes();
    }

    /// What is there now: the mark, or what is wrong.
    fn look(&self) -> Result<String, String> {
        let docker = &self.lab.docker;
        let expect = |right: bool, what: String| if right { Ok(()) } else { Err(what) };
        let names = docker.names(&self.key);
        let bystander = format!("{}by", self.key);
        let expected = [bystander.clone(), self.name()];
        expect(names == expected, format!("the containers are {names:?}"))?;

        let now = docker.inspect(&self.name());
        let running = now["State"]["Running"] == true && now["State"]["Restarting"] != true;
        let state = format!("its state is {}", now["State"]);
        expect(running == self.running, state)?;
        let endpoint = format!("/NetworkSettings/Networks/{}", self.network);
        for path in [
            "/HostConfig/RestartPolicy",
            "/HostConfig/PortBindings",
            "/HostConfig/NetworkMode",
            "/Config/Labels/owner",
            &format!("{endpoint}/IPAMConfig"),
        ] {
            let (old, new) = (self.before.pointer(path), now.pointer(path));
            expect(old == new, format!("{path} was {old:?} and is {new:?}"))?;
        }
        let aliases = aliases(&now, &endpoint);
        expect(
            aliases == ["agent", "helper"],
            format!("its aliases are {aliases:?}"),
        )?;
        let (old, new) = (volumes(&self.before), volumes(&now));
        let label = &now["Config"]["Labels"]["version"];
        let mark = label.as_str().unwrap_or_default().to_owned();
        let mut expected = old.clone();
        expected.extend(
            new.iter()
                .find(|(_, target)| *target == format!("/extra-{mark}"))
                .cloned(),
        );
        expect(
            new == expected,
            format!("its volumes were {old:?} and are {new:?}"),
        )?;
        if running {
            let address = now.pointer(&format!("{endpoint}/IPAddress"));
            // Podman does not tell a fixed address from another, so there it is not kept.
            let fixed = now.pointer(&format!("{endpoint}/IPAMConfig/IPv4Address"));
            expect(
                fixed.is_none() || address == Some(&json!(self.address)),
                format!("its address is {address:?}"),
            )?;
            for (path, text) in [("/data/file", DATA), ("/tmp/mark", &*mark)] {
                let answer = get(self.port, path);
                expect(
                    answer.as_deref() == Some(text),
                    format!("{path} answers {answer:?}"),
                )?;
            }
        }
        let other = docker.inspect(&bystander);
        let same = ["/Id", "/State/Running", "/State/StartedAt"]
            .iter()
            .all(|path| other.pointer(path) == self.bystander.pointer(path));
        expect(same, format!("the bystander is now {}", other["State"]))?;
        Ok(mark)
    }

    /// No volume is left over. For a moment there may be some, of another test's container that is just being
    /// made or removed.
    #[track_caller]
    fn await_no_stray_volume(&self) {
        let look = || {
            let now = self.dangling_volumes();
            let stray: Vec<_> = now.difference(&self.dangling).collect();
            if stray.is_empty() {
                Ok(())
            } else {
                Err(format!("volumes are left over: {stray:?}"))
            }
        };
        wait(LEFT_OVER, look).unwrap_or_else(|trouble| panic!("{trouble}"));
    }

    /// Volumes that no container has.
    fn dangling_volumes(&self) -> BTreeSet<String> {
        let path = "/volumes?filters=%7B%22dangling%22%3A%5B%22true%22%5D%7D";
        let (_, answer) = self.lab.docker.json("GET", path, &Value::Null);
        let list = answer["Volumes"].as_array();
        let names = list.into_iter().flatten().map(|one| one["Name"].as_str());
        names.flatten().map(str::to_owned).collect()
    }
}

impl Drop for Workspace<'_> {
    fn drop(&mut self) {
        tidy(|| {
            self.remove();
            let path = format!("/networks/{}", self.network);
            self.lab.docker.ask("DELETE", &path, b"");
        });
    }
}

enum Event {
    /// The chosen call has come.
    Called(String),
    /// The refresh is over, or the program.
    Answered(Option<(u16, Value)>),
}

/// The program at work.
pub(crate) struct Run {
    pub(crate) program: Program,
    pub(crate) between: EngineProxy,
    events: Receiver<Event>,
    tell: Sender<Event>,
    early: Vec<Event>,
    asked: bool,
}

impl Run {
    /// Orders a refresh.
    pub(crate) fn ask(&mut self) {
        self.asked = true;
        let url = format!(
            "http://{}/admin/workspace-images/refresh",
            self.program.host()
        );
        let tell = self.tell.clone();
        std::thread::spawn(move || {
            let answer = agent().post(url).send_empty().ok().and_then(|mut answer| {
                let body = answer.body_mut().read_to_string().ok()?;
                let report = serde_json::from_str(&body).unwrap_or(Value::Null);
                Some((answer.status().as_u16(), report))
            });
            let _ = tell.send(Event::Answered(answer));
        });
    }

    #[track_caller]
    fn next(&mut self) -> Event {
        if let Some(event) = self.early.pop() {
            return event;
        }
        let event = self.events.recv_timeout(LONGEST_REFRESH);
        event.unwrap_or_else(|_| panic!("no report after {LONGEST_REFRESH:?}"))
    }

    /// The line of the chosen call as soon as it comes; `None` if the refresh ended without it.
    #[track_caller]
    pub(crate) fn await_call(&mut self) -> Option<String> {
        match self.next() {
            Event::Called(line) => Some(line),
            Event::Answered(_) => None,
        }
    }

    /// The report, whatever happens to the calls.
    #[track_caller]
    pub(crate) fn await_report(&mut self) -> (u16, Value) {
        if !self.asked {
            self.program.await_line(LISTENING);
            self.ask();
        }
        loop {
            if let Event::Answered(answer) = self.next() {
                return answer.expect("the program ended");
            }
        }
    }
}

/// The aliases its owner gave it; an Engine adds the short id.
fn aliases(inspect: &Value, endpoint: &str) -> Vec<String> {
    let id = inspect["Id"].as_str().unwrap_or_default();
    let list = inspect.pointer(&format!("{endpoint}/Aliases"));
    let list = list.and_then(Value::as_array).into_iter().flatten();
    let mut aliases: Vec<String> = list
        .filter_map(Value::as_str)
        .filter(|alias| !id.starts_with(alias))
        .map(str::to_owned)
        .collect();
    aliases.sort();
    aliases
}

/// Name and target of each volume.
fn volumes(inspect: &Value) -> BTreeSet<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mounts = inspect["Mounts"].as_array().into_iter().flatten();
    mounts
        .map(|mount| (text(&mount["Name"]), text(&mount["Destination"])))
        .collect()
}

/// What a loopback port serves, without white space at its ends.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some(body.trim().to_owned())
}

/// Looks until all is well, or patience is at its end; answers what was seen last.
fn wait<T>(patience: Duration, look: impl Fn() -> Result<T, String>) -> Result<T, String> {
    let begun = Instant::now();
    loop {
        match look() {
            Err(_) if begun.elapsed() < patience => std::thread::sleep(Duration::from_millis(100)),
            outcome => return outcome,
        }
    }
}
