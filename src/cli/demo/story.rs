//! The story of `demo --once`: what is done, and what must be seen then. What a promise holds for
//! at once is looked at once; what it holds for in the end is looked at until a deadline.

mod operators;

use std::io::{self, Write};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Trouble;
use super::books::{Books, Broken};
use super::client::{self, Answer};
use super::keys::{AGENT_ID, AGENT_NAME};
use super::sidecar::{LATE_EFFECT, Sidecar};
use super::world::World;
use crate::app::Addresses;

/// How long anything that is due may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often what is waited for is looked at.
const POLL: Duration = Duration::from_millis(10);

/// When a create that was refused unsent is sent again.
const RETRY: Duration = Duration::from_secs(1);

/// The teller.
pub(super) struct Story<'a> {
    pub(super) world: &'a World,
    /// Where the sidecar listens.
    pub(super) at: Addresses,
    out: &'a mut dyn Write,
    step: usize,
    patience: Duration,
}

impl<'a> Story<'a> {
    /// Tells to `out` what happens to `sidecar` in `world`.
    pub(super) fn new(world: &'a World, sidecar: &Sidecar, out: &'a mut dyn Write) -> Self {
        Self { world, at: sidecar.addresses(), out, step: 0, patience: PATIENCE }
    }

    /// Who takes part.
    pub(super) fn begin(&mut self, sidecar: &Sidecar) -> io::Result<()> {
        let (service, back_end) = (self.world.service(), self.world.back_end());
        let (listen, pid, late) = (self.at.listen, sidecar.pid(), LATE_EFFECT.as_secs());
        writeln!(
            self.out,
            "A keys service at {service} and an authorization back end at {back_end}, both in memory;
before them the sidecar at {listen}, process {pid}, with its journal on disk.
Requests may take effect up to {late} s late here (bounds.late_effect), so that this ends soon; 120 s is usual."
        )
    }

    /// Create → registered with its parent edge.
    pub(super) async fn creates(&mut self) -> Result<(), Trouble> {
        self.title("A create is registered before its client hears of it (P1).")?;
        let first = self.create("first").await?;
        let id = stands(&first, "/id")?;
        self.saw(&format!("200, key {id}"))?;
        self.see_registered(&id)?;
        let path = "/agent_api_keys/webhook-trigger";
        let body = json!({"agent_name": AGENT_NAME, "source": "github", "name": "hook",
            "forward_path": "/push"});
        let hook = self.call(Method::POST, path, Some(&body)).await?;
        let id = stands(&hook, "/key_id")?;
        self.saw(&format!("200, key {id}; the answer does not tell the parent"))?;
        self.see_registered(&id)
    }

    /// Back end down → 503, and the row is gone.
    pub(super) async fn outage(&mut self) -> Result<(), Trouble> {
        self.title("While the back end is down no create stands (P1, P2).")?;
        self.did("the back end goes down")?;
        self.world.provider.set_available(false);
        let refused = self.create("second").await?;
        let undo = refused.text("/undo");
        if refused.status != StatusCode::SERVICE_UNAVAILABLE || undo.is_empty() {
            let what = format!("without a registration the client got {}", refused.status);
            return Err(Broken::new("P1", what).into());
        }
        let (kind, undo) = (refused.text("/type").to_owned(), undo.to_owned());
        self.saw(&format!("503, {kind}, undo: {undo}"))?;
        if undo != "done" {
            self.wait_until("the row is gone", |story| story.is_no_row("second")).await?;
        }
        self.is_no_row("second")?;
        self.saw("the keys service has no such row")?;
        self.world.provider.set_available(true);
        self.did("the back end comes back")?;
        Ok(())
    }

    /// Delete → deregistered.
    pub(super) async fn deletes(&mut self) -> Result<(), Trouble> {
        self.title("A delete deregisters (P3).")?;
        let id = self.id_of("first")?;
        self.delete(&format!("/agent_api_keys/{id}")).await?;
        self.wait_until("row and registration are gone", |story| story.books().is_gone(&id)).await
    }

    /// Delete while the back end is down → later deregistered.
    pub(super) async fn delete_in_outage(&mut self) -> Result<(), Trouble> {
        self.title("A delete during an outage is made up for (P3, P9).")?;
        let third = self.create_after_an_outage("third").await?;
        let id = stands(&third, "/id")?;
        self.saw(&format!("200, key {id}"))?;
        self.did("the back end goes down")?;
        self.world.provider.set_available(false);
        self.delete(&format!("/agent_api_keys/name/third?agent_id={AGENT_ID}")).await?;
        if !self.books().registrations.contains_key(&id) {
            return Err(Trouble::Stuck("an outage did not keep the registration".into()));
        }
        self.saw("its registration is still there")?;
        self.see_operation(&id).await?;
        self.world.provider.set_available(true);
        self.did("the back end comes back")?;
        self.wait_until("row and registration are gone", |story| story.books().is_gone(&id)).await
    }

