//! The shapes of answers and bodies, a line each: `name:type` for every field, in a notation that `schema` reads.
//! `s` text, `i` whole number, `b` truth, `o` object, `a` list, `x` text or number, `[X]` list of X, `X` another shape, `?` or null, `!`
//! must be given (in a body), `~` may be absent (in an answer).

use serde_json::{Map, Value, json};

type Line = (&'static str, &'static str);

pub(super) const PROBLEMS: &[Line] = &[
    ("unauthorized", "No bearer token, or not one of ours."),
    ("forbidden", "The token's role may not do that."),
    ("csrf", "The form was not sent by a page of ours."),
    ("self_approval", "Whoever asked can't be the one who lets it pass."),
    ("not_found", "There is no such route, or no such thing."),
    ("method_not_allowed", "The route takes other methods; `Allow` names them."),
    ("invalid_request", "The query or the body can't be read; `detail` says what is allowed."),
    ("unfit", "Understood, but it makes no sense for what it is about."),
    ("not_open", "What it is about is resolved or settled already."),
    ("proposal_open", "Another proposal about the same thing is open."),
    ("already_running", "A run is under way; its outcome will be in the list."),
    ("already_decided", "The proposal is approved, done or refused already."),
    ("unknown_customer", "The ledger knows no such customer, or none belongs here."),
    ("customer_contradictory", "The references belong to two customers."),
    ("customer_missing", "No customer is named."),
    ("amount_out_of_range", "The amount can't be booked."),
    ("balance_limit", "A balance would reach 10^20."),
    ("insufficient_balance", "The account does not have as much."),
    ("foreign_id_taken", "There is a withdrawal of that name already."),
    ("declined", "The ledger declined it; `detail` says why. Nothing has moved."),
    ("database_refuses", "The database refuses one of these callbacks; decide them one at a time to see which."),
    (
        "merchant_not_configured",
        "The settings of this replica do not have the merchant; how it decides is not known here.",
    ),
    ("no_broker", "There is no broker to publish to; consumers read the HTTP feed."),
    ("idempotency_key_reused", "The idempotency key was used for another request. Nothing was done."),
    ("idempotency_in_progress", "The first request with this idempotency key is under way; ask again a little later."),
    (
        "idempotency_unknown",
        "The first request with this idempotency key came to no answer; look what came of it before another key.",
    ),
    ("too_large", "The body is too long."),
    ("busy", "Too much is waiting; try again after `Retry-After` seconds."),
    ("database_unavailable", "The database can't be reached; try again after `Retry-After` seconds."),
    ("internal", "Something went wrong here; the log has the cause."),
];

