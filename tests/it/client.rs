//! The signed client against a small server: what it sends, byte for byte, and what it makes of every kind of answer.

use std::net::TcpListener;

use secrecy::SecretString;
use tallyhook::config::{Alphapo, Merchant};
use tallyhook::domain::amount::Amount;
use tallyhook::domain::decide::Policy;
use tallyhook::domain::verify::Verify;
use tallyhook::processor::client::{
    Again, Client, Credentials, Exact, Instant, Method, NewAddress, NewExchange, NewInvoice, NewWithdrawal, Placed,
    Subject, Trade, Trouble, Want,
};
use tallyhook::processor::signature::sign;

use crate::support::upstream::{Reply, Upstream};

const SECRET: &str = "AbCdEfG123456";

fn settings(url: &str) -> Alphapo {
    let base_url = url.to_owned();
    Alphapo { base_url, connect_timeout_ms: 500, timeout_ms: 2_000, proxy: SecretString::default() }
}

fn client(url: &str) -> Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::try_new(&settings(url)).expect("a client")
}

fn credentials() -> Credentials {
    Credentials::from(&Merchant {
        name: "main".into(),
        key: "the-key".into(),
        secret: SECRET.into(),
        previous_secret: None,
        policy: Policy::from_code(0),
        verify: Verify::default(),
        treasury: Vec::new(),
    })
}

fn amount(text: &str) -> Amount {
    Amount::parse(text).expect("an amount")
}

fn withdrawal() -> NewWithdrawal {
    NewWithdrawal {
        currency: "BTC".into(),
        amount: amount("0.00020000"),
        convert_to: None,
        address: "tb1q-somewhere".into(),
        tag: None,
        foreign_id: "w-1".into(),
        end_user_reference: Some("user-1".into()),
    }
}

/// What it makes of one answer to a withdrawal.
async fn trouble(reply: Reply) -> Trouble {
    let upstream = Upstream::always(reply).await;
    let answer = client(&upstream.url).withdraw(&credentials(), withdrawal().body()).await;
    let placed = answer.and_then(|answer| Placed::read(&answer));
    assert_eq!(upstream.seen().len(), 1, "sent once, whatever comes of it");
    placed.expect_err("not a success")
}

