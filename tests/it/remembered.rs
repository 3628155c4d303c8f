//! Under load the booker does not look before it writes: it goes by what it remembers, and the statement that writes
//! checks that. Whatever is not remembered, and whatever others have booked, must come to the same as if it had looked.

use futures_util::future::join_all;
use reqwest::StatusCode;
use sea_orm::{ConnectionTrait as _, TransactionTrait as _};
use tallyhook::app::App;
use tallyhook::booker::Receipt;
use tallyhook::cli::serve::{Part, Running};
use tallyhook::domain::reason::Reason;
use tallyhook::store::Db;
use tallyhook::store::booking::State;

use crate::support::deposits::Deposit;
use crate::support::together::{Waiting, book_together, until_waited_for};
use crate::support::{Backend, TestApp, launch_as};

/// As many customers' accounts as deposits touch in turn: twenty customers, three currencies.
const ACCOUNTS: u64 = 60;
/// After something was not as remembered, this many batches look first.
const DOUBTFUL: u64 = 16;

/// A second process without memories, which has heard of every customer and account since.
struct Forgetful {
    first: TestApp,
    second: Running,
    numbers: std::ops::RangeFrom<u64>,
}

impl Forgetful {
    /// `known` are stored by the first process.
    async fn start(known: &[String]) -> Self {
        let first = TestApp::as_part(Backend::Postgres, &[], Part::Receive).await;
        for body in known {
            assert_eq!(first.receive(body).await, StatusCode::OK);
        }
        let second = launch_as(&first.url, &[("TALLYHOOK_LIMITS__BATCH", "20")], Part::Receive).await;
        let mut this = Self { first, second, numbers: 1_000.. };
        // The first batch locks the head, the next ones look; none of these is large enough to be booked without.
        this.book_singly(ACCOUNTS).await;
        this
    }

    fn app(&self) -> &App {
        &self.second.app
    }

    async fn book_singly(&mut self, count: u64) {
        for _ in 0..count {
            let body = self.new_one();
            let receipts = book_together(self.app(), &self.first.url, std::iter::once(body)).await;
            assert_eq!(verdicts(&receipts), [(State::Booked, None, false)]);
        }
    }

    fn new_one(&mut self) -> String {
        Deposit { number: self.numbers.next().expect("there are enough") }.confirmed()
    }

    /// Books `odd` in one batch with a dozen new ones, which are all booked whatever becomes of it.
    async fn book_among_others(&mut self, odd: &[String]) -> Vec<(State, Option<Reason>, bool)> {
        let mut bodies = vec![self.new_one()];
        bodies.extend(odd.iter().cloned());
        for _ in 0..12 {
            bodies.push(self.new_one());
        }
        let receipts = book_together(self.app(), &self.first.url, bodies.into_iter()).await;
        let (mut others, odd) = (verdicts(&receipts), 1..1_usize.wrapping_add(odd.len()));
        let odd = others.drain(odd).collect();
        assert_eq!(others, [(State::Booked, None, false); 13]);
        odd
    }

    /// Batches that were booked without looking, and those that looked after all.
    fn counts(&self) -> (u64, u64) {
        (self.app().metrics.recalled.get(), self.app().metrics.misremembered.get())
    }

    async fn finish(self) {
        assert_eq!(self.app().metrics.fallbacks.get(), 0, "no batch was refused");
        self.second.app.stop.cancel();
        assert_eq!(self.second.until_stopped().await.expect("it stops in order"), 0);
        self.first.finish().await;
    }
}

fn verdicts(receipts: &[Receipt]) -> Vec<(State, Option<Reason>, bool)> {
    receipts.iter().map(|receipt| (receipt.state, receipt.reason, receipt.is_duplicate)).collect()
}

