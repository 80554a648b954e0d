//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The connections that are open.
#[derive(Debug)]
pub(crate) struct Connections {
    free: Arc<Semaphore>,
    per_address_max: usize,
    addresses: Mutex<HashMap<IpAddr, usize>>,
}

/// An open connection; its place is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Arc<Connections>,
    address: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    /// At most `max` connections; one address may have three quarters of them, so that it alone keeps
    /// nobody else out.
    pub(crate) fn new(max: usize) -> Arc<Self> {
        let per_address_max = (max - max / 4).max(1);
        let free = Arc::new(Semaphore::new(max));
        Arc::new(Self { free, per_address_max, addresses: Mutex::default() })
    }

    /// Waits until another connection may be accepted.
    pub(crate) async fn free(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    /// A place for a connection from `address`; `None` where that has too many already.
    pub(crate) fn take(
        self: &Arc<Self>,
        address: IpAddr,
        permit: OwnedSemaphorePermit,
    ) -> Option<Place> {
        let mut addresses = self.lock();
        let open = addresses.entry(address).or_default();
        if *open >= self.per_address_max {
            return None;
        }
        *open += 1;
        Some(Place { connections: Arc::clone(self), address, _permit: permit })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut addresses = self.connections.lock();
        if let Some(open) = addresses.get_mut(&self.address) {
            *open -= 1;
            if *open == 0 {
                addresses.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn one_address_leaves_room_for_others() {
        let connections = Connections::new(4);
        let [greedy, other] = [1, 2].map(|last| IpAddr::from(Ipv4Addr::new(10, 0, 0, last)));
        let mut places = Vec::new();
        for _ in 0..3 {
            let permit = connections.free().await.unwrap();
            places.push(connections.take(greedy, permit).expect("three of four"));
        }
        let permit = connections.free().await.unwrap();
        assert!(connections.take(greedy, permit).is_none());
        let permit = connections.free().await.unwrap();
        let place = connections.take(other, permit).expect("the last one is for others");
        places.pop();
        let permit = connections.free().await.unwrap();
        assert!(connections.take(greedy, permit).is_some(), "its place is free again");
        drop((place, places));
        assert!(connections.lock().is_empty());
    }
}
