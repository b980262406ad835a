//! Environment overrides: `AUTHZ_SIDECAR_…` for the scalar settings that differ between places.

use std::str::FromStr;

use super::file::File;
use crate::authz::{self, BackEnd};
use crate::journal;
use crate::rules::{Located, Place, Problem, nearest};

/// One variable and the setting that it overrides.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The variable.
    pub variable: &'static str,
    /// The setting's path in the file.
    pub path: &'static str,
    set: fn(&mut File, &str, Place) -> Result<(), String>,
}

/// Begins every variable of ours.
const PREFIX: &str = "AUTHZ_SIDECAR_";

/// Variables of ours that are no settings: the log filter, and what `operations` sends.
const OTHERS: [&str; 2] = ["AUTHZ_SIDECAR_LOG", "AUTHZ_SIDECAR_ADMIN_TOKEN"];

/// Every variable there is.
pub const SETTINGS: [Setting; 28] = [
    setting("AUTHZ_SIDECAR_LISTEN", "listen", |file, text, place| {
        located(&mut file.listen, text, place)
    }),
    setting("AUTHZ_SIDECAR_HEALTH", "health", |file, text, place| {
        located(&mut file.health, text, place)
    }),
    setting("AUTHZ_SIDECAR_ADMIN", "admin", |file, text, place| {
        located(&mut file.admin, text, place)
    }),
    setting("AUTHZ_SIDECAR_UPSTREAM", "upstream", |file, text, _| {
        file.upstream = Some(text.parse().map_err(|error| format!("{error}"))?);
        Ok(())
    }),
    setting(
        "AUTHZ_SIDECAR_CREDENTIALS_SERVICE_HEADERS_FILE",
        "credentials.service.headers_file",
        |file, text, _| {
            let headers_file = text.into();
            file.credentials.service = Some(super::parts::ServiceCredentials { headers_file });
            Ok(())
        },
    ),
    setting(
        "AUTHZ_SIDECAR_CREDENTIALS_ADMIN_TOKEN_FILE",
        "credentials.admin.token_file",
        |file, text, _| {
            let token_file = text.into();
            file.credentials.admin = Some(super::parts::AdminCredentials { token_file });
            Ok(())
        },
    ),
    setting("AUTHZ_SIDECAR_PRINCIPAL_AUTHN_URL", "principal.authn.url", |file, text, _| {
        let principal = file.principal.as_mut().ok_or("the file has no `principal`")?;
        parsed(&mut principal.value.authn.url, text)
    }),
    setting("AUTHZ_SIDECAR_PRINCIPAL_AUTHN_TIMEOUT", "principal.authn.timeout", |file, text, _| {
        let principal = file.principal.as_mut().ok_or("the file has no `principal`")?;
        parsed(&mut principal.value.authn.timeout, text)
    }),
    setting("AUTHZ_SIDECAR_PRINCIPAL_CACHE_TTL", "principal.cache.ttl", |file, text, _| {
        let principal = file.principal.as_mut().ok_or("the file has no `principal`")?;
        parsed(&mut principal.value.cache.ttl, text)
    }),
    setting("AUTHZ_SIDECAR_AUTHZ_AGENTEX_URL", "authz.agentex.url", |file, text, _| {
        match &mut authz(file)?.back_end {
            BackEnd::Agentex(agentex) => parsed(&mut agentex.url, text),
            BackEnd::Memory(_) => Err("the file's back end is not agentex".into()),
        }
    }),
    setting("AUTHZ_SIDECAR_AUTHZ_DEADLINE", "authz.deadline", |file, text, _| {
        parsed(&mut authz(file)?.deadline, text)
    }),
    setting("AUTHZ_SIDECAR_JOURNAL_URL", "journal.url", |file, text, _| {
        parsed(&mut journal(file)?.url, text)
    }),
    setting(
        "AUTHZ_SIDECAR_JOURNAL_EXCLUSIVE_WRITER",
        "journal.exclusive_writer",
        |file, text, _| parsed(&mut journal(file)?.exclusive_writer, text),
    ),
    setting("AUTHZ_SIDECAR_JOURNAL_MAX_BYTES", "journal.max_bytes", |file, text, _| {
        parsed(&mut journal(file)?.max_bytes, text)
    }),
    setting("AUTHZ_SIDECAR_BOUNDS_LATE_EFFECT", "bounds.late_effect", |file, text, _| {
        parsed(&mut file.bounds.value.late_effect, text)
    }),
    setting("AUTHZ_SIDECAR_BOUNDS_READ_LAG", "bounds.read_lag", |file, text, _| {
        parsed(&mut file.bounds.value.read_lag, text)
    }),
    setting("AUTHZ_SIDECAR_BOUNDS_REPLY", "bounds.reply", |file, text, _| {
        parsed(&mut file.bounds.value.reply, text)
    }),
    setting(
        "AUTHZ_SIDECAR_BOUNDS_INLINE_DEREGISTER",
        "bounds.inline_deregister",
        |file, text, _| parsed(&mut file.bounds.value.inline_deregister, text),
    ),
    setting("AUTHZ_SIDECAR_POOL_CONNECT_TIMEOUT", "pool.connect_timeout", |file, text, _| {
        parsed(&mut file.pool.connect_timeout, text)
    }),
    setting("AUTHZ_SIDECAR_BOUNDS_EXCHANGE", "bounds.exchange", |file, text, _| {
        parsed(&mut file.bounds.value.exchange, text)
    }),
    setting("AUTHZ_SIDECAR_POOL_IDLE_TIMEOUT", "pool.idle_timeout", |file, text, _| {
        parsed(&mut file.pool.idle_timeout, text)
    }),
    setting("AUTHZ_SIDECAR_DRAIN", "drain", |file, text, _| parsed(&mut file.drain, text)),
    setting("AUTHZ_SIDECAR_LIMITS_CONNECTIONS", "limits.connections", |file, text, _| {
        parsed(&mut file.limits.connections, text)
    }),
    setting("AUTHZ_SIDECAR_LIMITS_HEADER_BYTES", "limits.header_bytes", |file, text, _| {
        parsed(&mut file.limits.header_bytes, text)
    }),
    setting("AUTHZ_SIDECAR_LIMITS_HEADER_COUNT", "limits.header_count", |file, text, _| {
        parsed(&mut file.limits.header_count, text)
    }),
    setting("AUTHZ_SIDECAR_LIMITS_HEADER_TIMEOUT", "limits.header_timeout", |file, text, _| {
        parsed(&mut file.limits.header_timeout, text)
    }),
    setting("AUTHZ_SIDECAR_LIMITS_INTERCEPTED_BODY", "limits.intercepted_body", |file, text, _| {
        parsed(&mut file.limits.intercepted_body, text)
    }),
    setting("AUTHZ_SIDECAR_LIMITS_INTERCEPTED", "limits.intercepted", |file, text, _| {
        parsed(&mut file.limits.intercepted, text)
    }),
];

