//! Who may take which route: every route of the admin listener with every role, against a table of its own. A route
//! without a line here fails.

use std::collections::BTreeSet;

use tallyhook::http::admin_table;

use crate::support::{APPROVER, Backend, CONSUMER, OPERATOR, TestApp, VIEWER};

/// Method, path, and the least role; `open` is for everybody.
const EXPECTED: &[&str] = &[
    "GET /livez open",
    "GET /readyz open",
    "GET /metrics open",
    "GET /openapi.json open",
    "GET /docs open",
    "GET / viewer",
    "GET /login open",
    "POST /login open",
    "POST /logout viewer",
    "GET /live/tail viewer",
    "GET /live/traffic viewer",
    "GET /callbacks viewer",
    "GET /callbacks/{id} viewer",
    "GET /callbacks/{id}/body viewer",
    "POST /callbacks/{id}/replay operator",
    "GET /events viewer",
    "POST /events/redeliver operator",
    "GET /held viewer",
    "GET /held/{id} viewer",
    "POST /held/{id}/resolve operator",
    "POST /held/{id}/comments operator",
    "POST /held/{id}/owner operator",
    "GET /proposals viewer",
    "POST /proposals/{id}/approve approver",
    "POST /proposals/{id}/refuse operator",
    "GET /replays viewer",
    "GET /replays/{id} viewer",
    "POST /replays/{id}/stop operator",
    "GET /audit viewer",
    "GET /rejected viewer",
    "GET /assets/{hash}/{name} open",
    "GET /api/events consumer",
    "GET /api/events/stream consumer",
    "GET /api/events/redeliveries viewer",
    "POST /api/events/redeliver operator",
    "GET /addresses/retire operator",
    "POST /addresses/retire operator",
    "POST /api/addresses/retire operator",
    "GET /reconciliation viewer",
    "POST /reconciliation/run operator",
    "GET /api/reconciliations viewer",
    "POST /api/reconciliations operator",
    "GET /api/reconciliations/{id} viewer",
    "GET /api/exports viewer",
    "GET /api/exports/{id} viewer",
    "GET /api/callbacks viewer",
    "POST /api/callbacks/replay operator",
    "GET /api/callbacks/{id} viewer",
    "POST /api/callbacks/{id}/replay operator",
    "GET /api/replays viewer",
    "POST /api/replays operator",
    "GET /api/replays/{id} viewer",
    "POST /api/replays/{id}/stop operator",
    "GET /api/balances viewer",
    "GET /api/accounts viewer",
    "GET /api/accounts/{id}/postings viewer",
    "GET /api/checks viewer",
    "GET /api/customers viewer",
    "GET /api/customers/{id} viewer",
    "GET /api/customers/{id}/statement viewer",
    "GET /api/payments viewer",
    "GET /api/payments/{id} viewer",
    "GET /api/withdrawals viewer",
    "GET /api/withdrawals/{id} viewer",
    "GET /api/addresses viewer",
    "GET /api/declined viewer",
    "GET /payments viewer",
    "GET /payments/{id} viewer",
    "GET /customers viewer",
    "GET /customers/{id} viewer",
    "GET /customers/{id}/statement.csv viewer",
    "GET /withdrawals viewer",
    "GET /addresses viewer",
    "GET /api/discrepancies viewer",
    "GET /api/discrepancies/{id} viewer",
    "POST /api/discrepancies/{id}/resolve operator",
    "POST /api/discrepancies/{id}/comments operator",
    "POST /api/discrepancies/{id}/owner operator",
    "GET /api/proposals viewer",
    "GET /api/proposals/{id} viewer",
    "POST /api/proposals/{id}/approve approver",
    "POST /api/proposals/{id}/refuse operator",
    "GET /api/audit viewer",
    "GET /api/outbox viewer",
    "GET /api/rejected viewer",
    "GET /api/outages viewer",
    "GET /api/outbound viewer",
    "POST /api/outbound/stop operator",
    "POST /api/outbound/start operator",
    "POST /api/withdrawals/{id}/refund approver",
    "POST /api/withdrawals/{id}/conclude approver",
];

/// From the least on: each may what those before it may.
const CALLERS: [(&str, &str); 5] =
    [("open", ""), ("consumer", CONSUMER), ("viewer", VIEWER), ("operator", OPERATOR), ("approver", APPROVER)];

struct Line {
    method: &'static str,
    path: &'static str,
    needs: &'static str,
}

fn lines() -> Vec<Line> {
    let line = |line: &'static str| {
        let [method, path, needs] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line} has three words") };
        Line { method, path, needs }
    };
    EXPECTED.iter().copied().map(line).collect()
}

#[test]
fn every_route_has_a_line_that_says_who_may_take_it() {
    let served: BTreeSet<_> = admin_table().map(|route| format!("{} {}", route.method, route.path)).collect();
    let expected: BTreeSet<_> = lines().iter().map(|line| format!("{} {}", line.method, line.path)).collect();
    assert_eq!(served, expected, "the routes that are served, and those this table knows");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_what_those_before_it_may_and_no_more() {
    let app = TestApp::start(Backend::Sqlite).await;
    for Line { method, path, needs } in lines() {
        let least = CALLERS.iter().position(|(role, _)| *role == needs).expect("a role there is");
        let url = format!("{}{}", app.admin, path.replace("{id}", "4711"));
        for (rank, (role, token)) in CALLERS.iter().enumerate() {
            let status = status(&app, method, &url, token).await;
            let refusal = if rank == 0 { 401 } else { 403 };
            let is_refused = status == refusal;
            assert_eq!(is_refused, rank < least, "{method} {path} as {role} answers {status}");
            assert!(status == refusal || !matches!(status, 401 | 403 | 405), "{method} {path} as {role}: {status}");
        }
        let stranger = status(&app, method, &url, "no-such-token-at-all").await;
        assert_eq!(stranger == 401, least > 0, "{method} {path} as nobody we know answers {stranger}");
    }
    let refused = app.running.as_ref().expect("it runs").app.metrics.tokens_refused.get();
    let guarded = lines().iter().filter(|line| line.needs != CALLERS[0].0).count();
    assert_eq!(usize::try_from(refused), Ok(guarded), "each guess is counted");
    app.finish().await;
}

/// Only the head of the answer is waited for: a stream has no end.
async fn status(app: &TestApp, method: &str, url: &str, token: &str) -> u16 {
    let method = method.parse().expect("a method");
    let mut request = app.client.request(method, url);
    if !token.is_empty() {
        request = request.bearer_auth(token);
    }
    request.send().await.expect("the admin side answers").status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_method_is_told_which_ones_there_are() {
    let app = TestApp::start(Backend::Sqlite).await;
    for (base, method, path, allow) in [
        (&app.admin, "DELETE", "/api/callbacks/1", "GET"),
        (&app.admin, "GET", "/api/callbacks/1/replay", "POST"),
        (&app.public, "GET", "/callbacks/alphapo", "POST"),
    ] {
        let request = app.client.request(method.parse().expect("a method"), format!("{base}{path}"));
        let answer = request.send().await.expect("it answers");
        assert_eq!(answer.status(), 405, "{method} {path}");
        assert_eq!(answer.headers()["allow"], allow, "{method} {path}");
    }
    app.finish().await;
}