/// Each was stored by another process, so nothing of it is remembered here.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_remembered_is_found_by_the_write() {
    let [repeated, finished, contradicted, copied, announced] = [1, 2, 3, 4, 5].map(|number| Deposit { number });
    let mut known: Vec<_> = [repeated, finished, contradicted, copied].iter().map(|one| one.confirmed()).collect();
    known.push(announced.announced());
    let mut test = Forgetful::start(&known).await;
    let id = format!(r#""id":{},"#, copied.id());
    let odd = [
        (repeated.confirmed(), (State::Booked, None, true)),
        (format!("{}\n", finished.confirmed()), (State::Ignored, Some(Reason::Repeat), false)),
        (
            contradicted.confirmed().replace(r#""status":"confirmed""#, r#""status":"cancelled""#),
            (State::Held, Some(Reason::ContradictsFinal), false),
        ),
        (
            copied.confirmed().replacen(&id, r#""id":6999999,"#, 1),
            (State::Held, Some(Reason::PossibleDuplicate), false),
        ),
        (announced.confirmed(), (State::Booked, None, false)),
    ];
    for (times, (body, verdict)) in (1..).zip(odd) {
        let before = test.counts();
        assert_eq!(test.book_among_others(&[]).await, []);
        assert_eq!(test.counts(), (before.0.wrapping_add(1), before.1), "a batch without surprises is not looked up");
        assert_eq!(test.book_among_others(std::slice::from_ref(&body)).await, [verdict], "{body}");
        assert_eq!(test.counts().1, times, "{body}");
        // Stored now by this process too, so remembered.
        test.book_singly(DOUBTFUL).await;
        let is_repeat = (if verdict.2 { verdict.0 } else { State::Booked }, None, true);
        assert_eq!(test.book_among_others(&[body]).await, [is_repeat]);
    }
    assert_eq!(test.counts().1, 5);
    test.finish().await;
}

/// What this process has booked itself it knows without looking.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_goes_on_from_what_is_remembered() {
    let mut test = Forgetful::start(&[]).await;
    let payments: Vec<_> = (1..=10).map(|number| Deposit { number }).collect();
    let announced: Vec<_> = payments.iter().map(|payment| payment.announced()).collect();
    let confirmed: Vec<_> = payments.iter().map(|payment| payment.confirmed()).collect();
    let booked = vec![(State::Booked, None, false); 10];
    assert_eq!(test.book_among_others(&announced).await, booked);
    // A hold in between takes rows of another kind, and no memories.
    let troubled = Deposit { number: 11 }.confirmed().replace(r#""error":"""#, r#""error":"late""#);
    let held = book_together(test.app(), &test.first.url, std::iter::once(troubled)).await;
    assert_eq!(verdicts(&held), [(State::Held, Some(Reason::ConfirmedWithError), false)]);
    assert_eq!(test.book_among_others(&confirmed).await, booked);
    assert_eq!(test.book_among_others(&confirmed).await, [(State::Booked, None, true); 10]);
    assert_eq!(test.counts(), (3, 0));
    // A payment that is over looks like nothing that a batch proves by being written.
    let late: Vec<_> = announced.iter().map(|body| format!("{body}\n")).collect();
    assert_eq!(test.book_among_others(&late).await, [(State::Ignored, Some(Reason::Stale), false); 10]);
    assert_eq!(test.counts(), (3, 0));
    test.finish().await;
}

/// While a batch is written the next one is planned on what it comes to. Twenty go into one here, so the forty that
/// follow on a repeat of long ago are planned on what then does not happen.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_planned_on_a_batch_that_failed_is_planned_again() {
    let repeated = Deposit { number: 1 };
    let mut test = Forgetful::start(&[repeated.confirmed()]).await;
    for odd in [None, Some(repeated.confirmed())] {
        let before = test.counts();
        let payments: Vec<_> = test.numbers.by_ref().take(30).map(|number| Deposit { number }).collect();
        let bodies = std::iter::once(payments[0].announced())
            .chain(odd.clone())
            .chain(payments[1..].iter().map(|payment| payment.announced()))
            .chain(payments.iter().map(|payment| payment.confirmed()));
        let receipts = book_together(test.app(), &test.first.url, bodies).await;
        let repeats = receipts.iter().filter(|receipt| receipt.is_duplicate).count();
        assert_eq!(repeats, usize::from(odd.is_some()));
        assert!(
            receipts.iter().all(|receipt| (receipt.state, receipt.reason) == (State::Booked, None)),
            "{receipts:?}"
        );
        let (recalled, misremembered) = test.counts();
        match odd {
            None => assert_eq!((recalled, misremembered), (before.0.wrapping_add(3), 0)),
            Some(_) => assert_eq!((recalled, misremembered), (before.0, 1), "the others are looked up after that"),
        }
    }
    let events = test.first.events().await;
    assert!(events.is_sorted_by_key(|event| event["time"].as_str()), "time never runs backwards");
    let credits = events.iter().filter(|event| event["type"] == "deposit.credited").count();
    assert_eq!(credits, 1 + 60 + 60, "the stored one, those that made the accounts known, and each of these once");
    test.finish().await;
}

/// Answers go out once the next batch is on its way, however long that then takes.
#[tokio::test(flavor = "multi_thread")]
async fn those_who_are_booked_are_answered_while_the_next_batch_waits() {
    let mut test = Forgetful::start(&[]).await;
    let db = Db::lazy(&test.first.url, 1).await.expect("a database");
    let accounts = db.orm.begin().await.expect("a transaction");
    accounts.execute_unprepared("SELECT FROM accounts FOR UPDATE").await.expect("every account");
    // The first moves no money, so it needs none of them.
    let alone = Deposit { number: test.numbers.next().expect("there are enough") }.announced();
    let together: Vec<_> = (0..12).map(|_| test.new_one()).collect();
    let bodies = std::iter::once(alone).chain(together);
    let Waiting { lock, mut receipts } = Waiting::begin(test.app(), &test.first.url, bodies).await;
    lock.rollback().await.expect("the head is given back");
    until_waited_for(&accounts).await;
    receipts[0].as_mut().await;
    for receipt in &mut receipts[1..] {
        assert!(futures_util::poll!(receipt).is_pending(), "answered before it is on disk");
    }
    accounts.rollback().await.expect("the accounts are given back");
    join_all(&mut receipts).await;
    let booked: Vec<_> = receipts.drain(..).filter_map(|mut receipt| receipt.as_mut().take_output()).collect();
    drop(receipts);
    assert_eq!(verdicts(&booked), [(State::Booked, None, false); 13]);
    assert_eq!(test.counts(), (1, 0), "the twelve were booked without looking");
    test.finish().await;
}

/// What is remembered holds only while nobody else books.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_replica_books_is_not_overlooked() {
    let mut test = Forgetful::start(&[]).await;
    let [one, other] = [1, 2].map(|number| Deposit { number });
    assert_eq!(test.book_among_others(&[one.announced()]).await, [(State::Booked, None, false)]);
    assert_eq!(test.counts(), (1, 0));
    assert_eq!(test.first.receive(&one.confirmed()).await, StatusCode::OK);
    assert_eq!(test.first.receive(&other.confirmed()).await, StatusCode::OK);
    // The first of them is alone, and looks; it finds the head moved, and all that was remembered is forgotten.
    assert_eq!(
        test.book_among_others(&[one.confirmed(), other.confirmed()]).await,
        [(State::Booked, None, true), (State::Booked, None, true)]
    );
    test.finish().await;
}

/// A callback that is held writes no payment, so nothing would refuse it although its payment is there.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_row_would_refuse_is_looked_up() {
    let finished = Deposit { number: 1 };
    let mut test = Forgetful::start(&[finished.confirmed()]).await;
    let troubled = finished.confirmed().replace(r#""error":"""#, r#""error":"late""#);
    assert_eq!(test.book_among_others(&[troubled]).await, [(State::Ignored, Some(Reason::Repeat), false)]);
    let troubled = Deposit { number: 2 }.confirmed().replace(r#""error":"""#, r#""error":"late""#);
    assert_eq!(
        test.book_among_others(&[troubled]).await,
        [(State::Held, Some(Reason::ConfirmedWithError), false)],
        "held when its payment is new"
    );
    assert_eq!(test.counts(), (0, 0));
    test.finish().await;
}
