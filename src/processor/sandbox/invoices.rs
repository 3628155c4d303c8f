//! Invoices: a sum in some currency that a payer settles in another one, within a quarter of an hour, at once or in
//! instalments.

use super::api::{Answer, Answered, Call, Fields};
use super::currencies::{self, coins, find, printed, sats};
use super::faults::RANDOM;
use super::operation::{Fee, Invoice, Kind, Operation, Place, Status, sum};
use super::php::{Value, object};
use super::world::{MINUTE_US, SECOND_US, Task, World};
use crate::domain::amount::Amount;

const TIMER_S: i64 = 900;
/// What the deadline becomes once a payment is in the mempool.
const MEMPOOL_S: i64 = 86_458;
const EXTENDED: [&str; 2] = ["BTC", "BCH"];
const WHOLE_PPM: u32 = 1_000_000;
const LEAST_EURO: i128 = 10;

impl World {
    /// `POST /invoices/create`
    pub(super) fn create_invoice(&mut self, now: i64, call: &Call<'_>) -> Answered {
        let mut fields = Fields::of(call.form);
        let (foreign_id, user) = (fields.required("foreign_id"), fields.required("end_user_reference"));
        let title = fields.required("title").to_owned();
        let currency = find(fields.required("currency"));
        fields.required("amount");
        let amount = fields.amount("amount", "amount");
        if currency.is_none() {
            fields.fault("currency", "The selected currency is invalid.");
        }
        let sender = fields.optional("sender_currency");
        let payable = sender.and_then(find).filter(|currency| !currency.is_fiat());
        if sender.is_some() && payable.is_none() {
            fields.fault("sender_currency", "The selected sender currency is invalid.");
        }
        if !foreign_id.is_empty() && self.by_foreign_id(call.merchant, foreign_id, is_invoice).is_some() {
            fields.fault("foreign_id", "The foreign id has already been taken.");
        }
        let least = coins(LEAST_EURO.saturating_mul(100_000_000));
        if let (Some(currency), Some(amount)) = (currency, amount)
            && World::in_euro(currency, amount) < least
        {
            fields.fault("amount", "The amount is too small. The minimum amount is 10.00 EUR.");
        }
        let is_timed = fields.is_set("timer");
        let takes_instalments = fields.optional("type") == Some("good_until_expired");
        fields.check()?;
        let (currency, amount) = currency.zip(amount).expect("without one of them there is a fault");
        self.ids.invoice = self.ids.invoice.saturating_add(1);
        let id = self.ids.invoice;
        let code: String = const_hex::encode(self.dice.named(&format!("invoice {id}"))).chars().take(6).collect();
        let mut operation = Operation::new(id, call.merchant, Kind::Invoice, now);
        (operation.foreign_id, operation.user) = (Some(foreign_id.to_owned()), Some(user.to_owned()));
        operation.received = sum(currency.code, amount);
        operation.invoice = Some(Invoice {
            title,
            code,
            takes_instalments,
            sender_currency: payable.map(|currency| currency.code.to_owned()),
            paid: Amount::ZERO,
            fixed_at_s: None,
            expires_at_s: None,
        });
        operation.scenario = self.plan.invoice.take();
        if operation.scenario == RANDOM {
            operation.scenario = self.any("invoice");
        }
        let scenario = operation.scenario;
        self.operations.insert(id, operation);
        if is_timed {
            self.start_timer(now, id);
        }
        if let Some(payable) = payable.filter(|_| is_timed) {
            self.fix_rate(id, payable.code);
        }
        self.plan_payer(now, id, scenario);
        Ok(Answer::data(201, self.invoice_shown(now, id)))
    }

    /// `POST /invoices/{foreign_id}/cancel/`
    pub(super) fn cancel_invoice(&mut self, now: i64, call: &Call<'_>) -> Answered {
        let id = self.by_foreign_id(call.merchant, call.name, is_invoice);
        let open = id.and_then(|id| self.operations.get(&id)).filter(|operation| !operation.status.is_final());
        let Some(id) = open.map(|operation| operation.id) else {
            let text = Value::text("Invoice cannot be failed in its current state.");
            let errors = object([("error", text), ("code", Value::text("invalid_invoice_state"))]);
            return Err(Answer::json(400, &object([("errors", errors)])));
        };
        self.become_told(now, id, Status::Failed, "Cancelled by the merchant.");
        Ok(Answer::json(200, &Value::List(Vec::new())))
    }

