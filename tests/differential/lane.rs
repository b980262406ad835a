//! One client: sends one case after the other, and takes the answers.

use super::case::{Case, Sent};
use super::http2::Http2;
use super::judge::Outcome;
use super::stream::Stream;
use super::wire::Wire;

/// A client with the connections that it keeps.
pub(crate) struct Lane {
    address: String,
    http1: Option<Wire>,
    http2: Option<Http2>,
}

impl Lane {
    /// A client of whoever listens at `address`.
    pub(crate) fn new(address: &str) -> Self {
        Self { address: address.to_owned(), http1: None, http2: None }
    }

    /// Sends a case and takes its answers.
    pub(crate) async fn send(&mut self, case: &Case) -> Outcome {
        match &case.sent {
            Sent::Bytes { pieces, alone } => self.send_bytes(case, pieces, *alone).await,
            Sent::Stream(stream) => self.send_stream(stream).await,
        }
    }

    async fn send_bytes(&mut self, case: &Case, pieces: &[Vec<u8>], alone: bool) -> Outcome {
        let mut wire = match self.http1.take() {
            Some(wire) if !alone => wire,
            kept => {
                let fresh = Wire::connect(&self.address).await;
                if alone {
                    self.http1 = kept;
                }
                fresh
            }
        };
        for (index, piece) in pieces.iter().enumerate() {
            if index > 0 {
                wire.pause().await;
            }
            if !wire.send(piece).await {
                break;
            }
        }
        if alone {
            wire.finish().await;
        }
        let mut outcome = Outcome::default();
        let mut head = case.is_head();
        loop {
            match wire.answer(head).await {
                Ok(Some(answer)) => {
                    let closes = answer.closes;
                    outcome.answers.push(answer);
                    if !alone && !closes {
                        self.http1 = Some(wire);
                        return outcome;
                    }
                    head = false;
                }
                Ok(None) => return outcome,
                Err(()) => {
                    outcome.hung = true;
                    return outcome;
                }
            }
        }
    }

    async fn send_stream(&mut self, stream: &Stream) -> Outcome {
        let mut http2 = match self.http2.take() {
            Some(kept) => kept,
            None => Http2::connect(&self.address).await,
        };
        match http2.exchange(stream).await {
            Ok(Some(answer)) => {
                self.http2 = Some(http2);
                Outcome { answers: vec![answer], hung: false }
            }
            // What was reset may have taken the connection with it.
            Ok(None) => Outcome::default(),
            Err(()) => Outcome { hung: true, ..Outcome::default() },
        }
    }
}
