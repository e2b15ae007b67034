//! How many connections come from where: nobody alone takes the places of all others.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kit::limiter::network;

/// The open connections by where they come from: an IPv4 address, or a /64 of IPv6.
#[derive(Default)]
pub(super) struct Guests(Mutex<HashMap<Ipv6Addr, usize>>);

/// One connection among those of its address, until it is dropped.
pub(super) struct Guest {
    /// `None`: it is not counted.
    among: Option<Arc<Guests>>,
    network: Ipv6Addr,
}

impl Guests {
    /// Counts a connection; `None`: `most` come from there already.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<Guest> {
        let network = network(address);
        let mut guests = self.lock();
        let here = guests.get(&network).copied().unwrap_or(0);
        if here >= most {
            return None;
        }
        guests.insert(network, here + 1);
        Some(Guest { among: Some(Arc::clone(self)), network })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Ipv6Addr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// Not counted: everybody comes from there.
    pub(super) fn uncounted(address: IpAddr) -> Self {
        Self { among: None, network: network(address) }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let Some(guests) = &self.among else { return };
        let mut guests = guests.lock();
        match guests.get_mut(&self.network) {
            Some(here) if *here > 1 => *here -= 1,
            _ => drop(guests.remove(&self.network)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_count_and_leaves_nothing_behind() {
        let guests = Arc::new(Guests::default());
        let enter = |address: &str| guests.enter(address.parse().unwrap(), 2);
        let (first, second) = (enter("10.0.0.1"), enter("10.0.0.1"));
        assert!(first.is_some() && second.is_some());
        assert!(enter("10.0.0.1").is_none());
        assert!(enter("::ffff:10.0.0.1").is_none(), "the same address in IPv6's form");
        assert!(enter("10.0.0.2").is_some());
        drop(first);
        let third = enter("10.0.0.1");
        assert!(third.is_some() && enter("10.0.0.1").is_none());
        drop((second, third));
        assert!(guests.lock().is_empty());
    }
}
