//! However many callbacks are booked together, each is booked once and what is known of its payment is kept: SQLite's
//! statements have room for some, and what is more goes into the next.

use tallyhook::booker::Receipt;
use tallyhook::domain::reason::Reason;
use tallyhook::store::booking::State;

use crate::support::deposits::Deposit;
use crate::support::together::book_together;
use crate::support::{Backend, TestApp};

stories!(a_batch_of_any_size_is_booked_whole_and_once);

/// Around each room that SQLite's statements have, and above what one batch takes.
const SIZES: [usize; 19] = [1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 32, 33, 64, 65, 127, 128, 129, 257, 600];

async fn a_batch_of_any_size_is_booked_whole_and_once(backend: Backend) {
    let app = TestApp::start(backend).await;
    let mut payments = (0..).map(|number| Deposit { number });
    let (mut credited, mut stored) = (0_usize, 0_usize);
    for size in SIZES {
        let known: Vec<_> = payments.by_ref().take(size).collect();
        let told = book(&app, known.iter().map(|payment| payment.announced())).await;
        assert!(told.iter().all(|receipt| receipt.state == State::Booked && !receipt.is_duplicate), "of {size}");
        let told = book(&app, known.iter().map(|payment| payment.confirmed())).await;
        assert!(told.iter().all(|receipt| receipt.state == State::Booked && !receipt.is_duplicate), "of {size}");
        // In other bytes, so that only what is kept of the payment tells that it is over.
        let told = book(&app, known.iter().map(|payment| format!("{}\n", payment.confirmed()))).await;
        let repeated = (State::Ignored, Some(Reason::Repeat), false);
        assert!(
            told.iter().all(|receipt| (receipt.state, receipt.reason, receipt.is_duplicate) == repeated),
            "{told:?}"
        );
        // All sorts in one batch: known and new payments, and one of them twice in the same bytes.
        let new: Vec<_> = payments.by_ref().take(size).collect();
        let announced = new.iter().map(|payment| payment.announced());
        let confirmed = new.iter().map(|payment| payment.confirmed());
        let again = known.iter().map(|payment| payment.confirmed());
        let told = book(&app, announced.chain(confirmed).chain(again)).await;
        assert!(told.iter().all(|receipt| receipt.is_duplicate || receipt.state == State::Booked), "of {size}");
        assert_eq!(told.iter().filter(|receipt| receipt.is_duplicate).count(), size);
        (credited, stored) = (credited.wrapping_add(size.wrapping_mul(2)), stored.wrapping_add(size.wrapping_mul(5)));
    }
    let credits = app.events().await.iter().filter(|event| event["type"] == "deposit.credited").count();
    assert_eq!(credits, credited, "each payment is credited once");
    assert_eq!(app.rows("/api/callbacks").await.len(), stored);
    let page = app.client.get(format!("{}/metrics", app.admin)).send().await.expect("the admin side answers");
    let metrics = page.text().await.expect("text");
    let counted = |name: &str| -> usize {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)).expect("a metric");
        line.trim().parse().expect("a number")
    };
    if backend == Backend::Sqlite {
        // One for each of the four rounds, two where there are 600, and two where there are three times 257; four of 1800.
        assert_eq!(counted("tallyhook_booker_batches_total"), SIZES.len().wrapping_mul(4).wrapping_add(3 + 1 + 3));
    }
    assert_eq!(counted("tallyhook_booker_fallbacks_total"), 0);
    app.finish().await;
}

async fn book(app: &TestApp, bodies: impl Iterator<Item = String>) -> Vec<Receipt> {
    book_together(&app.running.as_ref().expect("it runs").app, &app.url, bodies).await
}