pub(super) const SHAPES: &[Line] = &[
    ("Problem", "type:s title:s status:i code:Code detail:s"),
    ("Refusal", "type:s title:s status:i code:s"),
    ("Event", "specversion:s id:s source:s type:s time:s sequence:s data:o"),
    (
        "Callback",
        "id:s merchant:s type:s? status:s? state:s reason:s? payment_id:s? foreign_id:s? end_user_reference:s? \
         customer:s? deliveries:i received_at:s",
    ),
    (
        "CallbackDetail",
        "id:s merchant:s type:s? status:s? state:s reason:s? payment_id:s? foreign_id:s? end_user_reference:s? \
         customer:s? deliveries:i received_at:s address:s? txids:[s] last_delivery_at:s body:s? body_encoding:s \
         digest:s signature:s decision:o transfers:a events:[Event] failure:o? discrepancies:a",
    ),
    ("Diff", "dry_run:b data:[Change] balances:[BalanceChange] pruned:[s] refused:[s] next:s?"),
    ("Change", "id:s merchant:s type:s? status:s? payment_id:s? before:o after:o changed:b postings:a"),
    ("BalanceChange", "merchant:s kind:s customer:s? currency:s change:s"),
    ("Balance", "merchant:s kind:s customer:s? currency:s balance:s"),
    ("Account", "id:s merchant:s kind:s customer:s? currency:s balance:s"),
    (
        "AccountPosting",
        "id:s at:s event:s debit:o credit:o currency:s amount:s change:s balance:s type:s? payment_id:s? callback_id:s",
    ),
    ("Customer", "id:s merchant:s name:s opened_at:s"),
    ("CustomerDetail", "id:s merchant:s name:s opened_at:s references:a references_cut:b accounts:[Account]"),
    (
        "StatementLine",
        "at:s event:s kind:s currency:s change:s balance:s type:s? payment_id:s? reason:s? account:s position:s \
         callback_id:s",
    ),
    (
        "Payment",
        "id:s merchant:s type:s payment_id:s status:s customer:s? customer_id:s? effect:s? currency:s? amount:s? \
         fee:s? at:s?",
    ),
    (
        "PaymentDetail",
        "id:s merchant:s type:s payment_id:s status:s customer:s? customer_id:s? effect:s? currency:s? amount:s? \
         fee:s? at:s? entries:a callbacks:[Callback]",
    ),
    (
        "Replay",
        "id:s state:s dry_run:b reason:s asked_by:s asked_at:s version:s ids:[s] filter:o position:s upto:s decided:i \
         changed:i differing:i failed:i pruned:i ended_at:s? stopped_by:s?",
    ),
    (
        "ReplayDetail",
        "id:s state:s dry_run:b reason:s asked_by:s asked_at:s version:s ids:[s] filter:o position:s upto:s decided:i \
         changed:i differing:i failed:i pruned:i ended_at:s? stopped_by:s? events:o balances:[BalanceChange] changes:a",
    ),
    (
        "Discrepancy",
        "id:s merchant:s reason:s callback_id:s payment_id:s? opened_at:s resolved_at:s? resolution:s? kind:s \
         currency:s? amount:s? owner:s?",
    ),
    (
        "DiscrepancyDetail",
        "id:s merchant:s reason:s callback_id:s payment_id:s? opened_at:s resolved_at:s? resolution:s? kind:s \
         currency:s? amount:s? owner:s? notes:[Note] proposals:[Proposal] callback:o? claims:o?",
    ),
    ("Note", "kind:s at:s who:s text:s"),
    (
        "Proposal",
        "id:s discrepancy_id:s? withdrawal_id:s? action:s params:o moves:o note:s state:s needs_second:b asked_by:s asked_at:s \
         decided_by:s? decided_at:s? ended_at:s? outcome:s?",
    ),
    ("Deed", "id:s at:s who:s role:s action:s subject:s before:s? after:s? request_id:s"),
    ("RedeliveryPlan", "dry_run:b from:s to:s events:i"),
    ("Redelivery", "dry_run:b id:s from:s to:s events:i position:s state:s reason:s asked_by:s asked_at:s ended_at:s?"),
    ("Outbox", "broker:b position:s head:s pending:i owner:s? leased_until:s? blocked:b"),
    ("Check", "name:s ok:b detail:s checked_at:s changed_at:s"),
    ("Outage", "from:s to:s seconds:i repeats_until:s repeating:b repeats:[Repeat] lost:[Span] told_at:s?"),
    ("Repeat", "attempt:i first:Span back:Span"),
    ("Span", "from:s to:s"),
    (
        "Outbound",
        "state:s stopped_by_switch:b stopped_by_setting:b changed_at:s? changed_by:s? note:s? withdrawals:Waiting",
    ),
    (
        "Withdrawal",
        "id:s merchant:s foreign_id:s state:s customer:s? customer_id:s? currency:s amount:s currency_to:s? \
         address:s tag:s? api:s payment:s? processor_id:s? error:s? attempts:i requested_at:s sent_at:s? next_attempt_at:s? \
         closed_at:s?",
    ),
    (
        "WithdrawalDetail",
        "id:s merchant:s foreign_id:s state:s customer:s? customer_id:s? currency:s amount:s currency_to:s? \
         address:s tag:s? api:s payment:s? processor_id:s? error:s? attempts:i requested_at:s sent_at:s? next_attempt_at:s? \
         closed_at:s? request:s answer:s? encoding:s",
    ),
    (
        "Address",
        "id:s merchant:s state:s network:s currency:s address:s? tag:s? user_identifier:s? foreign_id:s \
         error:s? free_at:s? retired_at:s?",
    ),
    (
        "GatewayWithdrawal",
        "withdrawal_id:i status:s currency:s? network:s? amount_decimal:s to_address:s tag:s~ \
         user_identifier:s? tx_hash:s? created_at:s",
    ),
    ("Retire", "dry_run:b merchant:s currency:s network:s created_before:s customer:s"),
    ("Begun", "state:s"),
    ("Reconciliation", "id:s merchant:s began_at:s ended_at:s asked_by:s error:s? lines:[ReconciledLine]"),
    ("ReconciledLine", "currency:s verdict:s ours:s theirs:s in_flight:s difference:s? since:s? discrepancy:s?"),
    (
        "Export",
        "id:s merchant:s file:s sha256:s asked_by:s began_at:s ended_at:s? from:s until:s rows:i payments:i matched:i \
         missing_here:i missing_there:i amounts:i fees:i statuses:i duplicates:i open:i",
    ),
    (
        "ExportDetail",
        "id:s merchant:s file:s sha256:s asked_by:s began_at:s ended_at:s? from:s until:s rows:i payments:i matched:i \
         missing_here:i missing_there:i amounts:i fees:i statuses:i duplicates:i open:i data:[ExportRow] next:s?",
    ),
    (
        "ExportRow",
        "ordinal:s line:i? result:s how:s? state:s type:s payment_id:s currency:s theirs:s? ours:s? their_fee:s? \
         our_fee:s? their_status:s? our_status:s? note:s? payment:s? callback:s? discrepancy:s?",
    ),
    ("Retired", "dry_run:b addresses:i gateway:i drop_in:i"),
    ("Waiting", "unknown:i missing:i"),
    ("Ended", "id:s state:s"),
    ("Readiness", "ready:b stopping:b database:s broker:s"),
    ("GatewayFailure", "success:b message:s"),
    ("DropInFailure", "error:s~ code:s~ errors:o~"),
    ("Pong", ""),
    (
        "DepositAddress",
        "request_id:i address:s tag:s~ network:s currency:s contract_address:s? user_identifier:s? display_expires_at:s \
         created_at:s",
    ),
    (
        "DepositRequest",
        "request_id:i address:s tag:s~ network:s currency:s user_identifier:s? status:s display_expires_at:s created_at:s \
         transactions:[Deposit]",
    ),
    ("Deposit", "tx_hash:s? amount_decimal:s? confirmations:i? status:s block_number:i? detected_at:s confirmed_at:s?"),
    ("Invoice", "invoice_id:i url:s? status:s currency:s? network:s? amount_decimal:s user_identifier:s created_at:s"),
    ("GatewayBalance", "currency:s? network:s? balance:s~ available:s~ held:s~"),
    (
        "GatewayTransaction",
        "id:i type:s status:s currency:s? network:s? amount_decimal:s? fee_decimal:s? tx_hash:s? address:s? user_identifier:s? \
         created_at:s",
    ),
    ("GatewayCurrency", "currency:s network:s contract_address:s? deposits_enabled:b"),
    ("Declined", "at:s merchant:s foreign_id:s customer:s? currency:s amount:s api:s reason:s?"),
    ("Rejection", "at:s reason:s cause:s? advice:s? peer:s? body_bytes:i"),
];

