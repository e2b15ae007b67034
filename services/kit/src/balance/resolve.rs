//! Resolves the names in addresses again at an interval, with the system's resolver.
//!
//! The system's resolver reads the hosts file and the search path as all other programs on the machine do, and needs no
//! dependency. It does not report the TTL of a response. The default interval is 5 seconds, the usual TTL of headless
//! Services.

use std::{collections::HashMap, io, time::Duration};

use tokio::time::timeout;

use super::address::{Address, Location};
use crate::dns::LookUp;

/// The timeout of one lookup.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The last results of name resolution. A failed lookup keeps the previous result.
pub(super) struct Resolver {
    addresses: Vec<Address>,
    look_up: LookUp,
    found: HashMap<String, Vec<Location>>,
    /// The names whose last lookup failed, with the error. Each error is logged once.
    failing: HashMap<String, String>,
}

impl Resolver {
    pub(super) fn new(addresses: Vec<Address>, look_up: LookUp) -> Self {
        Self { addresses, look_up, found: HashMap::new(), failing: HashMap::new() }
    }

    /// The locations of all addresses, if none is a name.
    pub(super) fn literal(addresses: &[Address]) -> Option<Vec<Location>> {
        addresses.iter().map(Address::literal).collect()
    }

    /// Resolves all names. Locations keep the order of their addresses, without duplicates.
    pub(super) async fn resolve(&mut self) -> Vec<Location> {
        let mut places: Vec<Location> = Vec::new();
        for address in self.addresses.clone() {
            let authority = address.authority.as_str();
            match self.look_up(&address).await {
                Ok(found) => {
                    if self.failing.remove(authority).is_some() {
                        tracing::info!(upstream = authority, "the name of an upstream resolves again");
                    }
                    self.found.insert(authority.to_owned(), found);
                }
                Err(error) => {
                    let error = error.to_string();
                    if self.failing.insert(authority.to_owned(), error.clone()).as_ref() != Some(&error) {
                        tracing::warn!(
                            upstream = authority,
                            error,
                            "the name of an upstream cannot be resolved; its last known addresses stay in use"
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
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the name lookup timed out");
        let lookup = (self.look_up)(address.host.clone(), address.port);
        let mut found = timeout(TIMEOUT, lookup).await.map_err(late)??;
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        // Resolvers change the order between responses. Sorting makes equal results compare equal.
        found.sort_unstable();
        found.dedup();
        Ok(found.into_iter().map(|at| address.at(at)).collect())
    }
}
