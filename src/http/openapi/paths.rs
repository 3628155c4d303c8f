//! What is said about each route: its parameters, its body, its answers. Who may take it stands in the tables of routes.

use serde_json::{Value, json};

use crate::http::access::Needs;
use crate::http::{PUBLIC, admin_table};

pub(super) struct Doc {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    /// Names, with `@` where one name means different things.
    pub(super) query: &'static [&'static str],
    /// The shape of the body; empty: none.
    pub(super) body: &'static str,
    pub(super) answers: &'static [(u16, &'static str)],
}

type Answers = &'static [(u16, &'static str)];

const fn get(path: &'static str, summary: &'static str, query: &'static [&'static str], answers: Answers) -> Doc {
    Doc { method: "GET", path, summary, query, body: "", answers }
}

const fn post(path: &'static str, summary: &'static str, body: &'static str, answers: Answers) -> Doc {
    Doc { method: "POST", path, summary, query: &[], body, answers }
}

/// What a parameter may be: words, or a number up to a limit; neither: a text.
pub(super) const PARAMS: &[(&str, &str, u64)] = &[
    ("limit", "", 1000),
    ("limit@gateway", "", 200),
    ("wait", "", 60),
    ("state@callback", "booked ignored held failed", 0),
    ("state@discrepancy", "open resolved all", 0),
    ("state@proposal", "waiting approved done refused declined", 0),
    ("format", "json csv", 0),
];

pub(super) fn limits(words: &str, limit: u64) -> Value {
    let words: Vec<_> = words.split_whitespace().collect();
    match (words.is_empty(), limit) {
        (false, _) => json!({"type": "string", "enum": words}),
        (true, 60) => json!({"type": "integer", "minimum": 0, "maximum": 60}),
        (true, _) => json!({"type": "integer", "minimum": 1, "maximum": limit}),
    }
}

/// The processor's answer with any status, or our own words.
const FORWARDED: Answers = &[
    (200, "any"),
    (400, "DropInFailure"),
    (403, "DropInFailure"),
    (408, "DropInFailure"),
    (413, "DropInFailure"),
    (502, "DropInFailure"),
    (503, "DropInFailure"),
    (504, "DropInFailure"),
];

