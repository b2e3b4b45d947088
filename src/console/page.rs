//! The files of the page, which are part of the program.

use std::sync::Arc;

use axum::{Router, http::header::CONTENT_TYPE, routing::get};

use super::state::Console;

/// Each file of `page/`: the path that it is served at, and its content. Listed by `build.rs`.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// The file that is served at `/`.
const INDEX: &str = "/index.html";

/// Adds a route for each file.
pub(super) fn routes(router: Router<Arc<Console>>) -> Router<Arc<Console>> {
    FILES.iter().fold(router, |router, (path, content)| {
        let path = if *path == INDEX { "/" } else { path };
        router.route(path, get(async || ([(CONTENT_TYPE, kind(path))], *content)))
    })
}

fn kind(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        _ => "text/html; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of all files, in bytes, that the page must not exceed.
    const MAX_PAGE: usize = 150 * 1000;

    #[test]
    fn the_page_is_small() {
        let size: usize = FILES.iter().map(|(_, content)| content.len()).sum();
        assert!((10_000..MAX_PAGE).contains(&size), "{size} bytes");
    }
}
