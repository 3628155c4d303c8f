//! The files that pages load, all in the binary. Their addresses carry a hash of what they are, so that browsers keep
//! them for good and never mix versions.

use std::sync::LazyLock;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpResponse, web};
use sha2::{Digest, Sha256};

use crate::http::error::ApiError;

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// htmx is 0BSD, uPlot MIT: their licences lie beside them.
static FILES: [(&str, &str, &[u8]); 6] = [
    ("style.css", CSS, include_bytes!("assets/style.css")),
    ("page.js", JS, include_bytes!("assets/page.js")),
    ("htmx.js", JS, include_bytes!("assets/htmx-2.0.11.min.js")),
    ("uplot.js", JS, include_bytes!("assets/uplot-1.6.32.min.js")),
    ("uplot.css", CSS, include_bytes!("assets/uplot-1.6.32.min.css")),
    ("icon.svg", "image/svg+xml", include_bytes!("assets/icon.svg")),
];

/// One hash for all: files that belong together change together.
static HASH: LazyLock<String> = LazyLock::new(|| {
    let all = FILES.iter().fold(Sha256::new(), |hash, (name, _, bytes)| hash.chain_update(name).chain_update(bytes));
    const_hex::encode(all.finalize()).chars().take(12).collect()
});

/// Where a file is.
pub(super) fn url(name: &str) -> String {
    format!("/assets/{}/{name}", *HASH)
}

/// `GET /assets/{hash}/{name}`: a replica of another version may have given out the hash; its browsers get what is
/// here, but must ask again.
pub(super) async fn serve(path: web::Path<(String, String)>) -> Result<HttpResponse, ApiError> {
    let (hash, name) = path.into_inner();
    let found = FILES.iter().find(|(known, _, _)| *known == name);
    let (_, kind, bytes) = found.ok_or_else(|| ApiError::NotFound("such file".to_owned()))?;
    let keep = if hash == *HASH { "public, max-age=31536000, immutable" } else { "no-store" };
    Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, *kind)).insert_header((CACHE_CONTROL, keep)).body(*bytes))
}
