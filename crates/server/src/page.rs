//! The page for people who would rather look: a few files that are part of the program. It asks the same interface as
//! everybody else; without a token, where one is needed, it shows nothing but the question for it.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use crate::shared::Shared;

/// Path, media type and content of each file.
const FILES: [(&str, &str, &str); 9] = [
    ("/", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("/style.css", "text/css; charset=utf-8", include_str!("page/style.css")),
    ("/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("/main.js", JAVASCRIPT, include_str!("page/main.js")),
    ("/api.js", JAVASCRIPT, include_str!("page/api.js")),
    ("/dom.js", JAVASCRIPT, include_str!("page/dom.js")),
    ("/graph.js", JAVASCRIPT, include_str!("page/graph.js")),
    ("/table.js", JAVASCRIPT, include_str!("page/table.js")),
    ("/console.js", JAVASCRIPT, include_str!("page/console.js")),
];
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Whether that is a part of the page.
pub(crate) fn is_page(path: &str) -> bool {
    FILES.iter().any(|(file, ..)| *file == path)
}

/// The files of the page.
pub(crate) fn routes() -> Router<Arc<Shared>> {
    FILES.into_iter().fold(Router::new(), |router, (path, kind, content)| {
        router.route(path, get(move || std::future::ready(file(kind, content))))
    })
}

fn file(kind: &'static str, content: &'static str) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], content).into_response()
}