pub(super) const REQUESTS: &[Line] = &[
    ("ReplayOne", "dry_run:b?"),
    (
        "ReplaySome",
        "dry_run:b? merchant:s? state:s? type:s? status:s? foreign_id:s? q:s? since:s? until:s? after:s? limit:i?",
    ),
    (
        "NewReplay",
        "reason:s! dry_run:b? ids:[s] merchant:s? state:s? type:s? status:s? foreign_id:s? q:s? since:s? until:s?",
    ),
    ("Redeliver", "from:s! to:s? reason:s? dry_run:b?"),
    ("Resolution", "action:s! note:s! customer:o? payment:o? debit:s? credit:s? currency:s? amount:s?"),
    ("Comment", "text:s! kind:s?"),
    ("NewDepositAddress", "currency:s! network:s! user_identifier:s? idempotency_key:s?"),
    (
        "NewInvoice",
        "currency:s! network:s? amount:x! user_identifier:s! title:s! description:s? email:s! success_url:s! fail_url:s! \
         timer:b? idempotency_key:s?",
    ),
    ("NewWithdrawal", "currency:s! network:s! amount:x! to_address:s! tag:s? user_identifier:s? idempotency_key:s?"),
    ("Owner", "owner:s?"),
    ("Reasoned", "note:s"),
    ("EndNote", "note:s!"),
    ("Conclusion", "outcome:s! note:s!"),
];

/// The schema of one line.
pub(super) fn schema(fields: &str, is_body: bool) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, kind) in fields.split_whitespace().filter_map(|field| field.split_once(':')) {
        if kind.ends_with('!') || !(is_body || kind.ends_with('~')) {
            required.push(name);
        }
        properties.insert(name.to_owned(), typed(kind.trim_end_matches(['!', '~'])));
    }
    let mut whole = json!({"type": "object", "properties": properties, "required": required});
    if let Some(whole) = whole.as_object_mut().filter(|_| is_body) {
        whole.insert("additionalProperties".to_owned(), json!(false));
    }
    whole
}

fn typed(kind: &str) -> Value {
    let (kind, is_nullable) = kind.strip_suffix('?').map_or((kind, false), |kind| (kind, true));
    let word = match kind {
        "x" => return json!({"type": ["string", "number"]}),
        "s" => "string",
        "i" => "integer",
        "b" => "boolean",
        "o" => "object",
        "a" => "array",
        _ => return named(kind),
    };
    if is_nullable { json!({"type": [word, "null"]}) } else { json!({"type": word}) }
}

/// `[X]`, or `{X}` for a page of a list, or `X`.
pub(super) fn named(kind: &str) -> Value {
    if let Some(item) = kind.strip_prefix('[').and_then(|kind| kind.strip_suffix(']')) {
        return json!({"type": "array", "items": typed(item)});
    }
    if let Some(item) = kind.strip_prefix('{').and_then(|kind| kind.strip_suffix('}')) {
        let data = json!({"type": "array", "items": typed(item)});
        let next = json!({"type": ["string", "null"]});
        return json!({"type": "object", "properties": {"data": data, "next": next}, "required": ["data", "next"]});
    }
    json!({"$ref": format!("#/components/schemas/{kind}")})
}
