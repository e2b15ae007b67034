//! The page that is served at `/`: the built files of `web/console`, part of the binary. The build of the page has
//! compressed them (`web/compress.js`).

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};
use http_body_util::Full;
use rust_embed::{EmbeddedFile, RustEmbed};

use super::{compression, content_coding::ContentCoding, stored::is_stored};

#[derive(RustEmbed)]
#[folder = "../web/console/dist"]
struct ConsoleFiles;

/// The codings of the compressed files, and the ends of their names. The first one is the smallest.
const CODED: [(ContentCoding, &str); 2] = [(ContentCoding::Brotli, ".br"), (ContentCoding::Gzip, ".gz")];

/// The page may run only its own scripts and connect only to the gateway: injected content does nothing.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     font-src 'self'; connect-src 'self'; manifest-src 'self'; form-action 'self'; frame-ancestors 'none'; \
     base-uri 'none'";

/// Serves a file of the page; `None`: there is none. `compresses`: in the coding that the client prefers.
pub(crate) fn serve(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    compresses: bool,
) -> Option<Response<Full<Bytes>>> {
    let name = if path == "/" { "index.html" } else { path.trim_start_matches('/') };
    file::<ConsoleFiles>(method, name, headers, compresses)
}

/// Serves a file of a page at `root`, such as `/docs`; `None`: there is none at this path.
pub(super) fn page<Files: RustEmbed>(
    root: &str,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    compresses: bool,
) -> Option<Response<Full<Bytes>>> {
    let name = match path.strip_prefix(root)? {
        "" | "/" => "index.html",
        rest => rest.strip_prefix('/')?,
    };
    file::<Files>(method, name, headers, compresses)
}

/// Serves a file of `Files`; `None`: there is none of this name.
fn file<Files: RustEmbed>(
    method: &Method,
    name: &str,
    headers: &HeaderMap,
    compresses: bool,
) -> Option<Response<Full<Bytes>>> {
    let is_coded = CODED.iter().any(|(_, end)| name.ends_with(end));
    let file = Files::get(name).filter(|_| !is_coded)?;
    if method != Method::GET && method != Method::HEAD {
        return Some(not_allowed("use GET or HEAD\n", "GET, HEAD"));
    }
    let coded = compresses.then(|| coded::<Files>(name, headers)).flatten();
    let (coding, file) = coded.map_or((None, file), |(coding, coded)| (Some(coding), coded));
    // Each coding is a file with a tag of its own.
    let tag = tag(&file);
    let mut response = if is_stored(headers, &tag) {
        status(StatusCode::NOT_MODIFIED)
    } else {
        let mut whole = Response::new(match file.data {
            std::borrow::Cow::Borrowed(bytes) => Full::new(bytes.into()),
            std::borrow::Cow::Owned(bytes) => Full::new(bytes.into()),
        });
        if let Some(coding) = coding {
            whole.headers_mut().insert(CONTENT_ENCODING, coding.header());
        }
        whole
    };
    let headers = response.headers_mut();
    let media_type = HeaderValue::try_from(media_type(name)).unwrap_or(HeaderValue::from_static("text/plain"));
    headers.insert(CONTENT_TYPE, media_type);
    headers.insert(ETAG, tag);
    // The names of assets contain a hash of their content.
    let cache = if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    compression::mark(headers);
    protect(headers);
    Some(response)
}

/// The compressed form of a file that the client prefers.
fn coded<Files: RustEmbed>(name: &str, headers: &HeaderMap) -> Option<(ContentCoding, EmbeddedFile)> {
    let coding = ContentCoding::preferred(headers, &CODED.map(|(coding, _)| coding))?;
    let (_, end) = CODED.iter().find(|(of, _)| *of == coding)?;
    // Small files have none.
    Files::get(&format!("{name}{end}")).map(|file| (coding, file))
}

/// A short text as the response.
pub(crate) fn plain(code: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    protect(headers);
    response
}

/// Refuses a request whose method is not in `allowed`.
pub(crate) fn not_allowed(text: &'static str, allowed: &'static str) -> Response<Full<Bytes>> {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, text);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn status(code: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = code;
    response
}

/// The security headers of every response to a browser (OWASP Secure Headers Project).
fn protect(headers: &mut HeaderMap) {
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
}

fn tag(file: &EmbeddedFile) -> HeaderValue {
    let hash = file.metadata.sha256_hash();
    let text: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(format!("\"{text}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "json" | "webmanifest" => "application/json",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
pub(super) mod tests;
