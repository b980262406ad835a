//! A journal without a sidecar: one that none has open, or that replicas share.

use std::sync::Arc;

use serde_json::Value;

use super::{NO_SUCH, Pages, Question, REFUSED};
use crate::cli::Failure;
use crate::config::Config;
use crate::dualwrite::{Account, Config as Bounds, Ledger, Refused};
use crate::journal::{self, Journal, Location};

/// The journal, and how to read it.
pub(super) struct Offline {
    journal: Arc<dyn Journal>,
    ledger: Ledger,
}

impl Offline {
    /// Opens the journal at `location`; times are told by the bounds of `config`, else by the
    /// usual ones.
    pub(super) async fn at(location: &Location, config: Option<&Config>) -> Result<Self, Failure> {
        if let Location::Sqlite(path) = location
            && !path.exists()
        {
            let what = format!("there is no journal at {}", path.display());
            return Err(Failure::Other(format!("{what}; name it with --journal sqlite:/PATH")));
        }
        let settings = match config {
            Some(config) => journal::Config { url: location.clone(), ..config.journal.clone() },
            None => journal::Config::at(location.clone()),
        };
        let opened = journal::open(&settings, journal::Metrics::default()).await;
        let journal: Arc<dyn Journal> = Arc::new(opened.map_err(|mut error| {
            if error.problem.is_locked {
                error.problem.remedy = "ask that sidecar's admin port instead: \
                     authz-sidecar operations … --admin http://127.0.0.1:9901";
            }
            Failure::Other(error.to_string())
        })?);
        let bounds = config.map_or_else(|| Bounds::default().bounds(), |c| c.bounds.bounds());
        let ledger = Ledger::new(Arc::clone(&journal), bounds);
        Ok(Self { journal, ledger })
    }

    pub(super) async fn ask(self, question: &Question) -> Result<Value, Failure> {
        let answer = self.answer(question).await;
        if let Some(shared) = self.journal.shared() {
            shared.release().await;
        }
        answer
    }

    async fn answer(&self, question: &Question) -> Result<Value, Failure> {
        match question {
            Question::Show(id) => match self.ledger.show(*id).await {
                Ok(Some(account)) => value(&account),
                Ok(None) => Err(refused(&Refused::NoSuch)),
                Err(halt) => Err(Failure::Other(halt.to_string())),
            },
            Question::Order(id, order) => {
                let account = self.ledger.order(*id, order.clone()).await;
                value(&account.map_err(|error| refused(&error))?)
            }
            Question::List { stuck, limit, after } => {
                let mut pages = Pages::new(*stuck, *limit, *after);
                loop {
                    let page = self.ledger.list(&pages.next()).await;
                    let page = page.map_err(|halt| Failure::Other(halt.to_string()))?;
                    let told = page.operations.iter().map(serde_json::to_value);
                    let told = told.collect::<Result<_, _>>().map_err(unwritable)?;
                    if !pages.take(told, page.after) {
                        return Ok(pages.whole());
                    }
                }
            }
        }
    }
}

fn refused(refused: &Refused) -> Failure {
    let text = refused.to_string();
    match refused {
        Refused::NoSuch => Failure::Coded(NO_SUCH, text),
        Refused::Halt(_) => Failure::Other(text),
        _ => Failure::Coded(REFUSED, format!("refused: {text}")),
    }
}

fn value(account: &Account) -> Result<Value, Failure> {
    serde_json::to_value(account).map_err(unwritable)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn unwritable(error: serde_json::Error) -> Failure {
    Failure::Other(error.to_string())
}
