//! The board of reconciliation, as a browser without JavaScript and a client of the API meet it.

use std::time::Duration;

use serde_json::json;
use tallyhook::processor::sandbox::Options;
use tallyhook::processor::sandbox::world::Merchant;
use tallyhook::store::cursor;

use crate::page::Browser;
use crate::support::process::{Deployment, eventually};
use crate::support::sandbox::{KEY, TestSandbox, amount, now_us};
use crate::support::{Backend, OPERATOR, SECRET, TestApp, VIEWER, fresh_folder};

stories!(the_board_shows_what_agrees_and_what_is_open_and_runs_on_demand);

const HEADER: &str = "id,type,status,currency,amount,created_at";

async fn the_board_shows_what_agrees_and_what_is_open_and_runs_on_demand(backend: Backend) {
    let merchant = Merchant::new(KEY, SECRET, "http://127.0.0.1:9/").with_balance("BTC", amount("1.5"));
    let sandbox = TestSandbox::with(Options::new(merchant, now_us));
    let api = sandbox.sandbox.api();
    let settings = [
        ("TALLYHOOK_ALPHAPO__BASE_URL", api.as_str()),
        ("TALLYHOOK_RECONCILE__PATIENCE_S", "0"),
        ("TALLYHOOK_RECONCILE__EVERY_S", "0"),
    ];
    let app = TestApp::with(backend, &settings).await;
    let mut viewer = Browser::logged_in(&app, VIEWER).await;
    let empty = viewer.get("/reconciliation").await;
    assert_eq!(empty.status, 200, "{}", empty.text);
    assert!(empty.text.contains("Nothing was compared yet") && empty.text.contains("Nothing is open"));
    assert!(!empty.text.contains("Compare now"), "a viewer only looks");
    let csrf = empty.csrf();
    assert_eq!(viewer.post("/reconciliation/run", &[("csrf", &csrf)], &[]).await.status, 403);
    assert_eq!(app.send_json("/api/reconciliations", VIEWER, &json!({})).await.status, 403);

    // While another run is under way, none begins.
    let inner = &app.running.as_ref().expect("it runs").app;
    cursor::take_lease(&inner.db, "reconcile", "another replica", 60_000_000).await.expect("the lease");
    let refused = app.send_json("/api/reconciliations", OPERATOR, &json!({})).await;
    assert_eq!((refused.status.as_u16(), &refused.json["code"]), (409, &json!("already_running")));
    cursor::release(&inner.db, "reconcile", "another replica").await.expect("it is given back");

    let mut operator = Browser::logged_in(&app, OPERATOR).await;
    let csrf = operator.get("/reconciliation").await.csrf();
    assert_eq!(operator.post("/reconciliation/run", &[], &[]).await.status, 403, "without its page's token");
    assert_eq!(operator.post("/reconciliation/run", &[("csrf", &csrf)], &[]).await.status, 303);
    let runs = eventually("a run is kept", Duration::from_secs(120), async || {
        Some(app.rows("/api/reconciliations").await).filter(|runs| !runs.is_empty())
    })
    .await;
    assert_eq!((&runs[0]["asked_by"], &runs[0]["merchant"]), (&json!("ops"), &json!("main")));
    let id = runs[0]["id"].as_str().expect("an id");
    let one = app.get(&format!("/api/reconciliations/{id}"), VIEWER).await.json;
    assert_eq!(one, runs[0]);
    let line = one["lines"].as_array().expect("lines").iter().find(|line| line["currency"] == "BTC").expect("bitcoin");
    assert_eq!((&line["verdict"], &line["difference"]), (&json!("open"), &json!("1.5")));
    for wrong in ["1", "nothing", "9-9", "-"] {
        assert_eq!(app.get(&format!("/api/reconciliations/{wrong}"), VIEWER).await.status, 404, "{wrong}");
    }

    // An export with a payment that nobody knows.
    let path = fresh_folder().join("<b>.csv");
    std::fs::write(&path, format!("{HEADER}\n77,deposit,confirmed,BTC,0.5,2026-01-01 00:00:00\n")).expect("a file");
    let deployment = Deployment::on(&app.url).set("TALLYHOOK_ALPHAPO__BASE_URL", &api);
    let ended = deployment.run(&["reconcile", "import-csv", &path.display().to_string(), "--yes"]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    let exports = app.rows("/api/exports").await;
    assert_eq!((exports.len(), &exports[0]["missing_here"], &exports[0]["open"]), (1, &json!(1), &json!(1)));
    let export = app.get("/api/exports/1", VIEWER).await.json;
    assert_eq!(
        (&export["data"][0]["result"], &export["data"][0]["payment_id"]),
        (&json!("missing_here"), &json!("77"))
    );
    assert_eq!(app.get("/api/exports/2", VIEWER).await.status, 404);

    let board = operator.get("/reconciliation").await.text;
    for shown in
        ["balance surplus", "export missing here", "2 BTC", "class=\"trend\"", "&#60;b&#62;.csv", "Compare now"]
    {
        assert!(board.contains(shown), "{shown} is not on the board: {board}");
    }
    let discrepancy = line["discrepancy"].as_str().expect("an id");
    assert!(board.contains(&format!("href=\"/held/{discrepancy}\"")));
    assert!(board.contains("<rect class=\"open\""), "the run stands in the trend");
    sandbox.sandbox.stop();
    app.finish().await;
}
