//! What goes wrong in the back end, as its double is told.

use std::time::Duration;

use super::plan::{Fails, ProviderFault};
use crate::support::provider::Provider;

/// Has it go wrong from now on.
pub fn arm(provider: &Provider, fault: ProviderFault) {
    let endpoint = if fault.of_register { provider.register() } else { provider.deregister() };
    let endpoint = endpoint.times(fault.times);
    match fault.what {
        Fails::Answers(status) => endpoint.answers(status),
        Fails::AppliesAndAnswers(status) => endpoint.applies_and_answers(status),
        Fails::Closes { applied: true } => endpoint.closes_after(),
        Fails::Closes { applied: false } => endpoint.closes_before(),
        Fails::Delays(time) => endpoint.delays(time),
        Fails::Lands(time) => {
            let gate = endpoint.lands_after();
            tokio::spawn(async move {
                // Far into the next round at most, where nobody may come to it any more.
                for _ in 0..500 {
                    if gate.arrivals() > 0 {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                tokio::time::sleep(time).await;
                gate.release();
            });
        }
    }
}
