//! Claims about the page, as a browser without JavaScript meets it: who gets in and for how long, what a form must show,
//! and what every answer forbids the browser.

use reqwest::header::HeaderMap;
use reqwest::{Client, Response};
use sea_orm::ConnectionTrait as _;
use serde_json::json;

use crate::support::{Backend, CONSUMER, OPERATOR, TestApp, VIEWER, launch};
use crate::wire::fixture;

const BOTH: [Backend; 2] = [Backend::Sqlite, Backend::Postgres];

/// A browser: it has cookies, and says that it takes HTML.
pub(crate) struct Browser<'a> {
    app: &'a TestApp,
    client: Client,
    cookies: Vec<(String, String)>,
}

/// A page as it came.
pub(crate) struct Seen {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl<'a> Browser<'a> {
    pub(crate) fn new(app: &'a TestApp) -> Self {
        let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
        Self { app, client: client.expect("a client"), cookies: Vec::new() }
    }

    pub(crate) async fn logged_in(app: &'a TestApp, token: &str) -> Self {
        let mut browser = Self::new(app);
        let seen = browser.login(token).await;
        assert_eq!((seen.status, &seen.headers["location"]), (303, &"/".parse().expect("a value")));
        browser
    }

    fn cookie(&self) -> String {
        self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    async fn keep(&mut self, response: Response) -> Seen {
        for line in response.headers().get_all("set-cookie") {
            let line = line.to_str().expect("plain text");
            for word in ["HttpOnly", "SameSite=Strict", "Path=/"] {
                assert!(line.contains(word), "{line}");
            }
            let (name, value) = line.split(';').next().and_then(|pair| pair.split_once('=')).expect("a pair");
            self.cookies.retain(|(known, _)| known != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Seen { status, headers, text: response.text().await.expect("a whole page") }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Seen {
        let request = self.client.get(format!("{}{path}", self.app.admin)).header("accept", "text/html,*/*;q=0.8");
        let response = request.header("cookie", self.cookie()).send().await.expect("the page answers");
        self.keep(response).await
    }

    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)], more: &[(&str, &str)]) -> Seen {
        let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
        let pairs: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let mut request = self.client.post(format!("{}{path}", self.app.admin)).header("accept", "text/html");
        request = request.header("content-type", "application/x-www-form-urlencoded").header("cookie", self.cookie());
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let response = request.body(pairs.join("&")).send().await.expect("the page answers");
        self.keep(response).await
    }

    pub(crate) async fn login(&mut self, token: &str) -> Seen {
        let csrf = self.get("/login").await.csrf();
        self.post("/login", &[("csrf", &csrf), ("token", token), ("next", "/")], &[]).await
    }
}

impl Seen {
    /// The token of the page's forms.
    pub(crate) fn csrf(&self) -> String {
        let (_, rest) = self.text.split_once("name=\"csrf\" value=\"").expect("a form with a token");
        rest.split('"').next().expect("a value").to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_begins_with_a_token_and_ends_with_a_logout() {
    for backend in BOTH {
        let app = TestApp::start(backend).await;
        let mut browser = Browser::new(&app);
        let seen = browser.get("/?since=2h").await;
        assert_eq!(seen.status, 303, "{backend:?}: nobody sees anything before logging in");
        assert_eq!(seen.headers["location"], "/login?next=%2F%3Fsince%3D2h");

        let mut browser = Browser::logged_in(&app, VIEWER).await;
        let seen = browser.get("/").await;
        assert!(seen.status == 200 && seen.text.contains("<h1>Overview</h1>"), "{}", seen.text);
        assert!(seen.text.contains("view") && !seen.text.contains(VIEWER), "the token itself is nowhere");

        let id = browser.cookies[0].1.clone();
        let csrf = seen.csrf();
        assert_eq!(browser.post("/logout", &[("csrf", &csrf)], &[]).await.status, 303);
        browser.cookies = vec![("tallyhook".to_owned(), id)];
        assert_eq!(browser.get("/").await.status, 303, "{backend:?}: the row is gone, not only the cookie");
        app.finish().await;
    }
}

/// As after seven more wrong logins: the first wait is over before a slow test gets there.
pub(crate) async fn wait_long(app: &TestApp) {
    let db = &app.running.as_ref().expect("it runs").app.db;
    let sql = "UPDATE login_failures SET failures = failures + 7 WHERE failures > 4";
    assert!(db.orm.execute_unprepared(sql).await.expect("SQL").rows_affected() > 0, "five were counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_make_everybody_at_that_address_wait() {
    for backend in BOTH {
        let app = TestApp::start(backend).await;
        let mut browser = Browser::new(&app);
        for _ in 0..5 {
            let seen = browser.login("not-a-token-of-ours").await;
            assert!(seen.status == 401 && seen.text.contains("not one of our tokens"), "{}", seen.text);
        }
        wait_long(&app).await;
        let seen = browser.login(VIEWER).await;
        assert_eq!(seen.status, 429, "{backend:?}: even the right one must wait");
        assert!(seen.text.contains("try again in"), "{}", seen.text);
        assert!(seen.headers.contains_key("retry-after"));
        let with_token = app.get("/api/callbacks", VIEWER).await;
        assert_eq!(with_token.status, 200, "programs with a token go on");
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_needs_its_own_form_and_a_token_that_may_read() {
    let app = TestApp::start(Backend::Sqlite).await;
    let mut browser = Browser::new(&app);
    assert_eq!(browser.login(CONSUMER).await.status, 403, "a consumer has the events, not the page");
    let fields = [("csrf", "0000"), ("token", VIEWER), ("next", "/")];
    assert_eq!(browser.post("/login", &fields, &[]).await.status, 400, "not the value of the cookie");
    let csrf = browser.get("/login").await.csrf();
    let fields = [("csrf", csrf.as_str()), ("token", VIEWER), ("next", "/")];
    let seen = browser.post("/login", &fields, &[("sec-fetch-site", "cross-site")]).await;
    assert_eq!(seen.status, 400, "sent by another site");
    for next in ["//evil.example/", "https://evil.example/", "/\\evil.example", "/a\r\nSet-Cookie: a=b"] {
        let csrf = browser.get("/login").await.csrf();
        let seen = browser.post("/login", &[("csrf", &csrf), ("token", VIEWER), ("next", next)], &[]).await;
        assert_eq!((seen.status, &seen.headers["location"]), (303, &"/".parse().expect("a value")), "{next:?}");
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_session_changes_must_come_from_its_own_page() {
    let app = TestApp::start(Backend::Sqlite).await;
    app.receive(&fixture("withdrawal-confirmed-btc")).await;
    let mut browser = Browser::logged_in(&app, OPERATOR).await;
    let csrf = browser.get("/").await.csrf();
    let path = "/api/callbacks/1/replay";
    let own = ("x-csrf-token", csrf.as_str());
    assert_eq!(browser.post(path, &[], &[]).await.status, 403, "no token");
    assert_eq!(browser.post(path, &[], &[("x-csrf-token", "0000")]).await.status, 403, "a wrong one");
    assert_eq!(browser.post(path, &[], &[own, ("sec-fetch-site", "cross-site")]).await.status, 403, "another site");
    assert_eq!(browser.post(path, &[], &[own, ("origin", "http://evil.example")]).await.status, 403, "another origin");
    let done = browser.post(path, &[], &[own, ("sec-fetch-site", "same-origin")]).await;
    assert_eq!(done.status, 200, "the API takes a session as well: {}", done.text);
    let seen = browser.post("/logout", &[], &[]).await;
    assert!(seen.status == 403 && seen.text.contains("<h1>"), "for a browser it is a page: {}", seen.text);
    let other = app.send_json(path, VIEWER, &json!({})).await;
    assert_eq!(other.status, 403, "a viewer's token replays nothing, here or there");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_known_to_other_replicas_and_ends_with_its_token() {
    for backend in BOTH {
        let app = TestApp::start(backend).await;
        let browser = Browser::logged_in(&app, VIEWER).await;
        for (more, status) in
            [(vec![], 200), (vec![("TALLYHOOK_TOKENS__VIEW__SECRET", "another-token-of-tests")], 303), (vec![], 303)]
        {
            let replica = launch(&app.url, &more).await;
            let url = format!("http://{}/", replica.admin);
            let request = browser.client.get(url).header("accept", "text/html").header("cookie", browser.cookie());
            assert_eq!(request.send().await.expect("an answer").status(), status, "{backend:?} {more:?}");
            replica.app.stop.cancel();
            replica.until_stopped().await.expect("it stops in order");
        }
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_forbids_what_a_page_does_not_need() {
    let app = TestApp::start(Backend::Sqlite).await;
    let mut browser = Browser::logged_in(&app, VIEWER).await;
    let overview = browser.get("/").await;
    for path in ["/", "/login", "/nothing/here", "/assets/x/style.css"] {
        let seen = browser.get(path).await;
        let policy = seen.headers["content-security-policy"].to_str().expect("text");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(seen.headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(seen.headers["cache-control"], "no-store", "{path}");
        for inline in ["<style", "style=\"", "<script>", "onclick=", "http://", "https://"] {
            assert!(path.starts_with("/assets") || !seen.text.contains(inline), "{path} has {inline}");
        }
    }
    let (_, file) = overview.text.split_once("<link rel=\"stylesheet\" href=\"").expect("a style");
    let seen = browser.get(file.split('"').next().expect("an address")).await;
    assert_eq!(
        (seen.status, &seen.headers["content-type"]),
        (200, &"text/css; charset=utf-8".parse().expect("a value"))
    );
    assert!(seen.headers["cache-control"].to_str().is_ok_and(|value| value.contains("immutable")));
    let nothing = browser.get("/nothing/here").await;
    assert!(nothing.status == 404 && nothing.text.contains("no such page"), "{}", nothing.text);
    app.finish().await;
}