    fn start_timer(&mut self, now: i64, id: i64) {
        let fixed = now.div_euclid(SECOND_US);
        let Some(operation) = self.operations.get_mut(&id) else { return };
        operation.status = Status::Pending;
        if let Some(invoice) = &mut operation.invoice {
            invoice.fixed_at_s = Some(fixed);
            invoice.expires_at_s = Some(fixed.saturating_add(TIMER_S));
        }
        self.plan_at(fixed.saturating_add(TIMER_S).saturating_mul(SECOND_US), Task::Expire { operation: id });
    }

    /// The payer's currency is known: an address to pay to, and how much.
    fn fix_rate(&mut self, id: i64, code: &str) {
        let Some(operation) = self.operations.get(&id) else { return };
        let asked = operation.received.clone();
        let (Some(currency), Some(target)) = (find(code), find(&asked.currency)) else { return };
        let references = [operation.foreign_id.clone().unwrap_or_default(), operation.user.clone().unwrap_or_default()];
        let merchant = operation.merchant;
        let due = if target.code == currency.code { Some(asked.amount) } else { currency.needed(asked.amount, target) };
        let address = self.new_address(merchant, currency, None, references.each_ref().map(String::as_str));
        // Not an address for deposits: whoever pays there pays the invoice.
        self.addresses.remove(&address.id);
        let Some(operation) = self.operations.get_mut(&id) else { return };
        operation.sent = sum(currency.code, due.unwrap_or_default());
        operation.place = Some(Place {
            id: address.id,
            currency: currency.code.to_owned(),
            convert_to: (target.code != currency.code).then(|| target.code.to_owned()),
            address: address.address,
            tag: address.tag,
            ..Place::default()
        });
        if let Some(invoice) = &mut operation.invoice {
            invoice.sender_currency = Some(currency.code.to_owned());
        }
    }

    /// What the payer will do, by the scenario.
    fn plan_payer(&mut self, now: i64, id: i64, scenario: &str) {
        let payments: &[(i64, u32)] = match scenario {
            "paid" | "stuck" => &[(2, WHOLE_PPM)],
            "instalments" => &[(2, 400_000), (5, 350_000), (8, 250_000)],
            "underpaid" => &[(2, 600_000)],
            "overpaid" => &[(2, 1_250_000)],
            _ => &[],
        };
        for (minutes, ppm) in payments {
            let due = now.saturating_add(minutes.saturating_mul(MINUTE_US));
            self.plan_at(due, Task::Pay { operation: id, ppm: *ppm });
        }
        let is_timed = self.operations.get(&id).is_some_and(|operation| operation.status == Status::Pending);
        if scenario == "unpaid" && !is_timed {
            self.start_timer(now, id);
            self.fix_rate(id, "BTC");
        }
    }

    /// The payer sends a share of what was asked.
    pub(super) fn pay_share(&mut self, now: i64, id: i64, ppm: u32) {
        self.ready_to_be_paid(now, id, "BTC");
        let Some(operation) = self.operations.get(&id) else { return };
        let share = currencies::share(operation.sent.amount, ppm);
        // The last instalment takes what cutting off left over.
        let is_last = operation.remaining().checked_sub(share).is_some_and(|rest| sats(rest) <= 2);
        let amount = if is_last { operation.remaining() } else { share };
        drop(self.pay(now, id, amount, None));
    }

    /// A payer sends an amount for an invoice. `Err` says why it can't be.
    pub fn pay(&mut self, now: i64, id: i64, amount: Amount, currency: Option<&str>) -> Result<(), String> {
        self.ready_to_be_paid(now, id, currency.unwrap_or("BTC"));
        let operation = self.operations.get(&id).ok_or_else(|| format!("there is no invoice {id}"))?;
        if !matches!(operation.status, Status::Pending) {
            return Err(format!("invoice {id} is {}: it can't be paid any more", operation.status.word()));
        }
        let money = sum(&operation.sent.currency, amount);
        if currency.is_some_and(|code| code != money.currency) {
            return Err(format!("invoice {id} is to be paid in {}", money.currency));
        }
        let known = find(&money.currency).ok_or_else(|| "this invoice has no currency to be paid in".to_owned())?;
        if !amount.is_positive() {
            return Err("the amount must be above zero".to_owned());
        }
        let part = self.chain_part(known, &money);
        let Some(operation) = self.operations.get_mut(&id) else { return Ok(()) };
        operation.parts.push(part);
        let is_stuck = operation.scenario == "stuck";
        let takes = operation.scenario == "instalments";
        let Some(invoice) = &mut operation.invoice else { return Ok(()) };
        invoice.paid = invoice.paid.checked_add(amount).unwrap_or(invoice.paid);
        let takes_instalments = takes || invoice.takes_instalments;
        if operation.remaining().is_zero() {
            self.paid_in_full(now, id, known.code, is_stuck);
        } else if takes_instalments {
            self.tell(now, id);
        }
        Ok(())
    }

