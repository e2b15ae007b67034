//! Keeps the places of addresses up to date: names are looked up again at an interval, by the system's resolver.
//!
//! The system's resolver and not one of our own: it reads the hosts file and the search path as every other program
//! on the machine does, and costs no dependency. It does not tell how long an answer holds; the interval, 5 seconds
//! by default, is what headless Services give theirs.

use std::{collections::HashMap, io, net::SocketAddr, pin::Pin, time::Duration};

use tokio::time::timeout;

use super::address::{Address, Location};

/// How long one look-up may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Asks for the addresses of a host and port.
pub(super) type LookUp =
    Box<dyn Fn(String, u16) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> + Send + Sync>;

/// The system's resolver.
pub(super) fn system() -> LookUp {
    Box::new(|host, port| Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) }))
}

/// What names were last found to mean. A look-up that fails changes nothing.
pub(super) struct Resolver {
    addresses: Vec<Address>,
    look_up: LookUp,
    found: HashMap<String, Vec<Location>>,
    /// The names that cannot be looked up now: each is complained of once.
    failing: HashMap<String, String>,
}

impl Resolver {
    pub(super) fn new(addresses: Vec<Address>, look_up: LookUp) -> Self {
        Self { addresses, look_up, found: HashMap::new(), failing: HashMap::new() }
    }

    /// All places, when no address is a name.
    pub(super) fn literal(addresses: &[Address]) -> Option<Vec<Location>> {
        addresses.iter().map(Address::literal).collect()
    }

    /// Looks all names up. Places come in the order of their addresses, each once.
    pub(super) async fn look(&mut self) -> Vec<Location> {
        let mut places: Vec<Location> = Vec::new();
        for address in self.addresses.clone() {
            let authority = address.authority.as_str();
            match self.look_up(&address).await {
                Ok(found) => {
                    if self.failing.remove(authority).is_some() {
                        tracing::info!(upstream = authority, "its name can be looked up again");
                    }
                    self.found.insert(authority.to_owned(), found);
                }
                Err(error) => {
                    let error = error.to_string();
                    if self.failing.insert(authority.to_owned(), error.clone()).as_ref() != Some(&error) {
                        tracing::warn!(
                            upstream = authority,
                            error,
                            "its name cannot be looked up; what is known counts"
                        );
                    }
                }
            }
            for place in self.found.get(authority).into_iter().flatten() {
                if !places.contains(place) {
                    places.push(place.clone());
                }
            }
        }
        places
    }

    async fn look_up(&self, address: &Address) -> io::Result<Vec<Location>> {
        if let Some(place) = address.literal() {
            return Ok(vec![place]);
        }
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
        let asking = (self.look_up)(address.host.clone(), address.port);
        let mut found = timeout(TIMEOUT, asking).await.map_err(late)??;
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        // Resolvers change the order from answer to answer; what is the same should look the same.
        found.sort_unstable();
        found.dedup();
        Ok(found.into_iter().map(|at| address.at(at)).collect())
    }
}
