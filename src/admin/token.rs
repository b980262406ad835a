//! The token that orders on the admin port must carry. It is a secret: it is in no log, no error
//! and no `Debug` (promise P7).

use std::fmt;
use std::path::{Path, PathBuf};

use axum::http::header::{AUTHORIZATION, HeaderMap};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::reply;

/// The fewest characters of a token.
const SHORTEST: usize = 16;

/// A file whose one line is the token. It is read anew for each order, so that a token that was
/// changed counts at once.
#[derive(Clone, Debug)]
pub struct Token {
    file: PathBuf,
}

/// Why an order is not taken.
#[derive(Debug)]
pub(super) enum Denied {
    /// No token is configured.
    Off,
    /// The request carries none, or a wrong one.
    Wrong,
    /// The file can't be used.
    Unreadable(String),
}

impl Token {
    /// The token in `file`, which is read once to see whether it can be.
    ///
    /// # Errors
    /// With file and mend, where there is no usable token in it.
    pub fn at(file: &Path) -> Result<Self, String> {
        read(file)?;
        Ok(Self { file: file.to_owned() })
    }

    /// Whether `headers` carry it: `Authorization: Bearer TOKEN`.
    pub(super) async fn allows(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let file = self.file.clone();
        let read = tokio::task::spawn_blocking(move || read(&file)).await;
        let wanted = match read {
            Ok(Ok(wanted)) => wanted,
            Ok(Err(why)) => return Err(Denied::Unreadable(why)),
            Err(_) => return Err(Denied::Unreadable("the token could not be read".into())),
        };
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.split_once(' '));
        match given {
            Some((scheme, given)) if scheme.eq_ignore_ascii_case("bearer") => {
                // Of equal length whatever was given, and compared in constant time.
                let same = blake3::hash(given.trim().as_bytes()) == blake3::hash(wanted.as_bytes());
                if same { Ok(()) } else { Err(Denied::Wrong) }
            }
            _ => Err(Denied::Wrong),
        }
    }
}

fn read(file: &Path) -> Result<String, String> {
    let setting = "credentials.admin.token_file";
    let text = std::fs::read_to_string(file).map_err(|error| {
        format!("{}: can't be read: {error}; {setting} must name a readable file", file.display())
    })?;
    let token = text.trim();
    if token.len() >= SHORTEST && token.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(token.to_owned());
    }
    Err(format!(
        "{}: {setting} must name a file with one line of at least {SHORTEST} visible ASCII \
         characters, such as `openssl rand -hex 32` writes",
        file.display()
    ))
}

impl Denied {
    pub(super) fn reply(&self) -> Response {
        let detail = self.to_string();
        match self {
            Self::Off => reply::problem(StatusCode::FORBIDDEN, &detail),
            Self::Unreadable(_) => reply::problem(StatusCode::SERVICE_UNAVAILABLE, &detail),
            Self::Wrong => {
                let challenge = HeaderValue::from_static("Bearer");
                let problem = reply::problem(StatusCode::UNAUTHORIZED, &detail);
                ([(header::WWW_AUTHENTICATE, challenge)], problem).into_response()
            }
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str(
                "orders are off: name a file with a token in credentials.admin.token_file, and \
                 restart",
            ),
            Self::Wrong => f.write_str(
                "an order must carry the token of credentials.admin.token_file, as in \
                 Authorization: Bearer TOKEN",
            ),
            Self::Unreadable(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearing(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
    }

    #[tokio::test]
    async fn p7_a_token_is_compared_whole_and_shown_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, "correct-horse-battery\n").unwrap();
        let token = Token::at(&file).unwrap();
        assert!(!format!("{token:?}").contains("horse"));
        for good in ["Bearer correct-horse-battery", "bearer  correct-horse-battery"] {
            assert!(token.allows(&bearing(good)).await.is_ok(), "{good}");
        }
        let bad = ["Bearer correct-horse-batter", "Basic correct-horse-battery", "Bearer ", "x"];
        for bad in bad {
            assert!(matches!(token.allows(&bearing(bad)).await, Err(Denied::Wrong)), "{bad}");
        }
        assert!(token.allows(&HeaderMap::new()).await.is_err());
        // A token that was changed counts at once.
        std::fs::write(&file, "another-horse-battery").unwrap();
        assert!(token.allows(&bearing("Bearer correct-horse-battery")).await.is_err());
        assert!(token.allows(&bearing("Bearer another-horse-battery")).await.is_ok());
        std::fs::write(&file, "another horse, and a line\n").unwrap();
        let denied = token.allows(&bearing("Bearer x")).await.unwrap_err();
        assert!(!denied.to_string().contains("horse"), "{denied}");
    }

    #[test]
    fn p7_a_token_that_is_missing_or_short_is_refused_at_start_without_being_told() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        assert!(Token::at(&file).unwrap_err().contains("can't be read"));
        for bad in ["", "hunter2", "a line\nand another one\n"] {
            std::fs::write(&file, bad).unwrap();
            let error = Token::at(&file).unwrap_err();
            assert!(error.contains("16 visible"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