    fn ready_to_be_paid(&mut self, now: i64, id: i64, code: &str) {
        if self.operations.get(&id).is_some_and(|operation| operation.status == Status::Created) {
            self.start_timer(now, id);
        }
        let chosen = self.operations.get(&id).and_then(|operation| operation.invoice.as_ref()?.sender_currency.clone());
        if self.operations.get(&id).is_some_and(|operation| operation.place.is_none()) {
            self.fix_rate(id, chosen.as_deref().unwrap_or(code));
        }
    }

    fn paid_in_full(&mut self, now: i64, id: i64, code: &str, is_stuck: bool) {
        let Some(operation) = self.operations.get_mut(&id) else { return };
        let received = operation.received.clone();
        let ppm = find(code).map_or(0, |currency| currency.deposit_fee_ppm);
        let kind = if received.currency == code { "fee_crypto_deposit" } else { "fee_crypto_deposit_to_fiat" };
        let fee = Fee { kind, money: sum(&received.currency, currencies::share(received.amount, ppm)) };
        operation.fees = vec![fee].into_iter().filter(|fee| fee.money.amount.is_positive()).collect();
        let invoice = operation.invoice.as_mut().filter(|_| EXTENDED.contains(&code));
        if let Some(deadline) = invoice.and_then(|invoice| {
            invoice.expires_at_s = invoice.fixed_at_s.map(|fixed| fixed.saturating_add(MEMPOOL_S));
            invoice.expires_at_s
        }) {
            self.plan_at(deadline.saturating_mul(SECOND_US), Task::Expire { operation: id });
        }
        self.become_told(now, id, Status::Processing, "");
        if !is_stuck {
            let due = now.saturating_add(5 * MINUTE_US);
            self.plan_at(due, Task::Become { operation: id, status: Status::Confirmed, error: "" });
        }
    }

    /// The timer runs out, unless it was prolonged meanwhile.
    pub(super) fn expire(&mut self, now: i64, id: i64) {
        let Some(operation) = self.operations.get(&id) else { return };
        let deadline = operation.invoice.as_ref().and_then(|invoice| invoice.expires_at_s);
        if deadline.is_none_or(|deadline| deadline.saturating_mul(SECOND_US) > now) {
            return;
        }
        let error = match (operation.status == Status::Processing, operation.parts.is_empty()) {
            (true, _) => "Timer expired. Transactions were in status processing too long.",
            (false, true) => "Timer expired. User not paid.",
            (false, false) => "Timer expired. User paid less than requested.",
        };
        if operation.place.is_none() {
            self.fix_rate(id, "BTC");
        }
        self.become_told(now, id, Status::Failed, error);
    }

    fn invoice_shown(&self, now: i64, id: i64) -> Value {
        let Some((operation, invoice)) =
            self.operations.get(&id).and_then(|operation| Some((operation, operation.invoice.as_ref()?)))
        else {
            return Value::Null;
        };
        let place = operation.place.as_ref();
        let left = invoice.expires_at_s.map(|expires| expires.saturating_sub(now.div_euclid(SECOND_US)));
        let number = |seconds: Option<i64>| seconds.map_or(Value::Null, Value::int);
        let sender = place.and(invoice.sender_currency.as_deref());
        object([
            ("id", Value::int(id)),
            ("url", Value::Text(format!("https://invoices.sandbox.test/invoice/{}", invoice.code))),
            ("foreign_id", Value::maybe(operation.foreign_id.as_deref())),
            ("end_user_reference", Value::maybe(operation.user.as_deref())),
            ("address", Value::maybe(place.map(|place| place.address.as_str()))),
            ("title", Value::text(&invoice.title)),
            ("status", Value::text(operation.status.word())),
            ("currency", Value::text(&operation.received.currency)),
            ("amount", Value::Text(printed(operation.received.amount))),
            ("sender_currency", Value::maybe(sender)),
            ("sender_amount", sender.map_or(Value::Null, |_| Value::Text(printed(operation.sent.amount)))),
            ("fixed_at", number(invoice.fixed_at_s)),
            ("release_at", number(invoice.expires_at_s)),
            ("seconds_left", number(left.map(|left| left.saturating_sub(1)))),
        ])
    }
}

fn is_invoice(kind: Kind) -> bool {
    kind == Kind::Invoice
}
