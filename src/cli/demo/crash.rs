//! The part of the story in which the sidecar is killed in the middle of a create. Gates hold the
//! create where it is to be killed, so that nothing depends on luck.

use http::Method;
use tokio::task::JoinHandle;

use super::Trouble;
use super::books::Broken;
use super::client::{self, Answer};
use super::sidecar::Sidecar;
use super::story::{Story, creation};

/// The row is there and the sidecar does not know its id yet.
pub(super) async fn before_the_answer(
    story: &mut Story<'_>,
    sidecar: &mut Sidecar,
) -> Result<(), Trouble> {
    const NAME: &str = "fourth";
    story.title("Killed after the insert, before the service's answer (P2).")?;
    let gate = story.world.keys.answers.clone();
    gate.close();
    let client = begin_create(story, NAME)?;
    let told = "the row is in the service; its answer is held back";
    story.wait_until(told, |story| made(story, NAME)).await?;
    let id = story.world.key_called(NAME).unwrap_or_default();
    kill(story, sidecar, client).await?;
    gate.open();
    recover(story, sidecar, &id).await
}

/// The registration has landed and the sidecar does not know that yet.
pub(super) async fn before_the_acknowledgement(
    story: &mut Story<'_>,
    sidecar: &mut Sidecar,
) -> Result<(), Trouble> {
    const NAME: &str = "fifth";
    story.title("Killed after the registration, before its acknowledgement (P2, P3).")?;
    let gate = story.world.provider.acknowledgements.clone();
    gate.close();
    let client = begin_create(story, NAME)?;
    let told = "row and registration are there; the acknowledgement is held back";
    story
        .wait_until(told, |story| {
            made(story, NAME)?;
            let id = story.world.key_called(NAME).unwrap_or_default();
            story.books().is_registered(&id)
        })
        .await?;
    let id = story.world.key_called(NAME).unwrap_or_default();
    kill(story, sidecar, client).await?;
    gate.open();
    recover(story, sidecar, &id).await
}

type Client = JoinHandle<Result<Answer, String>>;

fn begin_create(story: &mut Story<'_>, name: &str) -> Result<Client, Trouble> {
    let body = creation(name);
    story.did(&format!("POST /agent_api_keys {body}"))?;
    let listen = story.at.listen;
    Ok(tokio::spawn(async move {
        client::call(listen, Method::POST, "/agent_api_keys", Some(&body)).await
    }))
}

fn made(story: &Story<'_>, name: &str) -> Result<(), Broken> {
    match story.world.key_called(name) {
        Some(_) => Ok(()),
        None => Err(Broken::new("P6", format!("the create of {name} does not reach the service"))),
    }
}

async fn kill(story: &mut Story<'_>, sidecar: &mut Sidecar, client: Client) -> Result<(), Trouble> {
    story.did(&format!("kill -9 {}", sidecar.pid()))?;
    sidecar.kill().await?;
    match client.await {
        Ok(Err(_)) => Ok(story.saw("the client gets no answer")?),
        Ok(Ok(answer)) if answer.status.is_success() => {
            let what = "the client got its 2xx before the registration was acknowledged";
            Err(Broken::new("P1", what).into())
        }
        other => {
            let status = other.map(|answer| answer.map(|answer| answer.status));
            Err(Trouble::Stuck(format!("the create ended before the kill: {status:?}")))
        }
    }
}

/// Starts the sidecar on the same journal, and sees that nothing of the create is left.
async fn recover(story: &mut Story<'_>, sidecar: &mut Sidecar, id: &str) -> Result<(), Trouble> {
    *sidecar = Sidecar::start(story.world).await?;
    story.at = sidecar.addresses();
    story.did(&format!("started again on the same journal, process {}", sidecar.pid()))?;
    let told = "row and registration are gone: nobody was told of the key";
    story.wait_until(told, |story| story.books().is_gone(id)).await?;
    let told = "rows and registrations are the same set";
    story.wait_until(told, |story| story.books().agree()).await
}
