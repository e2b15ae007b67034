//! Decides at each period of `limits.keepalive` whether the client still responds.

/// What follows from a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeepaliveTick {
    /// Send a PING.
    Ping,
    /// Send nothing: frames wait for the client, and the watchdog monitors how it reads.
    Wait,
    /// The client has not replied to the last PING.
    Left,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SocketKeepalive {
    /// A PING was sent, and nothing has arrived since.
    awaits_reply: bool,
}

impl SocketKeepalive {
    /// The end of a period. `has_arrived`: a frame has arrived in it. `has_waited`: frames waited in it for the client,
    /// which could not reply in time.
    pub(super) fn tick(&mut self, has_arrived: bool, has_waited: bool) -> KeepaliveTick {
        self.awaits_reply &= !has_arrived;
        if has_waited {
            return KeepaliveTick::Wait;
        }
        // Only a PING that was sent has a reply.
        if std::mem::replace(&mut self.awaits_reply, true) { KeepaliveTick::Left } else { KeepaliveTick::Ping }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_client_has_left_after_a_ping() {
        let mut keepalive = SocketKeepalive::default();
        assert_eq!(keepalive.tick(false, false), KeepaliveTick::Ping);
        assert_eq!(keepalive.tick(true, false), KeepaliveTick::Ping);
        assert_eq!(keepalive.tick(false, false), KeepaliveTick::Left);
    }

    /// A subscriber sends nothing but replies.
    #[test]
    fn client_that_got_no_ping_owes_no_reply() {
        let mut keepalive = SocketKeepalive::default();
        assert_eq!(keepalive.tick(true, true), KeepaliveTick::Wait);
        assert_eq!(keepalive.tick(false, false), KeepaliveTick::Ping);
        // The reply to a PING may also come later, if frames wait.
        assert_eq!(keepalive.tick(false, true), KeepaliveTick::Wait);
        assert_eq!(keepalive.tick(true, false), KeepaliveTick::Ping);
        assert_eq!(keepalive.tick(false, true), KeepaliveTick::Wait);
        assert_eq!(keepalive.tick(false, false), KeepaliveTick::Left);
    }
}
