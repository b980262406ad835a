//! `operations`: what is unfinished, explained, and what a person orders about it: through the
//! admin port of a running sidecar, or straight on a journal that no sidecar has open.

mod offline;
mod port;
mod print;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;

use self::offline::Offline;
use self::port::{Asked, Port};
use super::{DEFAULT_CONFIG, Failure, VARIABLE_OF_TOKEN};
use crate::config::Config;
use crate::dualwrite::Page;
use crate::http::Url;
use crate::journal::Location;
use crate::model::{OperationId, Order, Words};

/// Exit codes besides 0, 1 (nobody could be asked) and 2 (the command line).
pub(super) const NO_SUCH: u8 = 3;
pub(super) const REFUSED: u8 = 4;

/// Operations that one question asks for.
const PAGE: usize = 500;

/// Where to ask, and how to tell.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The sidecar's configuration: says where its admin port, its token and its journal are. If
    /// nobody listens on the port, the journal is opened instead.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The admin port of a running sidecar [default: the configuration's, else port 9901 of this
    /// machine].
    #[arg(long, global = true, value_name = "URL", conflicts_with = "journal")]
    admin: Option<Url>,
    /// The journal itself, as in `journal.url`: of a sidecar that does not run, or one in PostgreSQL.
    #[arg(long, global = true, value_name = "URL")]
    journal: Option<Location>,
    /// A file with the token that orders need [default: the variable `AUTHZ_SIDECAR_ADMIN_TOKEN`,
    /// else the configuration's `credentials.admin.token_file`].
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List unfinished operations, oldest first.
    List {
        /// Only those that don't get on by themselves: attempts fail, or only a person can decide.
        #[arg(long)]
        stuck: bool,
        /// How many at most; 0 is all.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Go on behind those that were listed before.
        #[arg(long, value_name = "ID", value_parser = OperationId::parse)]
        after: Option<OperationId>,
    },
    /// Explain one operation, finished or not, with its history.
    Show {
        /// Its id.
        #[arg(value_parser = OperationId::parse)]
        id: OperationId,
    },
    /// Attempt now what the operation waits for. Is written into its records.
    Retry {
        /// Its id.
        #[arg(value_parser = OperationId::parse)]
        id: OperationId,
        /// Who says so [default: $USER].
        #[arg(long, value_name = "NAME")]
        by: Option<Words>,
        /// Why.
        #[arg(long, value_name = "WHY")]
        reason: Option<Words>,
    },
    /// Do nothing more for the operation: you answer for the row and its relationships (`show` says
    /// what that would mean). Is written into its records, for good.
    Discard {
        /// Its id.
        #[arg(value_parser = OperationId::parse)]
        id: OperationId,
        /// Who says so [default: $USER].
        #[arg(long, value_name = "NAME")]
        by: Option<Words>,
        /// Why.
        #[arg(long, value_name = "WHY")]
        reason: Words,
    },
}

/// What is asked, wherever.
enum Question {
    List { stuck: bool, limit: usize, after: Option<OperationId> },
    Show(OperationId),
    Order(OperationId, Order),
}

/// Runs the command.
pub(super) fn operations(
    options: &Options,
    verb: Verb,
    environment: Vec<(String, String)>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let question = question(verb, &environment)?;
    let answer = runtime.block_on(ask(options, &question, environment, err))?;
    if options.json {
        return Ok(writeln!(out, "{answer:#}")?);
    }
    match &question {
        Question::List { .. } => print::list(&answer, out)?,
        Question::Show(_) => print::show(&answer, out)?,
        Question::Order(_, order) => print::followed(order, &answer, out)?,
    }
    Ok(())
}

fn question(verb: Verb, environment: &[(String, String)]) -> Result<Question, Failure> {
    let name = |by: Option<Words>| {
        let user = || environment.iter().find(|(name, _)| name == "USER")?.1.parse().ok();
        by.or_else(user).ok_or_else(|| Failure::Other("say who orders it, with --by NAME".into()))
    };
    Ok(match verb {
        Verb::List { stuck, limit, after } => Question::List { stuck, limit, after },
        Verb::Show { id } => Question::Show(id),
        Verb::Retry { id, by, reason } => {
            Question::Order(id, Order::Retry { by: name(by)?, reason })
        }
        Verb::Discard { id, by, reason } => {
            Question::Order(id, Order::Discard { by: name(by)?, reason })
        }
    })
}

async fn ask(
    options: &Options,
    question: &Question,
    environment: Vec<(String, String)>,
    err: &mut dyn Write,
) -> Result<Value, Failure> {
    let token = environment.iter().find(|(name, _)| name == VARIABLE_OF_TOKEN);
    let token = token.map(|(_, token)| token.clone());
    let config = configuration(options, environment)?;
    if let Some(location) = &options.journal {
        let offline = Offline::at(location, config.as_ref()).await?;
        return offline.ask(question).await;
    }
    let url = match (&options.admin, &config) {
        (Some(url), _) => url.clone(),
        (None, config) => port::url_of(config.as_ref()),
    };
    let token = match &options.token_file {
        Some(file) => Some(port::token(file)?),
        None => token,
    };
    let of_config = || config.as_ref()?.credentials.admin.as_ref().map(|admin| &admin.token_file);
    let token = match (token, of_config()) {
        (None, Some(file)) if matches!(question, Question::Order(..)) => Some(port::token(file)?),
        (token, _) => token,
    };
    let port = Port::new(url, token)?;
    match (port.ask(question).await?, &config) {
        (Asked::Answer(answer), _) => Ok(answer),
        (Asked::Nobody(_), Some(config)) if options.admin.is_none() => {
            let location = &config.journal.url;
            writeln!(err, "No sidecar listens on {}: the journal is opened.", port.url())?;
            Offline::at(location, Some(config)).await?.ask(question).await
        }
        (Asked::Nobody(why), _) => Err(Failure::Other(format!(
            "{why}; name the admin port of a running sidecar with --admin, or, if none runs, its \
             journal with --journal or its configuration with --config"
        ))),
    }
}

/// The configuration that is named, else the usual one where there is one.
fn configuration(
    options: &Options,
    environment: Vec<(String, String)>,
) -> Result<Option<Config>, Failure> {
    let usual = Path::new(DEFAULT_CONFIG);
    match &options.config {
        Some(file) => Ok(Some(Config::load(file, environment)?)),
        None if usual.exists() => Ok(Some(Config::load(usual, environment)?)),
        None => Ok(None),
    }
}

/// The pages of a list as one: at most `limit`, or all where that is 0.
struct Pages {
    limit: usize,
    stuck: bool,
    operations: Vec<Value>,
    after: Option<OperationId>,
}

impl Pages {
    fn new(stuck: bool, limit: usize, after: Option<OperationId>) -> Self {
        Self { limit, stuck, operations: Vec::new(), after }
    }

    /// The page to ask for.
    fn next(&self) -> Page {
        let left = self.limit.saturating_sub(self.operations.len());
        let limit = if self.limit == 0 { PAGE } else { left.min(PAGE) };
        Page { after: self.after, limit, stuck: self.stuck }
    }

    /// Takes a page; gives whether another is wanted.
    fn take(&mut self, operations: Vec<Value>, after: Option<OperationId>) -> bool {
        self.operations.extend(operations);
        self.after = after;
        let enough = self.limit != 0 && self.operations.len() >= self.limit;
        after.is_some() && !enough
    }

    fn whole(self) -> Value {
        let after = self.after.map(|after| after.to_string());
        serde_json::json!({
            "operations": self.operations, "more": after.is_some(), "after": after,
        })
    }
}
