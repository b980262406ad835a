//! Reading a body into memory, within a limit.

use std::fmt;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body as _;
use http_body_util::BodyExt;

use super::{Body, Error};

/// What reading a body within a limit gave. Nothing that was read is ever lost.
pub enum Collected {
    /// All of it.
    Whole(Bytes, Option<HeaderMap>),
    /// It is longer than the limit.
    TooLarge {
        /// What was read, a little more than the limit.
        prefix: Bytes,
        /// What was not: [`Body::resume`] joins both.
        rest: Body,
    },
    /// It broke off.
    Cut {
        /// What was read.
        prefix: Bytes,
        /// Why.
        error: Error,
    },
}

impl fmt::Debug for Collected {
    /// How much there is, never what it is (promise P7).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(data, _) => f.debug_tuple("Whole").field(&data.len()).finish(),
            Self::TooLarge { prefix, rest } => {
                f.debug_tuple("TooLarge").field(&prefix.len()).field(rest).finish()
            }
            Self::Cut { prefix, error } => {
                f.debug_tuple("Cut").field(&prefix.len()).field(error).finish()
            }
        }
    }
}

/// Reads at most `limit` bytes of `body`, and stops at the frame that exceeds it. A body that
/// announces to be longer is not read at all.
pub async fn collect(mut body: Body, limit: usize) -> Collected {
    if body.size_hint().lower() > limit as u64 {
        return Collected::TooLarge { prefix: Bytes::new(), rest: body };
    }
    let mut read = Bytes::new();
    let mut trailers = None;
    loop {
        match body.frame().await {
            None => return Collected::Whole(read, trailers),
            Some(Err(error)) => return Collected::Cut { prefix: read, error },
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => read = join(read, data),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
        }
        if read.len() > limit {
            return Collected::TooLarge { prefix: read, rest: body };
        }
    }
}

/// Most bodies are one frame, which is not copied.
fn join(read: Bytes, data: Bytes) -> Bytes {
    if read.is_empty() {
        return data;
    }
    let mut all = BytesMut::from(read);
    all.extend_from_slice(&data);
    all.freeze()
}

#[cfg(test)]
mod tests {
    use super::super::{ErrorKind, Sent};
    use super::*;

    #[tokio::test]
    async fn p7_debug_shows_no_body() {
        let error = Error { kind: ErrorKind::Cut, detail: String::new(), sent: Sent::Maybe };
        let whole = Body::whole("s3cret".into(), None);
        let long = Body::resume("s3cret".into(), Body::whole("more".into(), None));
        for body in [whole, long, Body::cut("s3cret".into(), error)] {
            let shown = format!("{:?}", collect(body, 6).await);
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }

    #[tokio::test]
    async fn a_body_within_the_limit_is_whole() {
        let body = Body::resume("ab".into(), Body::whole("cd".into(), None));
        assert!(matches!(collect(body, 4).await, Collected::Whole(data, None) if data == "abcd"));
    }

    #[tokio::test]
    async fn p8_a_body_beyond_the_limit_stays_a_stream() {
        let body = Body::resume("ab".into(), Body::whole("cd".into(), None));
        let Collected::TooLarge { prefix, rest } = collect(body, 3).await else { panic!() };
        let all = Body::resume(prefix, rest).collect().await.unwrap().to_bytes();
        assert_eq!(all, "abcd");
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_not_whole() {
        let error = Error { kind: ErrorKind::Cut, detail: String::new(), sent: Sent::Maybe };
        let collected = collect(Body::cut("ab".into(), error.clone()), 10).await;
        assert!(
            matches!(collected, Collected::Cut { prefix, error: e } if prefix == "ab" && e == error)
        );
    }
}
