//! From a request's target to the path that is decided on.

use http::{Method, Request};

use crate::error::{Kind, Problem};
use crate::model::DecodedPath;

/// The path that the service will route on, or `None` for `OPTIONS *`, which has none.
///
/// Origin form is the usual. Of an absolute form any scheme, userinfo and host will do, since the
/// service looks at its path alone (contract keys-service.md). `CONNECT`, an authority form and
/// anything else without a leading slash are refused: some parsers would route them all the same.
pub(super) fn decide<B>(request: &Request<B>) -> Result<Option<DecodedPath<'_>>, Problem> {
    if request.method() == Method::CONNECT {
        return Err(Problem::new(Kind::NotImplemented, "CONNECT is not supported"));
    }
    let path = request.uri().path();
    if path == "*" && request.method() == Method::OPTIONS {
        return Ok(None);
    }
    match DecodedPath::parse(path) {
        Ok(path) => Ok(Some(path)),
        Err(error) => Err(Problem::new(Kind::BadRequest, error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(method: Method, target: &'static str) -> Result<Option<String>, Kind> {
        let uri = http::Uri::from_static(target);
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        let path = decide(&request).map_err(|problem| problem.kind())?;
        Ok(path.map(|path| path.text().to_owned()))
    }

    #[test]
    fn p5_the_path_is_the_one_that_the_service_sees() {
        let path = |target| decided(Method::POST, target).unwrap().unwrap();
        assert_eq!(path("/keys?x=/y"), "/keys");
        assert_eq!(path("/keys??"), "/keys");
        assert_eq!(path("http://any@elsewhere:1/keys?x"), "/keys");
        assert_eq!(path("ftp://h/%6beys"), "/keys");
        assert_eq!(path("http://h"), "/");
    }

    #[test]
    fn p5_a_target_without_a_path_is_refused() {
        assert_eq!(decided(Method::POST, "keys"), Err(Kind::BadRequest));
        assert_eq!(decided(Method::POST, "h:80"), Err(Kind::BadRequest));
        assert_eq!(decided(Method::POST, "*"), Err(Kind::BadRequest));
        assert_eq!(decided(Method::CONNECT, "h:80"), Err(Kind::NotImplemented));
        assert_eq!(decided(Method::CONNECT, "/keys"), Err(Kind::NotImplemented));
        assert_eq!(decided(Method::OPTIONS, "*"), Ok(None));
    }
}
