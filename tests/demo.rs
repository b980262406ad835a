//! `authz-sidecar demo`: the real binary, real sockets, a real SIGKILL. That the story can end
//! badly is shown beside it, in `src/cli/demo/story/tests.rs`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as loudly as tests")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_authz-sidecar");

/// Runs the story with its temporary files in `directory`.
fn story(directory: &Path) -> Output {
    let mut command = Command::new(BINARY);
    command.args(["demo", "--once"]).env("TMPDIR", directory);
    // Settings of the user's own sidecar must not get into the demo's.
    command.env("AUTHZ_SIDECAR_LISTEN", "nonsense").output().unwrap()
}

#[test]
fn p1_p2_p3_the_story_is_told_and_every_promise_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let Output { status, stdout, stderr } = story(directory.path());
    let (out, err) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert!(status.success(), "{status}\n{err}\n{out}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(err, "");
    let lines = [
        "1. A create is registered before its client hears of it",
        "→ the back end holds it, owner user-1, parent agent:agent-1",
        "→ the back end holds it, owner user-1, parent agent:agent-1",
        "2. While the back end is down no create stands",
        "→ 503, urn:authz-sidecar:problem:not-registered, undo: done",
        "→ the keys service has no such row",
        "3. A delete deregisters",
        "→ 200, the service's own answer",
        "→ row and registration are gone",
        "4. A delete during an outage is made up for",
        "→ 200, the service's own answer",
        "→ its registration is still there",
        "→ GET /operations: ",
        "- the back end comes back",
        "→ row and registration are gone",
        "5. Killed after the insert, before the service's answer",
        "- kill -9 ",
        "→ the client gets no answer",
        "- started again on the same journal",
        "→ rows and registrations are the same set",
        "6. Killed after the registration, before its acknowledgement",
        "- kill -9 ",
        "→ rows and registrations are the same set",
        "7. At the end nothing is left over.",
        "→ GET /operations: none is open",
        "Every promise was kept.",
    ];
    let mut rest = out.as_str();
    for line in lines {
        let at = rest.find(line).unwrap_or_else(|| panic!("no {line:?} in\n{rest}\nof\n{out}"));
        rest = &rest[at + line.len()..];
    }
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert!(left.is_empty(), "files are left behind: {left:?}");
}

#[test]
fn the_demo_stays_up_restarts_its_sidecar_and_takes_it_along_when_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(directory.path());
    let first = demo.sidecar();
    let told = demo.until("Ctrl-C ends the demo.");
    for line in ["curl -sS -H 'x-user-id: user-1'", "/demo/down", "/operations", "/metrics"] {
        assert!(told.contains(line), "no {line:?} in\n{told}");
    }
    signal("KILL", first);
    demo.until("The sidecar died");
    let second = demo.sidecar();
    assert_ne!(first, second);
    demo.until("Ctrl-C ends the demo.");
    signal("TERM", demo.process.id());
    assert!(demo.process.wait().unwrap().success());
    let deadline = Instant::now() + Duration::from_secs(10);
    while is_running(second) {
        assert!(Instant::now() < deadline, "the sidecar outlives the demo");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A demo that stays up; a failing test ends it too.
struct Demo {
    process: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Demo {
    fn start(directory: &Path) -> Self {
        let mut command = Command::new(BINARY);
        command.arg("demo").env("TMPDIR", directory).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    /// What it prints up to the line that holds `text`.
    fn until(&mut self, text: &str) -> String {
        let mut told = String::new();
        while !told.contains(text) {
            let line = self.lines.next().unwrap_or_else(|| panic!("no {text:?} in\n{told}"));
            told.push_str(&line.unwrap());
            told.push('\n');
        }
        told
    }

    /// The process id of the sidecar that it tells of next.
    fn sidecar(&mut self) -> u32 {
        let told = self.until(", process ");
        told.trim_end().rsplit(' ').next().unwrap().parse().unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            // Not SIGKILL, which would leave its sidecar behind.
            signal("TERM", self.process.id());
            let _ = self.process.wait();
        }
    }
}

fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

/// A process that has ended and that nobody has asked about yet does not run.
fn is_running(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}
