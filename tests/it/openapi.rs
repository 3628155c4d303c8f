//! Claims about the description of the API: it has every route and no other, every code is in the docs, and the page to
//! read it by asks nobody else for anything.

use std::collections::BTreeSet;

use serde_json::Value;
use tallyhook::domain::reason::Reason;
use tallyhook::http::access::Route;
use tallyhook::http::gateway::ENDPOINTS;
use tallyhook::http::{ADMIN, PUBLIC, admin, openapi};

use crate::support::process::Deployment;
use crate::support::{Backend, TestApp};

#[test]
fn every_route_is_described_and_no_other() {
    let name = |route: &Route| format!("{} {}", route.method, route.path);
    let served: BTreeSet<_> = ADMIN.iter().chain(admin::ROUTES).chain(PUBLIC).map(name).collect();
    let described: BTreeSet<_> = openapi::described().map(|(method, path)| format!("{method} {path}")).collect();
    assert_eq!(served, described, "the routes that are served, and those that are described");
    let served: BTreeSet<_> = ENDPOINTS.iter().map(|endpoint| endpoint.path).collect();
    let described: BTreeSet<_> = openapi::described_gateway().collect();
    assert_eq!(served, described, "the gateway's routes, and those that are described");
}

#[test]
fn every_reference_leads_somewhere() {
    let document = openapi::document();
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    let text = document.to_string();
    for reference in text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap_or_default();
        assert!(schemas.contains_key(name), "there is no schema {name}");
    }
}

#[test]
fn every_code_of_a_problem_is_in_the_docs() {
    let docs = include_str!("../../docs/errors.md");
    let source = include_str!("../../src/http/error.rs");
    let known: BTreeSet<_> = openapi::problem_codes().map(|(code, _)| code).collect();
    for (code, meaning) in openapi::problem_codes() {
        assert!(docs.contains(&format!("| `{code}` | {meaning} |")), "docs/errors.md lacks {code}");
    }
    let decided = include_str!("../../src/domain/obey.rs");
    let declines = |reason: &&Reason| {
        ["Err(Reason::", "ok_or(Reason::"].iter().any(|before| decided.contains(&format!("{before}{reason:?})")))
    };
    let reasons: Vec<_> = Reason::ALL.iter().filter(declines).map(|reason| reason.word()).collect();
    assert!(
        reasons.len() > 4 && reasons.iter().all(|word| known.contains(word)),
        "why orders are declined: {reasons:?}"
    );
    for word in source.split("StatusCode::").skip(1) {
        let Some(code) = word.split('"').nth(1).filter(|_| word.contains(", \"")) else { continue };
        let is_code = code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(!is_code || known.contains(code), "`{code}` is no known code");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_served_and_read_without_another_host() {
    let app = TestApp::start(Backend::Sqlite).await;
    let served = app.get("/openapi.json", "").await;
    assert_eq!((served.status.as_u16(), served.json), (200, openapi::document()));
    let page = app.client.get(format!("{}/docs", app.admin)).send().await.expect("a page");
    let policy = page.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.starts_with("default-src 'none'; style-src 'self'"), "{policy}");
    let text = page.text().await.expect("text");
    let sheet =
        text.split("rel=\"stylesheet\" href=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a sheet");
    let sheet = app.client.get(format!("{}{sheet}", app.admin)).send().await.expect("a style sheet");
    assert_eq!(sheet.headers()["content-type"], "text/css; charset=utf-8");
    assert!(!text.contains("style=") && !text.contains("<style"), "the policy forbids styles in the page");
    assert!(text.contains("/api/discrepancies/{id}/resolve"));
    for path in openapi::document()["paths"].as_object().expect("paths").keys() {
        assert!(text.contains(&format!(" {path}</code>")), "{path} is not to be read");
    }
    assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("<script"), "it is by itself");
    app.finish().await;
}

#[test]
fn the_command_line_prints_both_descriptions() {
    let one = Deployment::on_sqlite();
    for (verb, field, version) in [("openapi", "openapi", "3.1.0"), ("asyncapi", "asyncapi", "3.0.0")] {
        let ended = one.run(&[verb]);
        let printed: Value = serde_json::from_str(&ended.stdout).expect("JSON");
        assert_eq!((ended.code, printed[field].as_str()), (Some(0), Some(version)), "{verb}");
    }
}
