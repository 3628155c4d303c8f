//! What every page has around its content, and how a page, a form and a redirect are answered.

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_TYPE, LOCATION};
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use askama::Template;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;

use super::show::Raw;
use super::{NAV, assets};
use crate::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;

pub(in crate::http) type Answer = Result<HttpResponse, ApiError>;

/// Title, navigation, and who has logged in.
pub(in crate::http) struct Frame {
    pub title: String,
    section: &'static str,
    pub name: Option<String>,
    pub role: &'static str,
    csrf: String,
    held: u64,
}

/// One line of the navigation.
pub(in crate::http) struct Link {
    pub href: &'static str,
    pub label: &'static str,
    pub is_here: bool,
    /// How many wait there for a person.
    pub count: u64,
}

impl Frame {
    /// `section` is the address of the page's line in the navigation.
    pub(in crate::http) fn new(app: &App, caller: &Caller, section: &'static str, title: &str) -> Self {
        Self {
            title: title.to_owned(),
            section,
            name: Some(caller.name.clone()),
            role: caller.role.word(),
            csrf: caller.csrf.clone().unwrap_or_default(),
            held: app.metrics.discrepancies_open.get(),
        }
    }

    /// For somebody who has not logged in.
    pub(in crate::http) fn outside(title: &str) -> Self {
        Self { title: title.to_owned(), section: "", name: None, role: "", csrf: String::new(), held: 0 }
    }

    /// The field that every form which changes something has.
    pub(in crate::http) fn csrf(&self) -> Raw {
        Raw(format!("<input type=\"hidden\" name=\"csrf\" value=\"{}\">", self.csrf))
    }

    pub(in crate::http) fn links(&self) -> Vec<Link> {
        let count = |href: &str| if href == "/held" { self.held } else { 0 };
        let link = |(href, label): &(&'static str, &'static str)| Link {
            href,
            label,
            is_here: *href == self.section,
            count: count(href),
        };
        NAV.iter().map(link).collect()
    }

    pub(in crate::http) fn asset(&self, name: &str) -> String {
        assets::url(name)
    }

    pub(in crate::http) fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }
}

/// A page, or a piece of one.
pub(in crate::http) fn html(page: &impl Template) -> HttpResponse {
    let text = page.render().expect("a template writes into a String, which takes everything");
    HttpResponse::Ok().insert_header((CONTENT_TYPE, "text/html; charset=utf-8")).body(text)
}

/// After a form: go and look there.
pub(in crate::http) fn see(path: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, path)).finish()
}

/// The fields of a form; unknown ones are ignored, because every form has `csrf`.
pub(in crate::http) struct Form<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Form<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = web::Bytes::from_request(request, payload);
        let read = async {
            let body = body.await.map_err(|_too_long_or_cut_off| ApiError::TooLarge)?;
            let text = std::str::from_utf8(&body).map_err(|_not_utf8| unreadable("it is not UTF-8"))?;
            if text.contains("%00") {
                return Err(unreadable("a field has a NUL"));
            }
            let fields = web::Query::<T>::from_query(text).map_err(|error| unreadable(&error.to_string()))?;
            Ok(Self(fields.into_inner()))
        };
        read.boxed_local()
    }
}

fn unreadable(why: &str) -> ApiError {
    ApiError::Invalid(format!("the form can't be read: {why}"))
}

/// Fit for a query: everything but letters, digits and four signs is written as `%xx`.
pub(in crate::http) fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}

/// What was chosen, as a query; nothing for what was not.
pub(in crate::http) fn query_of(chosen: &[(&str, &str)]) -> String {
    let given = chosen.iter().filter(|(_, value)| !value.is_empty());
    let pairs: Vec<_> = given.map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}
