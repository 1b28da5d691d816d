//! What every request passes before it is answered: is it meant for this server, who makes it, is there room for it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use error::{Code, Error};

use crate::access::{Caller, Role};
use crate::flight::refusal;
use crate::problem::Failure;
use crate::shared::Shared;

/// What is served to everybody: whether it is there, and the page, which shows nothing without a token.
const OPEN: [&str; 3] = ["/healthz", "/readyz", "/health"];

/// Nothing but what comes from here may run or be loaded in the page, and nobody may frame it.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

/// Lets a request of Flight through, or says why not.
pub(crate) async fn flight_gate(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    match admit(&shared, &mut request, false, presented) {
        Ok(_room) => next.run(request).await,
        Err(failure) => {
            shared.metrics.failed(failure.error.code());
            refusal(&failure).into_http()
        }
    }
}

/// Lets a request through, or says why not.
pub(crate) async fn gate(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_open = OPEN.contains(&path) || crate::page::is_page(path);
    let mut response = match admit(&shared, &mut request, is_open, bearer) {
        Ok(_room) => {
            // The room is held until the head of the response is there.
            next.run(request).await
        }
        Err(failure) => failure.into_response(),
    };
    if let Some(code) = response.extensions().get::<Code>() {
        shared.metrics.failed(*code);
    }
    shared.metrics.answered(response.status());
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// `is_open` is what everybody may see, `token` finds the token.
fn admit<'a>(
    shared: &'a Shared,
    request: &mut Request,
    is_open: bool,
    token: impl Fn(&HeaderMap) -> Option<String>,
) -> Result<crate::metrics::InFlight<'a>, Failure> {
    let room = shared.metrics.begin(shared.options.limits.requests);
    let room = room.ok_or_else(|| Failure::busy("too many requests at the same time"))?;
    check_origin(shared, request.uri(), request.headers())?;
    let caller = match authenticate(shared, request.headers(), token) {
        Ok(caller) => Some(caller),
        Err(_) if is_open => None,
        Err(failure) => return Err(failure),
    };
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let client = match caller.as_ref().and_then(|caller| caller.name.clone()) {
        Some(name) => format!("token {name}"),
        None => peer.map_or_else(String::new, |ConnectInfo(address)| address.ip().to_string()),
    };
    if !is_open && !shared.rates.allows(&client) {
        let error = Error::new(Code::Resource, "too many requests of one client").with_transient(true);
        let error = error.with_hint("Wait a moment between two requests.");
        return Err(Failure { status: StatusCode::TOO_MANY_REQUESTS, error, retry_after: Some(1) });
    }
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    Ok(room)
}

/// A web page of somebody else must not act through the browser of whoever can reach this server: neither by its own
/// scripts, nor by a name of its own that leads here.
fn check_origin(shared: &Shared, uri: &Uri, headers: &HeaderMap) -> Result<(), Failure> {
    let refused = |what: &str| {
        let error = Error::new(Code::Permission, what).with_hint("Use the address that the server itself has.");
        Failure::new(StatusCode::FORBIDDEN, error)
    };
    // HTTP/2 has it in the address.
    let named = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = named.or_else(|| uri.authority().map(Authority::as_str)).unwrap_or_default();
    if shared.options.tokens.is_empty() && !is_loopback(host) {
        return Err(refused("without tokens requests are answered only under a loopback name"));
    }
    let origin = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or("null"));
    let is_ours = origin.is_none_or(|origin| {
        origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")).is_some_and(|from| from == host)
    });
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    if is_ours && !matches!(site, Some("cross-site")) {
        return Ok(());
    }
    Err(refused("requests of other web pages are not answered"))
}

fn is_loopback(host: &str) -> bool {
    let Ok(uri) = format!("http://{host}/").parse::<Uri>() else { return false };
    let name = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn authenticate(
    shared: &Shared,
    headers: &HeaderMap,
    token: impl Fn(&HeaderMap) -> Option<String>,
) -> Result<Caller, Failure> {
    if shared.options.tokens.is_empty() {
        return Ok(Caller { name: None, role: Role::Admin });
    }
    let refused = |error| Failure::new(StatusCode::UNAUTHORIZED, error);
    if !headers.contains_key(header::AUTHORIZATION) {
        let error = Error::new(Code::Permission, "this takes a token");
        return Err(refused(error.with_hint("Send it as Authorization: Bearer TOKEN.")));
    }
    let Some(token) = token(headers) else {
        let error = Error::new(Code::Permission, "the authorization is no bearer token");
        return Err(refused(error.with_hint("Send it as Authorization: Bearer TOKEN.")));
    };
    shared.options.tokens.find(&token).map_err(refused)
}

/// The token of a request as it is sent over HTTP.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// The token of a request as it is sent over Flight: clients that know names and passwords send it as the password. Not so
/// over HTTP, where a browser would remember it.
pub(crate) fn presented(headers: &HeaderMap) -> Option<String> {
    bearer(headers).or_else(|| {
        let (scheme, credentials) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = String::from_utf8(BASE64.decode(credentials.trim()).ok()?).ok()?;
        decoded.split_once(':').map(|(_, password)| password.to_owned())
    })
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Failure::new(StatusCode::UNAUTHORIZED, Error::new(Code::Permission, "this takes a token")))
    }
}
