//! Which routes there are and who may take them: a route is its line in a table, so none can be served without saying
//! what it needs. Mounting a table is the only way to add routes. It knows no handler.

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, HttpMessage, HttpResponse, web};

use super::error::ApiError;
use super::{auth, idempotent, session};
use crate::config::Role;

/// What a route asks of whoever takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Open to everybody who can reach the listener.
    Nothing,
    /// The handler checks the processor's or a client's signature over the very bytes.
    Signature,
    /// A token of this role or of one above it.
    Role(Role),
}

/// May read the events.
pub const CONSUMER: Needs = Needs::Role(Role::Consumer);
/// May read everything.
pub const VIEWER: Needs = Needs::Role(Role::Viewer);
/// May also change things: replay, resolve, ask for money to be moved.
pub const OPERATOR: Needs = Needs::Role(Role::Operator);
/// May also let others' requests to move money pass.
pub const APPROVER: Needs = Needs::Role(Role::Approver);

/// One line of a table.
#[derive(Debug)]
pub struct Route {
    pub method: Method,
    /// As the router writes it: `/api/callbacks/{id}`.
    pub path: &'static str,
    pub needs: Needs,
    handler: fn() -> actix_web::Route,
}

impl Route {
    /// A line; the handler is given as `|| web::to(handler)`.
    pub const fn get(path: &'static str, needs: Needs, handler: fn() -> actix_web::Route) -> Self {
        Self { method: Method::GET, path, needs, handler }
    }

    pub const fn post(path: &'static str, needs: Needs, handler: fn() -> actix_web::Route) -> Self {
        Self { method: Method::POST, path, needs, handler }
    }

    fn mounted(&self) -> actix_web::Route {
        let route = (self.handler)().method(self.method.clone());
        match self.needs {
            Needs::Nothing | Needs::Signature => route,
            Needs::Role(role) => {
                route.wrap(from_fn(move |request: ServiceRequest, next: Next<BoxBody>| admit(role, request, next)))
            }
        }
    }
}

/// Adds the routes of a table whose paths begin with `prefix`, which is the scope they are mounted in. A path that is
/// there answers other methods with those it takes.
pub fn mount(cfg: &mut web::ServiceConfig, table: &[Route], prefix: &str) {
    let mut paths: Vec<&'static str> = Vec::new();
    for route in table {
        if !paths.contains(&route.path) {
            paths.push(route.path);
        }
    }
    for path in paths {
        let mut resource = web::resource(path.strip_prefix(prefix).unwrap_or(path));
        let mut methods = Vec::new();
        for route in table.iter().filter(|route| route.path == path) {
            methods.push(route.method.as_str());
            resource = resource.route(route.mounted());
        }
        let allow = methods.join(", ");
        cfg.service(resource.default_service(web::to(move || {
            let allow = allow.clone();
            async move { Err::<HttpResponse, _>(ApiError::MethodNotAllowed { allow }) }
        })));
    }
}

/// Lets a request pass whose caller has the role, and tells the handler who that is. What a session changes must have
/// been sent by our own page.
async fn admit(
    role: Role,
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let caller = match auth::caller(request.request()).await {
        Ok(caller) => caller,
        Err(error) => return Ok(request.error_response(error)),
    };
    request.extensions_mut().insert(caller.clone());
    if caller.role < role {
        return Ok(request.error_response(ApiError::Forbidden { needs: role.word() }));
    }
    if let Some(csrf) = caller.csrf.as_ref().filter(|_| !request.method().is_safe())
        && let Err(error) = session::check(&mut request, csrf).await
    {
        return Ok(request.error_response(error));
    }
    match idempotent::key(&request) {
        Ok(None) => next.call(request).await,
        Ok(Some(key)) => idempotent::once(key, &caller, request, next).await,
        Err(error) => Ok(request.error_response(error)),
    }
}