const fn setting(
    variable: &'static str,
    path: &'static str,
    set: fn(&mut File, &str, Place) -> Result<(), String>,
) -> Setting {
    Setting { variable, path, set }
}

/// Applies every variable of ours in `environment`, and tells what is wrong with them.
pub(super) fn apply(
    file: &mut File,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Vec<Problem> {
    let ours = environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX));
    let mut ours: Vec<_> = ours.filter(|(name, _)| !OTHERS.contains(&name.as_str())).collect();
    ours.sort();
    let mut problems = Vec::new();
    for (name, text) in ours {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.variable == name) else {
            problems.push(unknown(&name));
            continue;
        };
        let place = Place::Environment(setting.variable);
        if let Err(error) = (setting.set)(file, &text, place) {
            let mend = format!("it overrides `{}`", setting.path);
            problems.push(Problem::new(place, error, mend));
        }
    }
    problems
}

fn unknown(name: &str) -> Problem {
    let known = SETTINGS.iter().map(|setting| setting.variable).chain(OTHERS);
    let mend = nearest(name, known).map_or_else(
        || "remove it; docs/CONFIGURATION.md lists those there are".to_owned(),
        |nearest| format!("did you mean {nearest}?"),
    );
    Problem::new(Place::Environment("environment"), format!("unknown variable {name}"), mend)
}

fn located<T: FromStr<Err: ToString>>(
    setting: &mut Located<T>,
    text: &str,
    place: Place,
) -> Result<(), String> {
    parsed(&mut setting.value, text)?;
    setting.place = place;
    Ok(())
}

fn parsed<T: FromStr<Err: ToString>>(setting: &mut T, text: &str) -> Result<(), String> {
    *setting = text.parse().map_err(|error: T::Err| error.to_string())?;
    Ok(())
}

fn authz(file: &mut File) -> Result<&mut authz::Config, String> {
    file.authz.as_mut().ok_or_else(|| "the file has no `authz`".to_owned())
}

fn journal(file: &mut File) -> Result<&mut journal::Config, String> {
    file.journal.as_mut().ok_or_else(|| "the file has no `journal`".to_owned())
}
