//! However many callbacks are booked together, each is booked once and the ledger is the same: statements have room for
//! some, and what is more goes into the next.

use futures_util::future::join_all;
use tallyhook::booker::Incoming;
use tallyhook::domain::ids::MerchantId;
use tallyhook::store::booking::State;

use crate::support::deposits::{Deposit, signature};
use crate::support::{Backend, TestApp};

stories!(a_batch_of_any_size_is_booked_whole_and_once);

/// Around each room that SQLite's statements have, and above what one batch takes.
const SIZES: [u64; 16] = [1, 2, 3, 4, 5, 8, 9, 17, 33, 64, 65, 127, 128, 129, 257, 600];

async fn a_batch_of_any_size_is_booked_whole_and_once(backend: Backend) {
    let app = TestApp::start(backend).await;
    let mut first = 0_u64;
    for size in SIZES {
        let payments: Vec<_> =
            (first..).take(usize::try_from(size).expect("small")).map(|number| Deposit { number }).collect();
        first = first.wrapping_add(size);
        // Every second one was announced before, in batches of its own.
        let announced = payments.iter().step_by(2).map(|payment| payment.announced()).collect();
        assert!(
            book(&app, announced)
                .await
                .into_iter()
                .all(|(state, is_duplicate)| state == State::Booked && !is_duplicate)
        );
        // Then all of them, the odd ones announced in the same breath, and every third one twice.
        let confirmed = payments.iter().enumerate().flat_map(|(index, payment)| {
            let announced = (index % 2 == 1).then(|| payment.announced());
            let again = (index % 3 == 0).then(|| payment.confirmed());
            announced.into_iter().chain([payment.confirmed()]).chain(again)
        });
        let booked = book(&app, confirmed.collect()).await;
        assert!(booked.iter().all(|(state, _)| *state == State::Booked));
        let repeats = booked.iter().filter(|(_, is_duplicate)| *is_duplicate).count();
        assert_eq!(repeats, payments.len().div_ceil(3), "of {size}");
    }
    let credited = app.events().await.iter().filter(|event| event["type"] == "deposit.credited").count();
    assert_eq!(u64::try_from(credited).expect("small"), first, "each payment is credited once");
    let deliveries = app.rows("/api/callbacks").await;
    assert_eq!(u64::try_from(deliveries.len()).expect("small"), first.wrapping_mul(2));
    let page = app.client.get(format!("{}/metrics", app.admin)).send().await.expect("the admin side answers");
    let metrics = page.text().await.expect("text");
    let batches = |name: &str| -> u64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)).expect("a metric");
        line.trim().parse().expect("a number")
    };
    let small = batches("tallyhook_booker_batch_size_bucket{le=\"128\"}");
    assert!(small < batches("tallyhook_booker_batch_size_count"), "no batch was larger than SQLite's statements");
    assert_eq!(batches("tallyhook_booker_fallbacks_total"), 0);
    app.finish().await;
}

/// Books bodies as nearly at once as may be: what became of each, and whether it was there already.
async fn book(app: &TestApp, bodies: Vec<String>) -> Vec<(State, bool)> {
    let booker = &app.running.as_ref().expect("it runs").app.booker;
    let receipts = bodies.into_iter().map(|body| {
        let signed = const_hex::decode_to_array(signature(body.as_bytes())).expect("64 bytes");
        let incoming = Incoming::new(MerchantId(1), signed, "{}".to_owned(), body.into_bytes(), 1_700_000_000_000_000);
        async move { booker.receive(incoming).await.expect("it is booked") }
    });
    join_all(receipts).await.into_iter().map(|receipt| (receipt.state, receipt.is_duplicate)).collect()
}
