//! The client of a session, so that its owner can recognize it.

use super::Language;

/// The most characters of a user agent that are stored.
const NAME_CHARACTERS: usize = 256;

/// A client program and its address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// Its `user-agent` header. Empty: it sent none.
    pub user_agent: String,
    /// Its address. Empty: unknown.
    pub address: String,
    /// The language that it prefers.
    pub language: Language,
}

impl Client {
    /// A client with this user agent, cut to 256 characters, and this address.
    pub fn new(user_agent: &str, address: Option<std::net::IpAddr>) -> Self {
        Self {
            user_agent: user_agent.chars().take(NAME_CHARACTERS).collect(),
            address: address
                .filter(|address| !address.is_unspecified())
                .map_or_else(String::new, |address| address.to_canonical().to_string()),
            language: Language::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_user_agent_is_cut_at_a_character() {
        let client = Client::new(&"ä".repeat(300), "::ffff:10.0.0.1".parse().ok());
        assert_eq!(client.user_agent, "ä".repeat(256));
        assert_eq!(client.address, "10.0.0.1");
        assert_eq!(Client::new("", None), Client::default());
    }
}
