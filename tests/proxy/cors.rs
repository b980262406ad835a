//! What pages of other origins may read: the sidecar's own answers where that is configured, and of
//! the service's what the service says.

use authz_sidecar::proxy::Cors;

use crate::support::{Service, Setup, Sidecar, header};

const ODD: &str = "POST /keys%2F HTTP/1.1\r\nhost: x\r\norigin: https://app.example\r\n\r\n";

fn allowing(service: &Service, origin: &str) -> Sidecar {
    let cors = Cors { origins: vec![origin.to_owned()], credentials: false };
    Setup { cors, ..Setup::default() }.start(&service.endpoint())
}

#[tokio::test]
async fn a_page_may_read_why_the_sidecar_refused_it() {
    let service = Service::echo().await;
    let sidecar = allowing(&service, "https://app.example");
    let (head, _) =
        sidecar.get("CONNECT x:1 HTTP/1.1\r\nhost: x\r\norigin: https://app.example\r\n\r\n").await;
    assert_eq!(
        header(&head, "access-control-allow-origin").as_deref(),
        Some("https://app.example")
    );
    assert_eq!(header(&head, "vary").as_deref(), Some("origin"));
    let (head, _) = sidecar
        .get("CONNECT x:1 HTTP/1.1\r\nhost: x\r\norigin: https://evil.example\r\n\r\n")
        .await;
    assert_eq!(header(&head, "access-control-allow-origin"), None);
}

#[tokio::test]
async fn p6_what_the_service_answers_has_the_services_headers() {
    let answer = "HTTP/1.1 200 OK\r\naccess-control-allow-origin: https://own.example\r\n\
                  content-length: 0\r\n\r\n";
    let service = Service::says(answer).await;
    let sidecar = allowing(&service, "*");
    let asked = "OPTIONS /keys HTTP/1.1\r\nhost: x\r\norigin: https://app.example\r\n\
                 access-control-request-method: POST\r\n\r\n";
    let (head, _) = sidecar.get(asked).await;
    assert_eq!(
        header(&head, "access-control-allow-origin").as_deref(),
        Some("https://own.example")
    );
    assert_eq!(header(&head, "vary"), None);
}

#[tokio::test]
async fn without_a_configuration_nobody_is_told_anything() {
    let service = Service::echo().await;
    let (head, _) = Sidecar::before(&service).get(ODD).await;
    assert_eq!(header(&head, "access-control-allow-origin"), None);
    assert_eq!(header(&head, "vary"), None);
}