    /// Nothing is left over.
    pub(super) async fn end(&mut self) -> Result<(), Trouble> {
        self.title("At the end nothing is left over.")?;
        let late = LATE_EFFECT.as_secs();
        self.did(&format!("waited until nothing can land late any more, {late} s"))?;
        self.wait_for_no_operation().await?;
        self.saw("GET /operations: none is open")?;
        let books = self.books();
        books.agree()?;
        let rows = books.rows.len();
        if rows != 1 {
            return Err(Broken::new("P4", format!("{rows} keys stand, not the one")).into());
        }
        self.saw("one row, hook, and one registration, its own (P2, P3, P4)")?;
        let (secrets, files) = self.world.no_secret_at_rest()?;
        self.saw(&format!(
            "none of {secrets} secrets is in any of the sidecar's {files} files (P7)"
        ))?;
        writeln!(self.out, "\nEvery promise was kept.")?;
        Ok(())
    }

    /// Sends a create.
    pub(super) async fn create(&mut self, name: &str) -> Result<Answer, Trouble> {
        let body = creation(name);
        self.call(Method::POST, "/agent_api_keys", Some(&body)).await
    }

    /// Sends a create as often as it is refused unsent: just after an outage the sidecar may not have
    /// asked the back end again yet, and says to come back.
    async fn create_after_an_outage(&mut self, name: &str) -> Result<Answer, Trouble> {
        let deadline = Instant::now() + self.patience;
        loop {
            let answer = self.create(name).await?;
            let unsent = answer.text("/type") == "urn:authz-sidecar:problem:unavailable";
            if !unsent || Instant::now() >= deadline {
                return Ok(answer);
            }
            self.saw("503, nothing was sent: the back end is not asked again yet")?;
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn delete(&mut self, path: &str) -> Result<(), Trouble> {
        let answer = self.call(Method::DELETE, path, None).await?;
        if answer.status != StatusCode::OK {
            return Err(Trouble::Stuck(format!("a delete was answered {}", answer.status)));
        }
        self.saw("200, the service's own answer")?;
        Ok(())
    }

    async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Trouble> {
        let shown = body.map(|body| format!(" {body}")).unwrap_or_default();
        self.did(&format!("{method} {path}{shown}"))?;
        let answer = client::call(self.at.listen, method, path, body).await;
        answer.map_err(|why| Trouble::Stuck(format!("the sidecar gave no answer: {why}")))
    }

    /// The client has its 2xx: the registration must be there now, not soon.
    fn see_registered(&mut self, id: &str) -> Result<(), Trouble> {
        let books = self.books();
        match books.is_registered(id) {
            Err(broken) if broken.promise == "P2" => {
                let what = format!("the client got its 2xx and key {id} is not registered");
                return Err(Broken::new("P1", what).into());
            }
            seen => seen?,
        }
        let parent = books.registrations.get(id).cloned().flatten().unwrap_or_default();
        self.saw(&format!("the back end holds it, owner {}, parent {parent}", client::USER))?;
        Ok(())
    }

    /// Waits until `seen` holds, and tells it.
    pub(super) async fn wait_until(
        &mut self,
        told: &str,
        seen: impl Fn(&Self) -> Result<(), Broken>,
    ) -> Result<(), Trouble> {
        let deadline = Instant::now() + self.patience;
        loop {
            match seen(self) {
                Ok(()) => return Ok(self.saw(told)?),
                Err(broken) if Instant::now() >= deadline => return Err(broken.into()),
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// What both services hold now.
    pub(super) fn books(&self) -> Books {
        self.world.books()
    }

    fn is_no_row(&self, name: &str) -> Result<(), Broken> {
        match self.world.key_called(name) {
            None => Ok(()),
            Some(id) => Err(Broken::new("P2", format!("the failed create's row {id} stands"))),
        }
    }

    fn id_of(&self, name: &str) -> Result<String, Trouble> {
        let id = self.world.key_called(name);
        id.ok_or_else(|| Broken::new("P4", format!("the key {name} was removed")).into())
    }

    /// Begins the next step.
    pub(super) fn title(&mut self, text: &str) -> io::Result<()> {
        self.step += 1;
        writeln!(self.out, "\n{}. {text}", self.step)
    }

    /// Tells what was done.
    pub(super) fn did(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "   - {text}")
    }

    /// Tells what was seen.
    pub(super) fn saw(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "     → {text}")
    }
}

/// The id of a create that succeeded.
fn stands(answer: &Answer, pointer: &str) -> Result<String, Trouble> {
    match (answer.status, answer.text(pointer)) {
        (StatusCode::OK, id) if !id.is_empty() => Ok(id.to_owned()),
        (status, _) => {
            let what = format!("a create with everything up was answered {status}");
            Err(Trouble::Stuck(format!("{what}: {}", answer.text("/detail"))))
        }
    }
}

/// The body of a create.
pub(super) fn creation(name: &str) -> Value {
    json!({"agent_id": AGENT_ID, "name": name})
}

#[cfg(test)]
mod tests;
