//! The description of every route in `OpenAPI` 3.1, made from the tables of routes and what `paths.rs` and `shapes.rs` say
//! about them; a page to read it by; and the description of the events. It knows no handler.

mod gateway;
mod paths;
mod shapes;

use actix_web::HttpResponse;
use serde_json::{Map, Value, json};

use super::access::Needs;
use super::gateway::ENDPOINTS;
use super::page;
use paths::{DOCS, Doc, PARAMS};
use shapes::{PROBLEMS, REQUESTS, SHAPES, schema};

use crate::domain::event::EventType;

const POLICY: &str =
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /openapi.json`
pub async fn serve() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(document().to_string())
}

/// `GET /docs`: the same to read, without a script and without another host.
pub async fn read() -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header(("Content-Security-Policy", POLICY)).insert_header(("X-Content-Type-Options", "nosniff"));
    response.content_type("text/html; charset=utf-8").body(readable())
}

/// What is described: method and path of each.
pub fn described() -> impl Iterator<Item = (&'static str, &'static str)> {
    DOCS.iter().map(|doc| (doc.method, doc.path))
}

/// Which paths of `/v1` are described.
pub fn described_gateway() -> impl Iterator<Item = &'static str> {
    gateway::paths()
}

/// Every code of a problem with its meaning.
pub fn problem_codes() -> impl Iterator<Item = (&'static str, &'static str)> {
    PROBLEMS.iter().map(|(code, meaning)| (*code, *meaning))
}

/// The whole description.
pub fn document() -> Value {
    let mut paths = Map::new();
    for doc in DOCS {
        let operations = paths.entry(doc.path.replace(":.*", "")).or_insert_with(|| json!({}));
        if let Some(operations) = operations.as_object_mut() {
            operations.insert(doc.method.to_lowercase(), operation(doc));
        }
    }
    for endpoint in ENDPOINTS {
        let operations = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        if let Some(operations) = operations.as_object_mut() {
            operations.insert(endpoint.method.as_str().to_lowercase(), gateway::operation(endpoint));
        }
    }
    let mut schemas: Map<String, Value> =
        SHAPES.iter().map(|(name, fields)| ((*name).to_owned(), schema(fields, false))).collect();
    schemas.extend(REQUESTS.iter().map(|(name, fields)| ((*name).to_owned(), schema(fields, true))));
    schemas.insert("Code".to_owned(), json!({"enum": PROBLEMS.iter().map(|(code, _)| code).collect::<Vec<_>>()}));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tallyhook",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Ids and amounts are strings, absent values null, times RFC 3339 with Z. Lists answer \
                {\"data\":[…],\"next\":…}; `next` is the `after` of the next page. Errors are RFC 9457 problems with a \
                stable `code`.",
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "tags": [
            {"name": "admin", "description": "The admin listener, with a bearer token"},
            {"name": "public", "description": "The public listener"},
        ],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "client": {"type": "apiKey", "in": "header", "name": "X-CPG-Signature"},
                "processor": {"type": "apiKey", "in": "header", "name": "X-Processing-Signature"},
            },
        },
    })
}

fn operation(doc: &Doc) -> Value {
    let in_path = doc.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path.map(|name| name.trim_end_matches(":.*"));
    let path = in_path.map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
    let query = doc.query.iter().map(|name| parameter(name));
    let key = doc.takes_key().then(idempotency_key);
    let mut answers = Map::new();
    for (status, shape) in doc.answers {
        answers.insert(status.to_string(), answer(*status, shape));
    }
    let role = match doc.needs() {
        Needs::Role(role) => format!("Needs the role {} or one above it.", role.word()),
        Needs::Signature => "The body is signed.".to_owned(),
        Needs::Nothing => "Open.".to_owned(),
    };
    let problem = if doc.needs() == Needs::Signature { "Refusal" } else { "Problem" };
    for status in doc.problems() {
        answers.insert(status.to_string(), answer(status, problem));
    }
    let security = match doc.needs() {
        Needs::Nothing => json!([]),
        Needs::Role(_) => json!([{"token": []}]),
        Needs::Signature => json!([{"processor": []}]),
    };
    let mut whole = json!({
        "tags": [doc.tag()],
        "operationId": doc.id(),
        "summary": doc.summary,
        "description": role,
        "parameters": path.chain(query).chain(key).collect::<Vec<_>>(),
        "responses": answers,
        "security": security,
    });
    if let Some(whole) = whole.as_object_mut().filter(|_| !doc.body.is_empty()) {
        let content = json!({"application/json": {"schema": {"$ref": format!("#/components/schemas/{}", doc.body)}}});
        whole.insert("requestBody".to_owned(), json!({"required": doc.is_body_required(), "content": content}));
    }
    whole
}

fn parameter(name: &str) -> Value {
    let (name, schema) = match PARAMS.iter().find(|(known, ..)| *known == name) {
        Some((known, words, limit)) => (known.split('@').next().unwrap_or(known), paths::limits(words, *limit)),
        None => (name, json!({"type": "string", "pattern": "^[^\\u0000]*$"})),
    };
    json!({"name": name, "in": "query", "schema": schema})
}

fn idempotency_key() -> Value {
    json!({
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Sent again under the same key, the request does nothing again and gets the first answer, with the \
            header Idempotency-Replayed: true. Another request under it gets 409. Kept for a week.",
        "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
    })
}

fn answer(status: u16, shape: &str) -> Value {
    let description = if status < 300 { "Done" } else { "A problem, with its `code`" };
    let (shape, is_csv_too) = shape.strip_suffix("+csv").map_or((shape, false), |shape| (shape, true));
    let (kind, schema) = match shape {
        "text" => ("text/plain", json!({"type": "string"})),
        "html" => ("text/html", json!({"type": "string"})),
        "stream" => ("text/event-stream", json!({"type": "string"})),
        "any" => ("application/json", json!({})),
        "json" => ("application/json", json!({"type": "object"})),
        "Problem" | "Refusal" => ("application/problem+json", shapes::named(shape)),
        _ => ("application/json", shapes::named(shape)),
    };
    let mut content = json!({kind: {"schema": schema}});
    if let Some(content) = content.as_object_mut().filter(|_| is_csv_too) {
        content.insert("text/csv".to_owned(), json!({"schema": {"type": "string"}}));
    }
    json!({"description": description, "content": content})
}

fn readable() -> String {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mut text = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <title>Tallyhook API</title><link rel=\"icon\" type=\"image/svg+xml\" href=\"{}\">\
         <link rel=\"stylesheet\" href=\"{}\"></head><body><main id=\"main\"><h1>Tallyhook API</h1>\
         <p>The same for programs: <a href=\"/openapi.json\">openapi.json</a></p>",
        page::asset("icon.svg"),
        page::asset("style.css")
    );
    for doc in DOCS {
        let body = if doc.body.is_empty() {
            String::new()
        } else {
            format!("<p>Body: <a href=\"#{0}\">{0}</a></p>", doc.body)
        };
        let query = doc.query.iter().map(|name| name.split('@').next().unwrap_or(name)).collect::<Vec<_>>().join(", ");
        let query = if query.is_empty() { query } else { format!("<p>Parameters: {}</p>", escape(&query)) };
        let needs = match doc.needs() {
            Needs::Role(role) => role.word(),
            Needs::Signature => "signed",
            Needs::Nothing => "open",
        };
        let answers: Vec<_> = doc.answers.iter().map(|(status, shape)| format!("{status} {}", escape(shape))).collect();
        text.push_str(&format!(
            "<h2><code>{} {}</code></h2><p>{} <em>({needs})</em></p>{query}{body}<p>Answers: {}</p>",
            doc.method,
            escape(&doc.path.replace(":.*", "")),
            escape(doc.summary),
            answers.join(", ")
        ));
    }
    ENDPOINTS.iter().for_each(|endpoint| text.push_str(&gateway::readable(endpoint)));
    for (name, fields) in SHAPES.iter().chain(REQUESTS) {
        text.push_str(&format!("<h3 id=\"{name}\">{name}</h3><p><code>{}</code></p>", escape(fields)));
    }
    text.push_str("</main></body></html>");
    text
}

/// The events, in `AsyncAPI` 3.0.
pub fn events() -> Value {
    let types: Vec<_> = EventType::ALL.iter().map(|event| event.word()).collect();
    let nullable = json!({"type": ["string", "null"]});
    let payload = json!({
        "type": "object",
        "required": ["specversion", "id", "source", "type", "time", "sequence", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "description": "The same for the same event, however often it is sent"},
            "source": {"type": "string"},
            "type": {"enum": types},
            "subject": nullable,
            "time": {"type": "string", "format": "date-time"},
            "datacontenttype": {"const": "application/json"},
            "dataschema": {"const": "urn:tallyhook:event:v1"},
            "sequence": {"type": "string", "description": "The position in the journal, without gaps over the whole feed"},
            "data": {"type": "object"},
        },
    });
    json!({
        "asyncapi": "3.0.0",
        "info": {"title": "Tallyhook events", "version": env!("CARGO_PKG_VERSION")},
        "channels": {"events": {
            "address": "tallyhook.events",
            "description": "A topic exchange; the routing key is <type>.<currency>",
            "messages": {"event": {"contentType": "application/cloudevents+json", "payload": payload}},
        }},
        "operations": {"told": {"action": "send", "channel": {"$ref": "#/channels/events"}}},
    })
}
