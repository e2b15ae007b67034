//! The GraphQL explorer at `/graphiql`: the built files of `web/explorer`, part of the binary. GraphiQL itself is forty times as
//! large, and sets inline styles, which the content policy forbids (`docs/protocols.md`).

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use http_body_util::Full;
use rust_embed::RustEmbed;

use super::console;

/// The path of the page.
pub(crate) const PATH: &str = "/graphiql";

#[derive(RustEmbed)]
#[folder = "../web/explorer/dist"]
struct ExplorerFiles;

/// Serves a file of the page; `None`: there is none at this path. `compresses`: in the coding that the client prefers.
pub(crate) fn serve(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    compresses: bool,
) -> Option<Response<Full<Bytes>>> {
    console::page::<ExplorerFiles>(PATH, method, path, headers, compresses)
}

#[cfg(test)]
mod tests {
    use http::{StatusCode, header::CONTENT_SECURITY_POLICY};

    use super::*;

    #[test]
    fn compressed_files_are_those_of_the_page() {
        console::tests::check_compressed::<ExplorerFiles>();
    }

    #[test]
    fn page_allows_no_inline_scripts() {
        let get = |path| serve(&Method::GET, path, &HeaderMap::new(), true);
        for path in [PATH, "/graphiql/"] {
            let page = get(path).unwrap();
            assert_eq!(page.status(), StatusCode::OK);
            let policy = page.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(policy.contains("script-src 'self';") && !policy.contains("unsafe"), "{policy}");
        }
        assert!(get("/graphiqlx").is_none() && get("/graphiql/none.js").is_none());
        assert_eq!(
            serve(&Method::POST, PATH, &HeaderMap::new(), true).unwrap().status(),
            StatusCode::METHOD_NOT_ALLOWED
        );
    }
}
