//! The dual write: one row in the service, one resource in the back end, or neither.

use bytes::Bytes;
use http::{Request, Response};

use crate::{rules::Matched, upstream};

/// Runs the sagas. Cheap to clone.
#[derive(Clone)]
pub struct DualWrite {}

impl DualWrite {
    /// Serves one matched request. `request` is as it is to go to the service: origin form,
    /// hop-by-hop headers gone, forwarding headers set, body whole. Always answers; a caller that
    /// drops the future changes nothing about what happens.
    pub async fn serve(
        &self,
        _matched: Matched,
        _request: Request<Bytes>,
    ) -> Response<upstream::Body> {
        todo!()
    }
}
