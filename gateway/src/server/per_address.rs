//! Limits the connections, and the WebSockets, per client address, so that no client takes all of them.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use kit::limiter::{Multiples, Network, networks};
use parking_lot::{Mutex, MutexGuard};

/// The open connections or sockets per network: an IPv4 address and its /24, or a /64 of IPv6 and the wider networks around it.
#[derive(Default)]
pub(crate) struct ConnectionCounts(Mutex<HashMap<Network, usize>>);

/// One connection among those of its networks, until it is dropped.
pub(crate) struct CountedConnection {
    /// `None`: it is not counted.
    among: Option<Arc<ConnectionCounts>>,
    networks: Vec<Network>,
}

impl ConnectionCounts {
    /// Counts a connection; `None`: its address has `most` already, or a wider network that many times its multiple.
    pub(crate) fn enter(
        self: &Arc<Self>,
        address: IpAddr,
        most: usize,
        multiples: &Multiples,
    ) -> Option<CountedConnection> {
        let networks: Vec<_> = networks(address, multiples).collect();
        let mut connection_counts = self.lock();
        let is_full = |network: &Network| {
            let here = connection_counts.get(network).copied().unwrap_or(0);
            here >= most.saturating_mul(usize::try_from(network.multiple).unwrap_or(usize::MAX))
        };
        if networks.iter().any(is_full) {
            return None;
        }
        for network in &networks {
            *connection_counts.entry(*network).or_default() += 1;
        }
        Some(CountedConnection { among: Some(Arc::clone(self)), networks })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Network, usize>> {
        self.0.lock()
    }
}

impl CountedConnection {
    /// Not counted: the address is a trusted proxy's, through which all clients connect.
    pub(super) fn uncounted() -> Self {
        Self { among: None, networks: Vec::new() }
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        let Some(connection_counts) = &self.among else { return };
        let mut connection_counts = connection_counts.lock();
        for network in &self.networks {
            match connection_counts.get_mut(network) {
                Some(here) if *here > 1 => *here -= 1,
                _ => drop(connection_counts.remove(network)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_count_that_ends_with_it() {
        let connection_counts = Arc::new(ConnectionCounts::default());
        let enter = |address: &str| connection_counts.enter(address.parse().unwrap(), 2, &Multiples::default());
        let (first, second) = (enter("10.0.0.1"), enter("10.0.0.1"));
        assert!(first.is_some() && second.is_some());
        assert!(enter("10.0.0.1").is_none());
        assert!(enter("::ffff:10.0.0.1").is_none(), "the same address, IPv4-mapped");
        assert!(enter("10.0.0.2").is_some());
        drop(first);
        let third = enter("10.0.0.1");
        assert!(third.is_some() && enter("10.0.0.1").is_none());
        drop((second, third));
        assert!(connection_counts.lock().is_empty());
    }

    #[test]
    fn a_wide_network_has_a_multiple_of_the_connections() {
        let connection_counts = Arc::new(ConnectionCounts::default());
        let enter = |address: String| connection_counts.enter(address.parse().unwrap(), 2, &Multiples::default());
        let of_56: Vec<_> = (0..256).filter_map(|n| enter(format!("2001:db8:1:{n:x}::1"))).collect();
        assert_eq!(of_56.len(), 8);
        let of_48: Vec<_> = (256..65_536).step_by(64).filter_map(|n| enter(format!("2001:db8:1:{n:x}::1"))).collect();
        assert_eq!(of_48.len(), 24, "and eight before");
        assert!(enter("2001:db8:2::1".to_owned()).is_some());
        drop((of_56, of_48));
        assert!(connection_counts.lock().is_empty());
    }
}
