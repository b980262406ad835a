//! The admin port of a running sidecar.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{NO_SUCH, Pages, Question, REFUSED};
use crate::cli::Failure;
use crate::config::Config;
use crate::http::{Answer, Config as HttpConfig, ErrorKind, JsonClient, Url};
use crate::model::{OperationId, Order};

/// More than the port gives itself for an answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A page of operations is some KiB each.
const LONGEST_ANSWER: usize = 32 << 20;

/// The port, and what orders carry.
pub(super) struct Port {
    url: Url,
    client: JsonClient,
    token: Option<HeaderValue>,
}

/// What became of a question.
pub(super) enum Asked {
    Answer(Value),
    /// Nobody listens there.
    Nobody(String),
}

/// Where the port of that configuration, or of the usual one, is for a process on the same machine.
pub(super) fn url_of(config: Option<&Config>) -> Url {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, 9901));
    let mut address = config.map_or(usual, |config| config.admin);
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Url::of_address(address)
}

/// The token in `file`.
pub(super) fn token(file: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::Other(format!("{}: the token can't be read: {error}", file.display()))
    })?;
    Ok(text.trim().to_owned())
}

impl Port {
    pub(super) fn new(url: Url, token: Option<String>) -> Result<Self, Failure> {
        let config = HttpConfig { answer_limit: LONGEST_ANSWER, ..HttpConfig::default() };
        let client = JsonClient::new(url.clone(), config);
        let client = client.map_err(|error| Failure::Other(error.to_string()))?;
        let token = token.map(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))?;
            value.set_sensitive(true);
            Ok::<_, http::header::InvalidHeaderValue>(value)
        });
        let token = token.transpose().map_err(|_| {
            Failure::Other("the token holds characters that can't be sent".to_owned())
        })?;
        Ok(Self { url, client, token })
    }

    pub(super) fn url(&self) -> &str {
        self.url.as_str()
    }

    pub(super) async fn ask(&self, question: &Question) -> Result<Asked, Failure> {
        match question {
            Question::Show(id) => self.get(&format!("/operations/{id}")).await,
            Question::Order(id, order) => self.order(*id, order).await,
            Question::List { stuck, limit, after } => {
                let mut pages = Pages::new(*stuck, *limit, *after);
                loop {
                    let page = pages.next();
                    let mut path = format!("/operations?limit={}&stuck={stuck}", page.limit);
                    if let Some(after) = page.after {
                        path = format!("{path}&after={after}");
                    }
                    let answer = match self.get(&path).await? {
                        Asked::Answer(answer) => answer,
                        nobody @ Asked::Nobody(_) => return Ok(nobody),
                    };
                    let after = answer.get("after").and_then(Value::as_str);
                    let after = after
                        .map(OperationId::parse)
                        .transpose()
                        .map_err(|why| unreadable(&why.to_string()))?;
                    let Some(Value::Array(operations)) = answer.get("operations") else {
                        return Err(unreadable("there is no list of operations in it"));
                    };
                    if !pages.take(operations.clone(), after) {
                        return Ok(Asked::Answer(pages.whole()));
                    }
                }
            }
        }
    }

    async fn get(&self, path: &str) -> Result<Asked, Failure> {
        self.call(Method::GET, path, HeaderMap::new(), Bytes::new()).await
    }

    async fn order(&self, id: OperationId, order: &Order) -> Result<Asked, Failure> {
        let (verb, body) = match order {
            Order::Retry { by, reason: None } => ("retry", json!({"by": by})),
            Order::Retry { by, reason } => ("retry", json!({"by": by, "reason": reason})),
            Order::Discard { by, reason } => ("discard", json!({"by": by, "reason": reason})),
        };
        let headers = self.token.iter().map(|token| (AUTHORIZATION, token.clone())).collect();
        let path = format!("/operations/{id}/{verb}");
        self.call(Method::POST, &path, headers, Bytes::from(body.to_string())).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Asked, Failure> {
        match self.client.call(method, path, headers, body, TIMEOUT).await {
            Ok(answer) => read(&answer).map(Asked::Answer),
            Err(error) if error.kind == ErrorKind::Connect => Ok(Asked::Nobody(error.to_string())),
            Err(error) => Err(Failure::Other(error.to_string())),
        }
    }
}

fn read(answer: &Answer) -> Result<Value, Failure> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let detail = body.get("detail").and_then(Value::as_str).unwrap_or("it says no more");
    match answer.status {
        StatusCode::OK if body.is_object() => Ok(body),
        StatusCode::OK => Err(unreadable("it is no JSON object; is this the admin port?")),
        StatusCode::NOT_FOUND => Err(Failure::Coded(NO_SUCH, detail.to_owned())),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::CONFLICT => {
            Err(Failure::Coded(REFUSED, format!("refused: {detail}")))
        }
        status => Err(Failure::Other(format!("the admin port answered {status}: {detail}"))),
    }
}

fn unreadable(why: &str) -> Failure {
    Failure::Other(format!("the admin port's answer can't be read: {why}"))
}
