//! How many from one address may be on their way in at once, so that nobody takes every place.
//!
//! Growth: one entry for each address that has somebody on their way in; whoever asks bounds how many those are in all.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::attempts::network;

/// Those on their way in.
#[derive(Debug, Clone)]
pub struct Crowd {
    max: usize,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One of them. Dropping it makes room for another.
#[derive(Debug)]
pub struct InCrowd {
    address: IpAddr,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Crowd {
    /// At most `max` from one address, and at least one; for IPv6, from its /64.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max: max.max(1), by_address: Arc::default() }
    }

    /// Lets one more in, if there are not too many from there.
    #[must_use]
    pub fn enter(&self, peer: IpAddr) -> Option<InCrowd> {
        let address = network(peer);
        let mut by_address = lock(&self.by_address);
        let count = by_address.entry(address).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(InCrowd { address, by_address: self.by_address.clone() })
    }
}

impl Drop for InCrowd {
    fn drop(&mut self) {
        let mut by_address = lock(&self.by_address);
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

fn lock(by_address: &Mutex<HashMap<IpAddr, usize>>) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
    by_address.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_01_one_address_takes_its_own_places_and_no_others() {
        let crowd = Crowd::new(2);
        let peer = |text: &str| text.parse::<IpAddr>().unwrap();
        let both = [crowd.enter(peer("192.0.2.1")).unwrap(), crowd.enter(peer("::ffff:192.0.2.1")).unwrap()];
        assert!(crowd.enter(peer("192.0.2.1")).is_none());
        let other = crowd.enter(peer("192.0.2.2")).unwrap();
        drop(both);
        assert!(crowd.enter(peer("192.0.2.1")).is_some());
        drop(other);
        assert!(lock(&crowd.by_address).is_empty(), "who has left is not remembered");
        let _both = [crowd.enter(peer("2001:db8::1")).unwrap(), crowd.enter(peer("2001:db8::2")).unwrap()];
        assert!(crowd.enter(peer("2001:db8::3")).is_none() && crowd.enter(peer("2001:db8:0:1::3")).is_some());
    }
}
