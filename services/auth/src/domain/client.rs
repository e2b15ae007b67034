//! What a session is used by, so that its owner knows it again.

/// How many characters of a name are kept.
const NAME_CHARACTERS: usize = 256;

/// A program and where it is, as far as they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// As it calls itself. Empty: it does not.
    pub user_agent: String,
    /// Its address. Empty: unknown.
    pub address: String,
}

impl Client {
    /// A client that calls itself `user_agent`, of which the first 256 characters are kept.
    pub fn new(user_agent: &str, address: Option<std::net::IpAddr>) -> Self {
        Self {
            user_agent: user_agent.chars().take(NAME_CHARACTERS).collect(),
            address: address
                .filter(|address| !address.is_unspecified())
                .map_or_else(String::new, |address| address.to_canonical().to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_at_a_character() {
        let client = Client::new(&"ä".repeat(300), "::ffff:10.0.0.1".parse().ok());
        assert_eq!(client.user_agent, "ä".repeat(256));
        assert_eq!(client.address, "10.0.0.1");
        assert_eq!(Client::new("", None), Client::default());
    }
}
