//! `/v1`: the gateway's own API, for merchants' back ends. Its table of routes says what each needs of its key; every
//! request is let in by `admit`, and answered in one envelope.

mod admit;
mod balances;
mod currencies;
mod deposits;
pub mod envelope;
mod input;
mod invoices;
pub mod signature;
mod transactions;
mod withdrawals;

use actix_web::body::BoxBody;
use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::middleware::{Next, from_fn};
use actix_web::{HttpResponse, web};
use sha2::{Digest, Sha256};

use self::admit::{Call, admit};
use self::envelope::GatewayError;
use crate::app::App;
use crate::config::gateway::{Listed, Permission};
use crate::outbound::addresses;

/// One line of the table.
pub struct Endpoint {
    pub method: Method,
    pub path: &'static str,
    /// `None`: any key may.
    pub needs: Option<Permission>,
    handler: fn() -> actix_web::Route,
}

impl Endpoint {
    const fn get(path: &'static str, needs: Option<Permission>, handler: fn() -> actix_web::Route) -> Self {
        Self { method: Method::GET, path, needs, handler }
    }

    const fn post(path: &'static str, needs: Option<Permission>, handler: fn() -> actix_web::Route) -> Self {
        Self { method: Method::POST, path, needs, handler }
    }
}

/// Every route there is.
pub static ENDPOINTS: &[Endpoint] = &[
    Endpoint::get("/v1/_ping", None, || web::to(ping)),
    Endpoint::post("/v1/deposit-addresses", Some(Permission::RequestDepositAddress), || web::to(deposits::allocate)),
    Endpoint::get("/v1/deposit-requests/{id}", Some(Permission::ReadDepositStatus), || web::to(deposits::show)),
    Endpoint::post("/v1/withdrawals", Some(Permission::Withdraw), || web::to(withdrawals::create)),
    Endpoint::get("/v1/withdrawals/{id}", Some(Permission::ReadWithdrawalStatus), || web::to(withdrawals::one)),
    Endpoint::post("/v1/invoices", Some(Permission::RequestDepositAddress), || web::to(invoices::create)),
    Endpoint::get("/v1/invoices/{id}", Some(Permission::ReadDepositStatus), || web::to(invoices::one)),
    Endpoint::get("/v1/balances", Some(Permission::ReadBalance), || web::to(balances::list)),
    Endpoint::get("/v1/transactions", Some(Permission::ListTransactions), || web::to(transactions::list)),
    Endpoint::get("/v1/currencies", Some(Permission::ListCurrencies), || web::to(currencies::list)),
];

/// Adds the table. A path that is there answers other methods with those it takes.
pub fn routes(cfg: &mut web::ServiceConfig) {
    let mut paths: Vec<&'static str> = ENDPOINTS.iter().map(|endpoint| endpoint.path).collect();
    paths.dedup();
    let mut scope = web::scope("/v1");
    for path in paths {
        let mut resource = web::resource(path.strip_prefix("/v1").unwrap_or(path));
        let mut methods = Vec::new();
        for endpoint in ENDPOINTS.iter().filter(|endpoint| endpoint.path == path) {
            methods.push(endpoint.method.as_str());
            let needs = endpoint.needs;
            let route = (endpoint.handler)().method(endpoint.method.clone());
            resource =
                resource
                    .route(route.wrap(from_fn(move |request: ServiceRequest, next: Next<BoxBody>| {
                        admit(needs, request, next)
                    })));
        }
        let allow = methods.join(", ");
        scope = scope.service(resource.default_service(web::to(move || {
            let allow = allow.clone();
            async move { Err::<HttpResponse, _>(GatewayError::MethodNotAllowed { allow }) }
        })));
    }
    let nothing = || async { Err::<HttpResponse, _>(GatewayError::NotFound("Not Found")) };
    cfg.service(scope.default_service(web::to(nothing)));
}

/// The line of the settings that is asked for. Names are compared without regard to case.
fn listed<'a>(app: &'a App, currency: &str, network: &str) -> Result<&'a Listed, GatewayError> {
    Ok(addresses::listed(app, currency, network)?)
}

/// The name under which the processor knows a request: the same for the same idempotency key of the same API key.
fn name_of_request(call: &Call, idempotency_key: Option<&str>) -> String {
    let name = match idempotency_key {
        Some(key) => Sha256::digest(format!("{}\0{key}", call.key.key)).to_vec(),
        None => rand::random::<[u8; 32]>().to_vec(),
    };
    format!("tallyhook:{}", const_hex::encode(name))
}

/// `GET /v1/_ping`: does nothing, for clients that try their signature.
async fn ping(_: Call) -> HttpResponse {
    #[derive(serde::Serialize)]
    struct Pong {}
    envelope::one(Pong {})
}
