//! The files of the page, which are part of the program.

use std::sync::Arc;

use axum::{
    Router,
    http::HeaderMap,
    routing::{MethodRouter, get},
};

use super::{asset::Asset, contract, state::Console};

/// Each file of `page/`: the path that it is served at, and its content. Listed by `build.rs`.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// The file that is served at `/`.
const INDEX: &str = "/index.html";

/// Adds a route for each file, and one for the contract.
pub(super) fn routes(router: Router<Arc<Console>>) -> Router<Arc<Console>> {
    let router = FILES.iter().fold(router, |router, (path, content)| {
        let path = if *path == INDEX { "/" } else { path };
        router.route(path, serve(Asset::new(kind(path), *content)))
    });
    router.route("/contract.json", serve(Asset::new("application/json", contract::json())))
}

fn serve(asset: Asset) -> MethodRouter<Arc<Console>> {
    let asset = Arc::new(asset);
    get(async move |headers: HeaderMap| asset.response(&headers))
}

fn kind(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        _ => "text/html; charset=utf-8",
    }
}
