//! Requests that ask for another protocol. Each has a connection to itself, which serves no other
//! request afterwards, whatever the service answers: a parser that was told of an upgrade may be
//! in a state that nobody planned.

use http::{Request, Response, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;

use super::pool::{Lease, Pool};
use super::{Body, Client, Error, RequestBody, Sent};

/// What the service made of a request for another protocol.
#[derive(Debug)]
pub enum Switch {
    /// It answered as usual.
    Declined(Response<Body>),
    /// It switched (101): behind the head, bytes are no longer HTTP.
    Accepted(Response<()>, Tunnel),
}

/// A connection to the service that no longer speaks HTTP.
#[derive(Debug)]
pub struct Tunnel {
    upgraded: OnUpgrade,
    place: OwnedSemaphorePermit,
}

impl Tunnel {
    /// The connection, for as long as its place among `max_connections` is kept.
    ///
    /// # Errors
    /// When it ended before it could be handed over.
    pub async fn open(self) -> hyper::Result<(TokioIo<Upgraded>, OwnedSemaphorePermit)> {
        Ok((TokioIo::new(self.upgraded.await?), self.place))
    }
}

impl Client {
    /// Sends one request, once, on a new connection, which may become a [`Tunnel`].
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn switch(&self, request: Request<RequestBody>) -> Result<Switch, Error> {
        let (mut sender, place) = Pool::connect_apart(&self.pool).await?;
        let sent = sender.send_request(request).await;
        let mut response = sent.map_err(|error| Error::of_exchange(&error, Sent::Maybe))?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let upgraded = hyper::upgrade::on(&mut response);
            return Ok(Switch::Accepted(response.map(drop), Tunnel { upgraded, place }));
        }
        let lease = Lease::apart(&self.pool, sender, place);
        Ok(Switch::Declined(response.map(|body| Body::stream(body, lease))))
    }
}