pub(super) const DOCS: &[Doc] = &[
    get(
        "/api/events",
        "Events after a position, oldest first; waits for new ones",
        &["after", "limit", "wait"],
        &[(200, "{Event}")],
    ),
    get(
        "/api/events/stream",
        "The same as server-sent events; goes on after Last-Event-ID",
        &["after"],
        &[(200, "stream")],
    ),
    get(
        "/api/events/redeliveries",
        "What was asked to be published again, newest first",
        &["after", "limit"],
        &[(200, "{Redelivery}")],
    ),
    post(
        "/api/events/redeliver",
        "Publishes events again, with the same ids and bytes; a dry run unless told otherwise",
        "Redeliver",
        &[(200, "RedeliveryPlan"), (202, "Redelivery"), (409, "Problem"), (422, "Problem")],
    ),
    get(
        "/api/callbacks",
        "Callbacks, newest first",
        &["merchant", "state@callback", "type", "status", "foreign_id", "q", "since", "until", "after", "limit"],
        &[(200, "{Callback}")],
    ),
    post(
        "/api/callbacks/replay",
        "Decides held and failed callbacks anew; a dry run unless told otherwise",
        "ReplaySome",
        &[(200, "Diff")],
    ),
    get("/api/callbacks/{id}", "One callback with all that came of it", &[], &[(200, "CallbackDetail")]),
    post(
        "/api/callbacks/{id}/replay",
        "Decides one anew; a dry run unless told otherwise",
        "ReplayOne",
        &[(200, "Diff")],
    ),
    get("/api/replays", "Replays in the background, newest first", &["after", "limit"], &[(200, "{Replay}")]),
    post("/api/replays", "Asks for a replay in the background", "NewReplay", &[(201, "ReplayDetail")]),
    get("/api/replays/{id}", "How far it has come, and what it found", &[], &[(200, "ReplayDetail")]),
    post("/api/replays/{id}/stop", "Stops it between two batches", "", &[(200, "ReplayDetail")]),
    get("/api/balances", "Balances", &["customer", "currency", "after", "limit"], &[(200, "{Balance}")]),
    get(
        "/api/accounts",
        "Balances with the numbers of their accounts",
        &["customer", "currency", "after", "limit"],
        &[(200, "{Account}")],
    ),
    get(
        "/api/accounts/{id}/postings",
        "What moved on an account",
        &["since", "until", "after", "limit"],
        &[(200, "{AccountPosting}")],
    ),
    get("/api/customers", "Customers", &["merchant", "q", "after", "limit"], &[(200, "{Customer}")]),
    get("/api/customers/{id}", "One customer with references and accounts", &[], &[(200, "CustomerDetail")]),
    get(
        "/api/customers/{id}/statement",
        "A statement with running balances; CSV for who accepts text/csv",
        &["currency", "since", "until", "after", "limit", "format"],
        &[(200, "{StatementLine}+csv")],
    ),
    get(
        "/api/payments",
        "Payments, newest first",
        &["merchant", "type", "status", "q", "after", "limit"],
        &[(200, "{Payment}")],
    ),
    get("/api/payments/{id}", "One payment with its entries and callbacks", &[], &[(200, "PaymentDetail")]),
    get(
        "/api/discrepancies",
        "What someone must look at; the open ones unless asked otherwise",
        &["state@discrepancy", "merchant", "reason", "owner", "since", "until", "after", "limit"],
        &[(200, "{Discrepancy}")],
    ),
    get(
        "/api/discrepancies/{id}",
        "One discrepancy with notes, proposals and its callback",
        &[],
        &[(200, "DiscrepancyDetail")],
    ),
    post(
        "/api/discrepancies/{id}/resolve",
        "Resolves it: assign, book_anyway, ignore, link or correct; 202 when a second person must agree",
        "Resolution",
        &[(200, "DiscrepancyDetail"), (202, "Proposal"), (409, "Problem"), (422, "Problem")],
    ),
    post("/api/discrepancies/{id}/comments", "Adds a comment or evidence", "Comment", &[(200, "DiscrepancyDetail")]),
    post("/api/discrepancies/{id}/owner", "Gives it to somebody, or to nobody", "Owner", &[(200, "DiscrepancyDetail")]),
    get(
        "/api/proposals",
        "Proposals to move money, newest first",
        &["state@proposal", "after", "limit"],
        &[(200, "{Proposal}")],
    ),
    get("/api/proposals/{id}", "One proposal", &[], &[(200, "Proposal")]),
    post(
        "/api/proposals/{id}/approve",
        "Lets another's proposal pass and carries it out, once",
        "",
        &[(200, "Proposal"), (409, "Problem"), (422, "Problem")],
    ),
    post(
        "/api/proposals/{id}/refuse",
        "Refuses a proposal, or takes it back",
        "",
        &[(200, "Proposal"), (409, "Problem")],
    ),
    get(
        "/api/audit",
        "Who did what, newest first",
        &["who", "action", "subject", "after", "limit"],
        &[(200, "{Deed}")],
    ),
    get("/api/outbox", "How far publishing has come", &[], &[(200, "Outbox")]),
    get("/api/rejected", "The last requests that this process refused", &[], &[(200, "{Rejection}")]),
    get("/api/checks", "What the checks of the ledger found last", &[], &[(200, "{Check}")]),
    get(
        "/api/outages",
        "When nothing could be received, what of it comes back by itself, and what can't; latest first",
        &["after", "limit"],
        &[(200, "{Outage}")],
    ),
    get("/api/outbound", "Whether withdrawals are sent, and what waits", &[], &[(200, "Outbound")]),
    post("/api/outbound/stop", "Stops sending withdrawals", "Reasoned", &[(200, "Outbound")]),
    post("/api/outbound/start", "Sends withdrawals again", "Reasoned", &[(200, "Outbound")]),
    get(
        "/api/withdrawals",
        "Withdrawals, newest first",
        &["merchant", "state", "q", "after", "limit"],
        &[(200, "{Withdrawal}")],
    ),
    get(
        "/api/withdrawals/{id}",
        "One withdrawal with what was sent and what came back",
        &[],
        &[(200, "WithdrawalDetail")],
    ),
    get("/api/declined", "The last withdrawals that the ledger declined here", &[], &[(200, "{Declined}")]),
    get(
        "/api/addresses",
        "Addresses that were given out",
        &["merchant", "state", "q", "after", "limit"],
        &[(200, "{Address}")],
    ),
    get(
        "/api/reconciliations",
        "Comparisons of balances with the processor's, newest first",
        &["after", "limit"],
        &[(200, "{Reconciliation}")],
    ),
    post("/api/reconciliations", "Begins one, in the background", "", &[(202, "Begun"), (409, "Problem")]),
    get("/api/reconciliations/{id}", "What one found, by currency", &[], &[(200, "Reconciliation")]),
    get(
        "/api/exports",
        "Exports of the dashboard that were imported, newest first",
        &["after", "limit"],
        &[(200, "{Export}")],
    ),
    get(
        "/api/exports/{id}",
        "One, with its rows that did not plainly match",
        &["after", "limit"],
        &[(200, "ExportDetail")],
    ),
    post(
        "/api/addresses/retire",
        "Gives addresses up: never handed out again, and what comes to them waits; a dry run unless told otherwise",
        "Retire",
        &[(200, "Retired")],
    ),
    post(
        "/api/withdrawals/{id}/refund",
        "Gives back what a missing withdrawal set aside; 202 when a second person must agree",
        "EndNote",
        &[(200, "Ended"), (202, "Proposal"), (409, "Problem"), (422, "Problem")],
    ),
    post(
        "/api/withdrawals/{id}/conclude",
        "Ends a withdrawal that its callbacks can't end; 202 when a second person must agree",
        "Conclusion",
        &[(200, "Ended"), (202, "Proposal"), (409, "Problem"), (422, "Problem")],
    ),
    get("/api/v2/{path:.*}", "The processor's own API, forwarded unchanged", &[], FORWARDED),
    post("/api/v2/{path:.*}", "The processor's own API; withdrawals are booked before they are sent", "", FORWARDED),
    get("/livez", "Whether the process answers", &[], &[(200, "text")]),
    get("/readyz", "Whether it may be sent requests", &[], &[(200, "Readiness"), (503, "Readiness")]),
    get("/metrics", "What is counted, for Prometheus", &[], &[(200, "text")]),
    get("/openapi.json", "This description", &[], &[(200, "json")]),
    get("/docs", "This description, to read", &[], &[(200, "html")]),
    post("/callbacks/alphapo", "Takes a callback of the processor", "", &[(200, "text")]),
];