#[tokio::test]
async fn the_documented_bytes_are_sent_with_the_documented_signature() {
    let upstream = Upstream::always(Reply::Json(201, r#"{"data":[]}"#.into())).await;
    let body = br#"{"currency":"BTC","foreign_id":"123456"}"#;
    let answer = client(&upstream.url).call(&credentials(), Method::POST, "/addresses/take", body.to_vec()).await;
    assert_eq!(answer.expect("an answer").status, 201);
    let seen = &upstream.seen()[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/api/v2/addresses/take"));
    assert_eq!(seen.body, body);
    let vector = "03c25fcf7cd35e7d995e402cd5d51edd72d48e1471e865907967809a0c189ba55b90815f20e2bb10f82c7a9e9d865546\
                  fda58989c2ae9e8e2ff7bc29195fa1ec";
    assert_eq!(seen.header("X-Processing-Signature"), Some(vector));
    assert_eq!(seen.header("content-type"), Some("application/json"));
    let spelled = |name: &str| seen.headers.iter().any(|(other, _)| other == name);
    assert!(spelled("X-Processing-Key") && spelled("X-Processing-Signature"), "{:?}", seen.headers);
}

/// What the documentation prints as the answer, with the types that it prints elsewhere.
fn published(path: &str) -> &'static str {
    match path {
        "/ping" => "OK",
        "/currencies/list" => {
            r#"{"data":[{"id":1,"type":"crypto","currency":"BTC","minimum_amount":"0.00020000","deposit_fee_percent":"0.000700","withdrawal_fee_percent":"0.010000","precision":8}]}"#
        }
        "/currencies/pairs" | "/currencies/rates" => {
            r#"{"data":[{"currency_from":{"currency":"BTC","type":"crypto","min_amount":"0.00300000","min_amount_deposit_with_exchange":"0.00010000"},"currency_to":{"currency":"EUR","type":"fiat"},"rate_from":"1","rate_to":"8795.80000000"}]}"#
        }
        "/accounts/list" => {
            r#"{"data":[{"currency":"EUR","type":"fiat","balance":"5973.97568920"},{"currency":"BTC","type":"crypto","balance":0.04}]}"#
        }
        "/addresses/take" => {
            r#"{"data":{"id":240407213,"currency":"BTC","address":"tb1qfdxh6gkfr0qgyatnlkd8khcnxph9tw06n6qwjc","tag":17,"foreign_id":"test_foreign_id","end_user_reference":"test_end_user_reference"}}"#
        }
        "/exchange/calculate" => {
            r#"{"data":{"sender_currency":"EUR","sender_amount":25,"receiver_currency":"BTC","receiver_amount":"0.00123001","fee_currency":"CPD","fee_amount":"0.17266485","price":"0.00004920","ts_fixed":1665008630,"ts_release":1665008690,"fix_period":60}}"#
        }
        "/exchange/now" | "/exchange/fixed" => {
            r#"{"data":{"sender_currency":"BTC","sender_amount":"0.00300000","receiver_currency":"EUR","receiver_amount":"231.94279333","fee_currency":"BTC","fee_amount":"0.00015000","price":"77314.26444333","id":134704200,"foreign_id":"test_foreign_id_0319","type":"exchange","status":"processing"}}"#
        }
        "/invoices/create" => {
            r#"{"data":{"id":826900,"url":"https:\/\/invoices.alphapo.net\/invoice\/Jyf1cQ","foreign_id":164,"end_user_reference":12345,"address":null,"title":"Invoice Title","status":"created","currency":"EUR","amount":"0.106.75000000","sender_currency":null}}"#
        }
        "/transactions/info" => r#"{"id":1,"foreign_id":"w-1","type":"withdrawal","status":"confirmed"}"#,
        _ => "[]",
    }
}

#[tokio::test]
async fn every_endpoint_is_asked_as_documented_and_its_published_answer_read() {
    let upstream =
        Upstream::start(move |seen| Reply::Json(200, published(seen.path.trim_start_matches("/api/v2")).into())).await;
    let (client, by) = (client(&upstream.url), credentials());
    client.ping().await.expect("pinged");
    let currencies = client.currencies(&by).await.expect("currencies");
    assert_eq!((currencies[0].minimum_amount, currencies[0].precision.as_deref()), (Some(amount("0.0002")), Some("8")));
    let pairs = client.pairs(&by, Some("BTC"), None).await.expect("pairs");
    assert_eq!((pairs[0].rate_to.as_str(), pairs[0].to.currency.as_str()), ("8795.80000000", "EUR"));
    assert_eq!(client.rates(&by, "BTC", "EUR").await.expect("rates"), pairs);
    let accounts = client.accounts(&by).await.expect("accounts");
    assert_eq!(
        accounts.iter().map(|account| account.balance).collect::<Vec<_>>(),
        [amount("5973.9756892"), amount("0.04")]
    );
    let wanted = NewAddress {
        currency: "BTCLN".into(),
        foreign_id: "test_foreign_id".into(),
        amount: Some(amount("0.0001")),
        ..NewAddress::default()
    };
    let address = client.take_address(&by, &wanted).await.expect("an address");
    assert_eq!((address.tag.as_deref(), address.id.as_deref()), (Some("17"), Some("240407213")));
    let trade =
        Trade { sender_currency: "EUR".into(), receiver_currency: "BTC".into(), want: Want::Sent(amount("25")) };
    let quote = client.calculate(&by, &trade).await.expect("a quote");
    assert_eq!((quote.sender_amount, quote.price.as_str()), (amount("25"), "0.00004920"));
    let mut wanted = NewExchange { trade, foreign_id: "x-1".into(), price: None };
    assert_eq!(client.exchange(&by, &wanted).await.expect("exchanged").id, "134704200");
    wanted.price = Some(quote.price);
    client.exchange(&by, &wanted).await.expect("exchanged at a price");
    let wanted = NewInvoice { title: "Shoes".into(), foreign_id: "i-1".into(), ..NewInvoice::default() };
    let invoice = client.create_invoice(&by, &wanted).await.expect("an invoice");
    assert_eq!((invoice.foreign_id.as_deref(), invoice.end_user_reference.as_deref()), (Some("164"), Some("12345")));
    assert_eq!(invoice.amount, None, "a misprint is no amount");
    client.cancel_invoice(&by, "a/b").await.expect("cancelled");
    client.withdraw_instantly(&by, Instant::Exchanged, b"{}".to_vec()).await.expect("an answer");
    let found = client.transaction(&by, &Subject::ForeignId("w-1".into())).await.expect("an answer");
    assert!(found.expect("it is known").starts_with(br#"{"id":1,"#));

    let lines: Vec<_> = upstream
        .seen()
        .iter()
        .map(|seen| {
            let signature = seen.header("x-processing-signature");
            assert!(seen.path.ends_with("/ping") || signature == Some(sign(&SECRET.into(), &seen.body).as_str()));
            format!("{} {} {}", seen.method, seen.path, String::from_utf8_lossy(&seen.body)).trim_end().to_owned()
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    GET /api/v2/ping
    POST /api/v2/currencies/list {}
    POST /api/v2/currencies/pairs {"currency_from":"BTC"}
    POST /api/v2/currencies/rates {"currency_from":"BTC","currency_to":"EUR"}
    POST /api/v2/accounts/list {}
    POST /api/v2/addresses/take {"currency":"BTCLN","foreign_id":"test_foreign_id","amount":0.0001}
    POST /api/v2/exchange/calculate {"sender_currency":"EUR","receiver_currency":"BTC","sender_amount":"25"}
    POST /api/v2/exchange/now {"sender_currency":"EUR","receiver_currency":"BTC","sender_amount":"25","foreign_id":"x-1"}
    POST /api/v2/exchange/fixed {"sender_currency":"EUR","receiver_currency":"BTC","sender_amount":"25","foreign_id":"x-1","price":"0.00004920"}
    POST /api/v2/invoices/create {"timer":false,"title":"Shoes","currency":"","amount":"0","foreign_id":"i-1","end_user_reference":"","url_success":"","url_failed":"","email_user":""}
    POST /api/v2/invoices/a%2Fb/cancel/ {}
    POST /api/v2/crypto/withdrawal_instant_exchange {}
    GET /api/v2/transactions/info {"foreign_id":"w-1"}
    "#);
}

#[tokio::test]
async fn the_three_envelopes_are_refusals_and_say_whether_asking_again_helps() {
    let rows = [
        (403, r#"{"error":"Bad key header","code":"bad_header_key"}"#, "bad_header_key; Bad key header (403)"),
        (
            400,
            r#"{"errors":{"amount":"The amount must be at least 0.001.","currency":"The selected currency is invalid."}}"#,
            "amount: The amount must be at least 0.001.; currency: The selected currency is invalid. (400)",
        ),
        (400, r#"{"errors":{"amount":["Too low.","Too odd."]}}"#, "amount: Too low. Too odd. (400)"),
        (
            400,
            r#"{"errors":{"error":"Invoice cannot be failed in its current state.","code":"invalid_invoice_state"}}"#,
            "invalid_invoice_state; Invoice cannot be failed in its current state. (400)",
        ),
        (
            422,
            r#"{"errors":{"amount":"Not enough amount"},"error_code":"not_enough_balance"}"#,
            "not_enough_balance; amount: Not enough amount (422)",
        ),
    ];
    for (status, body, text) in rows {
        let trouble = trouble(Reply::Json(status, body.into())).await;
        assert_eq!(trouble.to_string(), format!("the processor refuses: {text}"));
        assert_eq!(trouble.again(), Again::Useless, "{text}");
    }
}

#[tokio::test]
async fn a_foreign_id_that_is_taken_may_be_taken_by_this_very_request() {
    let body = r#"{"errors":{"foreign_id":"The foreign id has already been taken."}}"#;
    let trouble = trouble(Reply::Json(400, body.into())).await;
    assert!(matches!(&trouble, Trouble::Refused(_)), "{trouble}");
    assert_eq!(trouble.again(), Again::Unsafe);
}

#[tokio::test]
async fn what_is_no_answer_of_the_api_leaves_the_outcome_unknown() {
    let html = "text/html";
    let rows = [
        Reply::Other(500, "text/plain", "Internal server error".into()),
        Reply::Other(502, html, "<html>cloudflare the-key</html>".into()),
        Reply::Json(503, r#"{"errors":{"amount":"too low"}}"#.into()),
        Reply::Other(403, html, "<html>blocked</html>".into()),
        Reply::Json(409, r#"{"errors":{"amount":"in progress"}}"#.into()),
        Reply::Json(400, r#"{"message":"what?"}"#.into()),
        Reply::Json(400, String::new()),
        Reply::Other(302, html, String::new()),
        Reply::Json(201, r#"{"data":{"id":1,"id":2}}"#.into()),
        Reply::Json(201, r#"{"data":[]}"#.into()),
        Reply::Json(200, String::new()),
        Reply::Json(202, r#"{"data":{"id":1}}"#.into()),
        Reply::Hang,
        Reply::Break,
        Reply::Half,
    ];
    for reply in rows {
        let trouble = trouble(reply.clone()).await;
        assert!(matches!(trouble, Trouble::Unknown { .. }), "{reply:?}: {trouble}");
        assert_eq!(trouble.again(), Again::Unsafe);
        assert!(!format!("{trouble} {trouble:?}").contains("the-key"), "{trouble}");
    }
    let limited = trouble(Reply::Other(429, html, "error code: 1015".into())).await;
    assert_eq!((&limited, limited.again()), (&Trouble::Limited, Again::Safe));
}

#[tokio::test]
async fn without_a_connection_nothing_was_sent() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address");
    let client = client(&format!("http://{closed}"));
    let trouble = client.withdraw(&credentials(), withdrawal().body()).await.expect_err("nobody listens");
    assert!(matches!(&trouble, Trouble::NotSent { timed_out: false, .. }), "{trouble:?}");
    assert_eq!(trouble.again(), Again::Safe);
    assert!(!trouble.to_string().contains("127.0.0.1"), "{trouble}");
    let trouble = client.cancel_invoice(&credentials(), "..").await.expect_err("another path");
    assert!(matches!(trouble, Trouble::NotSent { .. }));
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_sent_nothing() {
    let upstream = Upstream::always(Reply::Json(200, "{}".into())).await;
    let client = client(&upstream.url.replace("http:", "https:"));
    let trouble = client.withdraw(&credentials(), withdrawal().body()).await.expect_err("no TLS there");
    assert!(matches!(trouble, Trouble::NotSent { .. }), "{trouble:?}");
}

#[tokio::test]
async fn an_answer_beyond_the_cap_counts_as_none() {
    let long = format!(r#"{{"data":{{"id":1,"pad":"{}"}}}}"#, "x".repeat(5 * 1024 * 1024));
    let trouble = trouble(Reply::Json(201, long)).await;
    assert!(matches!(&trouble, Trouble::Unknown { .. }) && trouble.to_string().contains("4 MiB"), "{trouble}");
}

#[tokio::test]
async fn a_transaction_that_nobody_knows_is_told_from_a_processor_in_trouble() {
    let info = async |reply: Reply| {
        let upstream = Upstream::always(reply).await;
        client(&upstream.url).transaction(&credentials(), &Subject::ForeignId("w-1".into())).await
    };
    let absent = [
        Reply::Json(404, r#"{"error":"Not found","code":"not_found"}"#.into()),
        Reply::Json(400, r#"{"errors":{"foreign_id":"The selected foreign id is invalid."}}"#.into()),
        Reply::Json(400, r#"{"error":"Transaction not found","code":"transaction_not_found"}"#.into()),
        Reply::Json(422, r#"{"errors":{"error":"There is no such transaction.","code":"no_transaction"}}"#.into()),
        Reply::Json(400, r#"{"errors":{"transaction":"Not found."}}"#.into()),
        Reply::Json(200, "[]".into()),
        Reply::Json(200, r#"{"data":null}"#.into()),
    ];
    for reply in absent {
        assert_eq!(info(reply.clone()).await, Ok(None), "{reply:?}");
    }
    let unsure = [
        Reply::Other(404, "text/html", "<html>no such page</html>".into()),
        Reply::Json(403, r#"{"error":"No key header","code":"required_header_key"}"#.into()),
        Reply::Json(401, r#"{"error":"Not found","code":"not_found"}"#.into()),
        Reply::Json(400, r#"{"error":"Bad signature header","code":"bad_header_signature"}"#.into()),
        Reply::Json(400, r#"{"error":"Bad content format","code":"bad_content_format"}"#.into()),
        Reply::Json(404, r#"{"message":"Not found"}"#.into()),
        Reply::Other(422, "text/html", "<html>not found</html>".into()),
        Reply::Json(429, r#"{"error":"Not found","code":"not_found"}"#.into()),
        Reply::Json(200, r#"{"data":{"id":1}}"#.into()),
        Reply::Other(500, "text/plain", "Internal server error".into()),
    ];
    for reply in unsure {
        assert!(info(reply.clone()).await.is_err(), "{reply:?}");
    }
}

#[tokio::test]
async fn the_proxy_of_the_settings_is_used_and_its_password_told_nowhere() {
    let proxy = Upstream::always(Reply::Other(200, "text/html", "OK".into())).await;
    drop(rustls::crypto::ring::default_provider().install_default());
    let address = proxy.url.trim_start_matches("http://").trim_end_matches("/api/v2");
    let through = format!("http://someone:pass-of-tests@{address}");
    let settings = Alphapo { proxy: through.into(), ..settings("http://processor.invalid/api/v2") };
    let client = Client::try_new(&settings).expect("a client");
    client.ping().await.expect("the proxy answers for it");
    assert_eq!(proxy.seen()[0].path, "http://processor.invalid/api/v2/ping");
    assert!(proxy.seen()[0].header("proxy-authorization").is_some());
    assert!(!format!("{client:?} {settings:?}").contains("pass-of-tests"));
}

#[test]
fn credentials_tell_nothing() {
    let told = format!("{:?}", credentials());
    assert!(!told.contains(SECRET) && !told.contains("the-key"), "{told}");
}

#[tokio::test]
async fn raw_bytes_and_headers_go_out_as_given() {
    let upstream = Upstream::always(Reply::Other(418, "text/plain", "anything".into())).await;
    let headers = vec![("X-Processing-Key", b"k".to_vec()), ("X-Processing-Signature", b"s".to_vec())];
    let body = b"{ \"spaces\" : [ ] }\n".to_vec();
    let exact = Exact { method: Method::POST, path: "/some/path?a=%20b", headers, body: body.clone() };
    let answer = client(&upstream.url).send(exact).await.expect("an answer");
    assert_eq!((answer.status, answer.body.as_slice()), (418, b"anything".as_slice()));
    let seen = &upstream.seen()[0];
    assert_eq!((seen.path.as_str(), &seen.body), ("/api/v2/some/path?a=%20b", &body));
    assert_eq!((seen.header("x-processing-key"), seen.header("content-type")), (Some("k"), None));
}
