//! What is sent: bytes, and which requests they are by the program's own reading.

use super::framing;

/// What every body is, for all handlers that want one.
pub(crate) const BODY: &str =
    r#"{"agent_id":"a1","agent_name":"a1","name":"n","source":"slack","forward_path":"/f"}"#;

/// What marks a request on its way to the server: the sidecar asks for known encodings only where
/// it intercepts, and its own calls ask for `identity`.
pub(crate) const ENCODINGS: &str = "gzip, x-differential";

/// One case.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// Its name, which the `x-case` of its first request carries.
    pub(crate) name: String,
    /// Sent one after the other; each but the first after an answer, or a while.
    pub(crate) pieces: Vec<Vec<u8>>,
    /// The requests that may reach a handler, once each, in this order.
    pub(crate) allowed: Vec<String>,
    /// What a handler must read, where it is one request.
    pub(crate) body: Option<Vec<u8>>,
    /// Whether a connection is for this case alone, and its sending side closed afterwards.
    pub(crate) alone: bool,
}

impl Case {
    /// One request on a connection that others use too.
    pub(crate) fn spelling(name: String, bytes: Vec<u8>) -> Self {
        Self::body(name, bytes, BODY.into())
    }

    /// One request with that body.
    pub(crate) fn body(name: String, bytes: Vec<u8>, body: Vec<u8>) -> Self {
        let (allowed, body) = (vec![name.clone()], Some(body));
        Self { allowed, pieces: vec![bytes], body, alone: false, name }
    }

    /// Bytes on a connection of their own, which are the requests that [`framing`] finds in them.
    pub(crate) fn framed(name: String, pieces: Vec<Vec<u8>>) -> Self {
        let allowed = framing::requests(&pieces.concat());
        Self { allowed, pieces, body: None, alone: true, name }
    }

    /// Whether the first request's answer has no body.
    pub(crate) fn is_head(&self) -> bool {
        self.pieces[0].starts_with(b"HEAD ")
    }

    /// Whether its first request is one whose upgrade can pass: a GET whose body is not framed.
    pub(crate) fn may_upgrade(&self) -> bool {
        let text = String::from_utf8_lossy(&self.pieces.concat()).to_ascii_lowercase();
        let text = text.replace("\r\n", "\n");
        let head = text.split("\n\n").next().unwrap_or_default();
        let framed = ["\ncontent-length:", "\ntransfer-encoding:"];
        head.starts_with("get ") && !framed.iter().any(|name| head.contains(name))
    }

    /// Its bytes, for a reader.
    pub(crate) fn shown(&self) -> String {
        let pieces = self.pieces.iter().map(|piece| piece.escape_ascii().to_string());
        pieces.collect::<Vec<_>>().join(" | ")
    }
}

/// The headers that every request has: who asks, and what is traced.
pub(crate) fn headers(name: &str) -> String {
    format!(
        "host: keys\r\nx-user-id: alice\r\nx-case: {name}\r\naccept-encoding: {ENCODINGS}\r\n\
         content-type: application/json\r\n"
    )
}
