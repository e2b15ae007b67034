//! The reference page at `/docs`: the built files of `web/docs`, part of the binary. It shows the OpenAPI documents.

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use http_body_util::Full;
use rust_embed::RustEmbed;

use super::console;

#[derive(RustEmbed)]
#[folder = "../web/docs/dist"]
struct DocsFiles;

/// Serves a file of the page; `None`: there is none at this path. `compresses`: in the coding that the client prefers.
pub(crate) fn serve(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    compresses: bool,
) -> Option<Response<Full<Bytes>>> {
    console::page::<DocsFiles>("/docs", method, path, headers, compresses)
}

#[cfg(test)]
mod tests {
    use http::{StatusCode, header::CONTENT_SECURITY_POLICY};

    use super::*;

    #[test]
    fn compressed_files_are_those_of_the_page() {
        console::tests::check_compressed::<DocsFiles>();
    }

    #[test]
    fn page_allows_no_inline_scripts() {
        let get = |path| serve(&Method::GET, path, &HeaderMap::new(), true);
        for path in ["/docs", "/docs/"] {
            let page = get(path).unwrap();
            assert_eq!(page.status(), StatusCode::OK);
            let policy = page.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(policy.contains("script-src 'self';") && !policy.contains("unsafe"), "{policy}");
        }
        assert!(get("/docsx").is_none() && get("/docs/none.js").is_none());
        assert_eq!(
            serve(&Method::POST, "/docs", &HeaderMap::new(), true).unwrap().status(),
            StatusCode::METHOD_NOT_ALLOWED
        );
    }
}
