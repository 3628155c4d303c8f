//! What is said about `/v1`, the gateway's own API: it answers in envelopes, whose problems are not those of the admin API.

use serde_json::{Value, json};

use super::shapes;
use crate::http::gateway::Endpoint;

/// Path, summary, parameters, shape of the body, what the envelope holds: `X` one, `[X]` all there are, `{X}` some of them.
type Said = (&'static str, &'static str, &'static [&'static str], &'static str, &'static str);

const SAID: &[Said] = &[
    ("/v1/_ping", "Tries a signature", &[], "", "Pong"),
    ("/v1/deposit-addresses", "Gives out an address", &[], "NewDepositAddress", "DepositAddress"),
    ("/v1/deposit-requests/{id}", "How a request for an address stands, with its deposits", &[], "", "DepositRequest"),
    ("/v1/invoices", "Makes an invoice", &[], "NewInvoice", "Invoice"),
    ("/v1/invoices/{id}", "How an invoice stands", &[], "", "Invoice"),
    ("/v1/withdrawals", "Pays out", &[], "NewWithdrawal", "GatewayWithdrawal"),
    ("/v1/withdrawals/{id}", "How a withdrawal stands", &[], "", "GatewayWithdrawal"),
    ("/v1/balances", "Balances: the account's, or a user's", &["user_identifier"], "", "[GatewayBalance]"),
    ("/v1/transactions", "What happened, from a place on", &["cursor", "limit@gateway"], "", "{GatewayTransaction}"),
    ("/v1/currencies", "Currencies and networks", &[], "", "[GatewayCurrency]"),
];

/// Paths that are described.
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    SAID.iter().map(|(path, ..)| *path)
}

fn said(endpoint: &Endpoint) -> Said {
    let said = SAID.iter().find(|(path, ..)| *path == endpoint.path);
    said.copied().unwrap_or((endpoint.path, "", &[], "", "Pong"))
}

pub(super) fn operation(endpoint: &Endpoint) -> Value {
    let (_, summary, query, body, data) = said(endpoint);
    let in_path = endpoint.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let path = in_path.map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
    let query = query.iter().map(|name| super::parameter(name));
    let name = endpoint.path.replace(['{', '}'], "").replace(['/', '-'], "_");
    let failure = content("A problem", json!({"$ref": "#/components/schemas/GatewayFailure"}));
    let mut whole = json!({
        "tags": ["public"],
        "operationId": format!("{}{name}", endpoint.method.as_str().to_lowercase()),
        "summary": summary,
        "parameters": path.chain(query).collect::<Vec<_>>(),
        "responses": {"200": content("Done", envelope(data)), "4XX": failure, "5XX": failure},
        "security": [{"client": []}],
    });
    if let Some(whole) = whole.as_object_mut().filter(|_| !body.is_empty()) {
        let schema = json!({"$ref": format!("#/components/schemas/{body}")});
        whole.insert(
            "requestBody".to_owned(),
            json!({"required": true, "content": {"application/json": {"schema": schema}}}),
        );
    }
    whole
}

/// The same as a piece of a page.
pub(super) fn readable(endpoint: &Endpoint) -> String {
    let (_, summary, query, body, data) = said(endpoint);
    let body = if body.is_empty() { String::new() } else { format!("<p>Body: <a href=\"#{body}\">{body}</a></p>") };
    let query: Vec<_> = query.iter().map(|name| name.split('@').next().unwrap_or(name)).collect();
    let query = if query.is_empty() { String::new() } else { format!("<p>Parameters: {}</p>", query.join(", ")) };
    format!(
        "<h2><code>{} {}</code></h2><p>{summary} <em>(signed)</em></p>{query}{body}<p>Answers: 200 {data}, 4XX and 5XX \
         GatewayFailure</p>",
        endpoint.method, endpoint.path
    )
}

fn content(description: &str, schema: Value) -> Value {
    json!({"description": description, "content": {"application/json": {"schema": schema}}})
}

fn envelope(data: &str) -> Value {
    let item = data.trim_matches(['[', ']', '{', '}']);
    let one = shapes::named(item);
    let many = json!({"type": "array", "items": one});
    let mut properties = json!({"success": {"const": true}, "message": {"type": "string"}});
    let mut required = vec!["success", "message", "data"];
    if let Some(properties) = properties.as_object_mut() {
        let is_one = item == data;
        properties.insert("data".to_owned(), if is_one { one } else { many });
        if !is_one {
            properties.insert("data_count".to_owned(), json!({"type": "integer"}));
            required.push("data_count");
        }
        if data.starts_with('{') {
            properties.insert("next_cursor".to_owned(), json!({"type": ["integer", "null"]}));
            properties.insert("has_more".to_owned(), json!({"type": "boolean"}));
            required.extend(["next_cursor", "has_more"]);
        }
    }
    json!({"type": "object", "properties": properties, "required": required})
}
