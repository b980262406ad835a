//! `demo`: the embedded default. A small keys service and an authorization back end in this
//! process, both on loopback and in memory, and the sidecar in a process of its own before them.
//!
//! | file | what it holds |
//! |---|---|
//! | `keys`, `provider` | the two services |
//! | `sidecar` | the child process and its configuration |
//! | `world` | both services, and what is in them |
//! | `books` | pure: do rows and registrations agree? |
//! | `story`, `crash` | `--once`: what is done, and what must be seen then |
//! | `guide` | what the demo that stays up prints |
//! | `server`, `client` | sockets |
//!
//! The sidecar shares this process's group and is killed when this process ends, by a signal too.
//! Only a SIGKILL of this process alone leaves it behind: to have the kernel kill it then
//! (`PR_SET_PDEATHSIG`) takes `unsafe` code, which this package forbids.

mod books;
mod client;
mod crash;
mod guide;
mod keys;
mod provider;
mod server;
mod sidecar;
mod story;
mod world;

use std::io::{self, Write};

use tokio::signal::unix::{Signal, SignalKind, signal};

use self::books::Broken;
use self::sidecar::Sidecar;
use self::story::Story;
use self::world::World;
use super::Failure;

/// Runs the demonstration until a signal ends it; with `once`, one story of it.
pub(super) fn demo(once: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("demo")
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::new()?;
        // Whichever ends first drops the other, and with it the sidecar.
        if once {
            tokio::select! {
                told = tell(out) => told,
                () = signals.any() => Err(Trouble::Stuck("stopped by a signal".into())),
            }
        } else {
            tokio::select! {
                ended = stay_up(out) => ended,
                () = signals.any() => Ok(()),
            }
        }
    });
    runtime.shutdown_background();
    Ok(ended?)
}

/// Why the demo ended early.
#[derive(Debug)]
enum Trouble {
    /// A promise was seen broken.
    Broken(Broken),
    /// The demo itself can't go on: nothing is said about the sidecar's promises.
    Stuck(String),
    /// Nobody reads the story any more.
    Output(io::Error),
}

async fn tell(out: &mut dyn Write) -> Result<(), Trouble> {
    let world = World::open().await?;
    let mut sidecar = Sidecar::start(&world).await?;
    let mut story = Story::new(&world, &sidecar, out);
    story.begin(&sidecar)?;
    story.creates().await?;
    story.outage().await?;
    story.deletes().await?;
    story.delete_in_outage().await?;
    crash::before_the_answer(&mut story, &mut sidecar).await?;
    crash::before_the_acknowledgement(&mut story, &mut sidecar).await?;
    story.end().await
}

/// Starts the sidecar again whenever it dies, so that whoever kills it sees it recover.
async fn stay_up(out: &mut dyn Write) -> Result<(), Trouble> {
    let world = World::open().await?;
    loop {
        let mut sidecar = Sidecar::start(&world).await?;
        guide::write(&world, &sidecar, out)?;
        let how = sidecar.died().await?;
        writeln!(out, "\nThe sidecar died ({how}). It is started again, on the same journal:\n")?;
    }
}

/// The signals that end a process which a terminal or a supervisor started.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> Result<Self, Trouble> {
        let listen = |kind| {
            signal(kind).map_err(|error| Trouble::Stuck(format!("signals can't be read: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

impl From<Broken> for Trouble {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Broken(broken) => Self::Other(broken.to_string()),
            Trouble::Stuck(why) => Self::Other(format!("the demo can't go on: {why}")),
            Trouble::Output(error) => Self::Output(error),
        }
    }
}
