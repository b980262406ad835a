//! `run`: the sidecar itself.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::app::App;
use crate::config::Config;
use crate::telemetry;

/// Runs until the process is told to stop by SIGTERM or SIGINT.
pub(super) fn run(config: Config) -> Result<(), Failure> {
    telemetry::init_logs().map_err(|error| Failure::Other(error.to_string()))?;
    // The control runtime: sagas, journal calls, back ends, admin. Passing traffic has its own.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()?;
    let served = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        cancel_on_signal(shutdown.clone())?;
        let app = App::start(config).await.map_err(|error| Failure::Other(error.to_string()))?;
        app.run(shutdown).await.map_err(|error| Failure::Other(error.to_string()))
    });
    // Driven operations are in the journal: nothing is gained by waiting for their timers.
    runtime.shutdown_background();
    served
}

fn cancel_on_signal(shutdown: CancellationToken) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: draining connections");
        shutdown.cancel();
    });
    Ok(())
}
