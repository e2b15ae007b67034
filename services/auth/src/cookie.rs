//! The refresh cookie. It is auth's own: the gateway only lets it through.

use std::time::Duration;

use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

use crate::domain::RefreshToken;

const NAME: &str = "trellis_refresh";
/// Sent to auth only, over TLS or to localhost only, never to scripts, never on behalf of another site.
const ATTRIBUTES: &str = "HttpOnly; Secure; SameSite=Strict; Path=/trellis.auth.v1.AuthService/";

/// The token in a call's cookies.
pub(crate) fn read(metadata: &MetadataMap) -> Option<RefreshToken> {
    let cookies = metadata.get_all("cookie").iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|header| header.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, value)| *name == NAME && !value.is_empty())?;
    Some(RefreshToken::from(value.to_owned()))
}

/// Hands the token to the browser, for as long as it is good.
pub(crate) fn set(metadata: &mut MetadataMap, token: &RefreshToken, lifetime: Duration) {
    let text = format!("{NAME}={}; {ATTRIBUTES}; Max-Age={}", token.expose(), lifetime.as_secs());
    insert(metadata, &text);
}

/// Takes it away.
pub(crate) fn clear(metadata: &mut MetadataMap) {
    insert(metadata, &format!("{NAME}=; {ATTRIBUTES}; Max-Age=0"));
}

fn insert(metadata: &mut MetadataMap, text: &str) {
    // Tokens are base64url, the rest is ours: it fits into a header.
    let Ok(mut value) = MetadataValue::<Ascii>::try_from(text) else { return };
    value.set_sensitive(true);
    metadata.insert("set-cookie", value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_found_among_other_cookies() {
        let mut metadata = MetadataMap::new();
        assert_eq!(read(&metadata), None);
        metadata.append("cookie", "a=b; xtrellis_refresh=no".parse().unwrap());
        metadata.append("cookie", "theme=dark;trellis_refresh=trr_x ; c=d".parse().unwrap());
        assert_eq!(read(&metadata), Some(RefreshToken::from("trr_x".to_owned())));
    }
}
