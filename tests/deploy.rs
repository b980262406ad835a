//! What deploy/ ships holds together: the manifests parse, their configuration is valid, and what
//! their comments promise is what they say.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests, helpers included, may fail loudly"
)]

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use authz_sidecar::cli;
use authz_sidecar::config::Config;
use serde_json::{Value, json};

fn text(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn documents(file: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&text(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The one object of that kind in the Kubernetes manifest.
fn object(kind: &str) -> Value {
    let mut found = documents("deploy/kubernetes.yaml");
    found.retain(|object| object["kind"] == kind);
    assert_eq!(found.len(), 1, "objects of kind {kind}");
    found.remove(0)
}

fn pod() -> Value {
    object("StatefulSet")["spec"]["template"]["spec"].take()
}

/// `check` on a configuration, as an operator would run it.
fn check(yaml: &str, environment: Vec<(String, String)>) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yaml");
    std::fs::write(&file, yaml).unwrap();
    let arguments = ["authz-sidecar".into(), "check".into(), file.into_os_string()];
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = cli::main(arguments, environment, &mut out, &mut err);
    let (out, err) = (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap());
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS), "{err}");
    out
}

fn embedded() -> String {
    object("ConfigMap")["data"]["config.yaml"].as_str().unwrap().to_owned()
}

/// How long the shipped configuration lets requests go on after SIGTERM.
fn drain() -> Duration {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/agentex.yaml");
    Config::load(&shipped, Vec::new()).unwrap().drain.0
}

#[test]
fn the_pods_configuration_is_the_shipped_one_on_a_socket() {
    assert!(check(&embedded(), Vec::new()).starts_with("OK: "));
    let parse = |yaml: &str| serde_saphyr::from_str::<Value>(yaml).unwrap();
    let mut shipped = parse(&text("config/agentex.yaml"));
    shipped["upstream"] = json!("unix:/run/keys/http.sock");
    assert_eq!(parse(&embedded()), shipped);
}

#[test]
fn the_sidecar_is_a_native_one_and_starts_before_the_service() {
    let pod = pod();
    let sidecar = &pod["initContainers"][0];
    assert_eq!(sidecar["restartPolicy"], "Always");
    for (probe, path) in
        [("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")]
    {
        assert_eq!(sidecar[probe]["httpGet"], json!({"path": path, "port": "health"}));
    }
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > drain().as_secs());
}

#[test]
fn clients_reach_the_service_only_through_the_sidecar() {
    let pod = pod();
    let (sidecar, service) = (&pod["initContainers"][0], &pod["containers"][0]);
    assert_eq!(service["ports"], Value::Null);
    let command = service["command"].as_array().unwrap();
    assert!(command.windows(2).any(|two| two == [json!("--uds"), json!("/run/keys/http.sock")]));
    for container in [sidecar, service] {
        let mount = json!({"name": "socket", "mountPath": "/run/keys"});
        assert!(container["volumeMounts"].as_array().unwrap().contains(&mount));
    }
    let target = &object("Service")["spec"]["ports"][0]["targetPort"];
    let port = sidecar["ports"].as_array().unwrap().iter().find(|port| port["name"] == *target);
    let listen = serde_saphyr::from_str::<Value>(&embedded()).unwrap()["listen"].take();
    assert_eq!(listen, format!("0.0.0.0:{}", port.unwrap()["containerPort"]));
}

#[test]
fn containers_have_no_more_rights_than_they_need() {
    let pod = pod();
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    for container in [&pod["initContainers"][0], &pod["containers"][0]] {
        let rights = &container["securityContext"];
        assert_ne!(rights["runAsUser"].as_u64(), Some(0));
        assert_eq!(rights["allowPrivilegeEscalation"], false);
        assert_eq!(rights["readOnlyRootFilesystem"], true);
        assert_eq!(rights["capabilities"], json!({"drop": ["ALL"]}));
        assert!(container["resources"]["limits"]["memory"].is_string());
    }
}

#[test]
fn p3_the_journal_outlives_the_pod() {
    let set = object("StatefulSet");
    let (claims, pod) = (&set["spec"]["volumeClaimTemplates"], pod());
    assert_eq!(claims[0]["metadata"]["name"], "journal");
    assert_eq!(set["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"], "Retain");
    let directory = json!({"name": "journal", "mountPath": "/var/lib/authz-sidecar"});
    assert!(pod["initContainers"][0]["volumeMounts"].as_array().unwrap().contains(&directory));
    assert!(embedded().contains("url: sqlite:/var/lib/authz-sidecar/"));
}

#[test]
fn the_laptops_sidecar_is_the_only_way_to_the_service() {
    let compose = documents("deploy/compose.yaml").remove(0);
    let services = &compose["services"];
    let environment = services["sidecar"]["environment"].as_object().unwrap();
    let pairs = environment.iter().map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned()));
    assert!(check(&text("config/agentex.yaml"), pairs.collect()).starts_with("OK: "));
    assert_eq!(services["keys"]["ports"], Value::Null);
    let shared = services["keys"]["networks"].as_array().unwrap();
    assert_eq!(shared, &[json!("service")]);
    assert_eq!(compose["networks"]["service"]["internal"], true);
    let grace = services["sidecar"]["stop_grace_period"].as_str().unwrap();
    let grace: u64 = grace.trim_end_matches('s').parse().unwrap();
    assert!(grace > drain().as_secs());
}

#[test]
fn the_image_is_the_one_that_is_tested() {
    let (dockerfile, script) = (text("deploy/Dockerfile"), text("scripts/image.sh"));
    for file in [&dockerfile, &script] {
        assert!(file.contains("deploy/rootfs.sh target/release/authz-sidecar "));
    }
    assert!(script.contains("sed -n '/^FROM scratch/,$ p' deploy/Dockerfile"));
    let (build, runtime) = dockerfile.split_once("FROM scratch AS runtime\n").unwrap();
    assert!(runtime.contains("\nUSER 10001:10001\n"));
    assert!(runtime.contains("COPY config/agentex.yaml /etc/authz-sidecar/config.yaml\n"));
    let toolchain = text("rust-toolchain.toml");
    let version = toolchain.split('"').nth(1).unwrap();
    assert!(build.contains(&format!("FROM rust:{version}-bookworm AS build\n")));
}
