//! What the demo that stays up prints: who listens where, and what to try.

use std::io::{self, Write};

use super::client::USER;
use super::keys::{AGENT_ID, AGENT_NAME};
use super::sidecar::{LATE_EFFECT, Sidecar};
use super::world::World;

/// Writes the guide.
pub(super) fn write(world: &World, sidecar: &Sidecar, out: &mut dyn Write) -> io::Result<()> {
    participants(world, sidecar, out)?;
    let (at, back_end) = (sidecar.addresses(), world.back_end());
    let keys = format!("http://{}/agent_api_keys", at.listen);
    let curl = format!("curl -sS -H 'x-user-id: {USER}'");
    let create = |name: &str| {
        format!(
            r#"{curl} -H 'content-type: application/json' -d '{{"agent_id":"{AGENT_ID}","name":"{name}"}}' {keys}"#
        )
    };
    let listed = format!("{curl} '{keys}?agent_id={AGENT_ID}'");
    let graph = format!("curl -sS http://{back_end}/demo/graph");
    let scenes: [(&str, &[String]); 6] = [
        (
            "Create a key, and see its registration with its parent edge",
            &[create("first"), graph.clone()],
        ),
        (
            "Break the back end and create again: 503, and no row",
            &[format!("curl -sS -X POST http://{back_end}/demo/down"), create("second"), listed],
        ),
        (
            "Delete while it is broken: 200, and an operation that waits",
            &[
                format!("{curl} -X DELETE '{keys}/name/first?agent_id={AGENT_ID}'"),
                format!("curl -sS http://{}/operations", at.admin),
            ],
        ),
        (
            "Mend it: the delete is made up for",
            &[format!("curl -sS -X POST http://{back_end}/demo/up"), graph],
        ),
        (
            "Kill the sidecar: it is started again on the same journal, on other ports",
            &[format!("kill -9 {}", sidecar.pid())],
        ),
        (
            "What it counts, and whether it is well",
            &[
                format!("curl -sS http://{}/metrics", at.health),
                format!("curl -sS http://{}/readyz", at.health),
            ],
        ),
    ];
    for (title, lines) in scenes {
        writeln!(out, "\n# {title}")?;
        for line in lines {
            writeln!(out, "{line}")?;
        }
    }
    writeln!(out, "\nCtrl-C ends the demo.")?;
    out.flush()
}

fn participants(world: &World, sidecar: &Sidecar, out: &mut dyn Write) -> io::Result<()> {
    let at = sidecar.addresses();
    let (service, back_end) = (world.service(), world.back_end());
    let late = LATE_EFFECT.as_secs();
    writeln!(
        out,
        "keys service   http://{service}, in memory, with one agent: {AGENT_ID}, {AGENT_NAME}"
    )?;
    writeln!(out, "back end       http://{back_end}, in memory")?;
    writeln!(out, "sidecar        http://{}, process {}", at.listen, sidecar.pid())?;
    writeln!(out, "  health       http://{}", at.health)?;
    writeln!(out, "  operations   http://{}", at.admin)?;
    writeln!(
        out,
        "  its files    {}: config.yaml, journal.db, sidecar.log",
        world.directory().display()
    )?;
    writeln!(
        out,
        "Requests may take effect up to {late} s late here (bounds.late_effect), so that nothing waits for long;\n120 s is usual."
    )
}