impl Doc {
    pub(super) fn needs(&self) -> Needs {
        let mut routes = admin_table().chain(PUBLIC);
        let found = routes.find(|route| route.path == self.path && route.method.as_str() == self.method);
        found.map_or(Needs::Nothing, |route| route.needs)
    }

    pub(super) fn tag(&self) -> &'static str {
        if self.needs() == Needs::Signature { "public" } else { "admin" }
    }

    /// `get_api_callbacks_id`
    pub(super) fn id(&self) -> String {
        let path = self.path.replace(['{', '}'], "").replace(['/', '.'], "_");
        format!("{}{path}", self.method.to_lowercase())
    }

    /// Whether it may be sent again under an idempotency key.
    pub(super) fn takes_key(&self) -> bool {
        self.method == "POST" && self.path.starts_with("/api/") && matches!(self.needs(), Needs::Role(_))
    }

    pub(super) fn is_body_required(&self) -> bool {
        matches!(self.body, "NewReplay" | "Resolution" | "Comment" | "Redeliver" | "EndNote" | "Conclusion")
    }

    /// The problems that every route of its kind may answer.
    pub(super) fn problems(&self) -> Vec<u16> {
        let mut all = match self.needs() {
            Needs::Nothing => return Vec::new(),
            Needs::Signature if self.path.starts_with("/api/v2") => return Vec::new(),
            Needs::Signature => return vec![400, 401, 408, 413, 503],
            Needs::Role(_) => vec![400, 401, 403, 500, 503],
        };
        if self.path.contains('{') {
            all.push(404);
        }
        if self.method == "POST" {
            all.extend([409, 413]);
        }
        all
    }
}
