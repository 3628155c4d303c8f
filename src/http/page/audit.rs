//! The audit log, newest first: who did what to what. Nobody can change it, and this only reads it.

use actix_web::{HttpRequest, web};
use askama::Template;

use super::show::{Dash, Names, When};
use super::{Answer, Frame, encoded, html};
use crate::app::App;
use crate::http::admin::query::Params;
use crate::http::auth::Caller;
use crate::store::audit_log::{self, Entry, Filter};

const ROWS: u64 = 50;

#[derive(Template)]
#[template(path = "audit.html")]
struct List {
    frame: Frame,
    who: String,
    action: String,
    subject: String,
    rows: Vec<Line>,
    next: Option<String>,
}

struct Line {
    id: i64,
    at: When,
    who: String,
    role: String,
    action: String,
    subject: String,
    before: Dash,
    after: Dash,
    request: String,
}

/// `GET /audit`
pub(super) async fn list(caller: Caller, request: HttpRequest, app: web::Data<App>) -> Answer {
    let mut params = Params::parse(request.query_string(), &["who", "action", "subject", "after", "limit"])?;
    let (limit, after) = (params.number("limit", 1, 500, ROWS)?, params.position("after")?);
    let mut text = |name: &str| params.take(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let filter = Filter { who: text("who"), action: text("action"), subject: text("subject") };
    let page = audit_log::list(&app.db, &filter, after, limit).await?;
    let given = |value: &Option<String>| value.clone().unwrap_or_default();
    let (who, action, subject) = (given(&filter.who), given(&filter.action), given(&filter.subject));
    let next = page.next.map(|next| {
        let [who, action, subject] = [&who, &action, &subject].map(|text| encoded(text));
        format!("/audit?who={who}&action={action}&subject={subject}&after={next}")
    });
    let frame = Frame::new(&app, &caller, "/audit", "Audit log");
    let rows = page.rows.into_iter().map(|entry| line(entry, Names::of(&app))).collect();
    Ok(html(&List { frame, who, action, subject, rows, next }))
}

fn line(entry: Entry, names: Names) -> Line {
    let Entry { id, at_us, who, role, action, subject, before, after, request_id } = entry;
    let within = |text: Option<String>| Dash(text.map(|text| names.within(text)));
    let (before, after) = (within(before), within(after));
    Line { id, at: When(at_us), who, role, action, subject, before, after, request: request_id }
}
