//! A call that needs a decision of Redis, alone or together with other calls.

use std::sync::Arc;

use tokio::{sync::oneshot, time::timeout};

use super::{
    Ask, Decision, Entry, Home, LeaseCheck, Limit, LimiterState, MOST_LIMITS, Origin, Waiting, limit_states,
    link::Failed,
    script::{self, ScriptCall},
};

/// Cost from leases, held while the call requests the rest. Dropping it returns the cost, unless the call was admitted.
pub(super) struct Reserved<'a> {
    pub(super) shared: &'a Arc<LimiterState>,
    pub(super) ask: &'a Ask<'a>,
    /// For each limit, the slice that covers its cost; `None`: it has to be requested.
    pub(super) slices: [Option<i64>; MOST_LIMITS],
}

impl Reserved<'_> {
    /// Requests the missing cost.
    pub(super) async fn decide(mut self) -> Decision {
        let lacking = (0..self.ask.limits.len()).filter(|at| self.slices[*at].is_none());
        let mut lacking = lacking.collect::<Vec<_>>();
        let result = match (lacking.pop(), lacking.as_slice()) {
            (Some(only), []) => self.request_one(only).await,
            (Some(last), others) => self.request_many(&[others, &[last]].concat()).await,
            (None, _) => Ok(true),
        };
        let decision = match result {
            Ok(admitted) => self.close(admitted),
            Err(_) => self.shared.decide_without_redis(self.ask),
        };
        if decision.is_admitted() && result.is_ok() {
            self.slices = [None; MOST_LIMITS];
        }
        decision
    }

    /// Waits, with other calls, for the only bucket that lacks cost.
    async fn request_one(&self, at: usize) -> Result<bool, Failed> {
        let limit = &self.ask.limits[at];
        let (sender, receiver) = oneshot::channel();
        {
            let mut buckets = self.shared.lock(std::slice::from_ref(limit));
            let entry = buckets.entry(limit.key, Entry::is_in_use(self.shared.now()));
            entry.queue.push(Waiting { cost: limit.cost, sender });
            if !std::mem::replace(&mut entry.is_requesting, true) {
                // In a task of its own: other calls wait for the result even if this call is cancelled.
                tokio::spawn(Arc::clone(self.shared).serve_waiting(limit.key, self.home(limit), limit.cost));
            }
        }
        match timeout(self.shared.budget, receiver).await {
            Ok(Ok(admitted)) => Ok(admitted),
            Ok(Err(_)) | Err(_) => Err(Failed::Late),
        }
    }

    /// Requests cost from several buckets in one round trip.
    async fn request_many(&self, lacking: &[usize]) -> Result<bool, Failed> {
        let requested_at = self.shared.now();
        let mut call = ScriptCall::default();
        for limit in lacking.iter().map(|at| &self.ask.limits[*at]) {
            let ahead = {
                let mut buckets = self.shared.lock(std::slice::from_ref(limit));
                let entry = buckets.entry(limit.key, Entry::is_in_use(requested_at));
                self.shared.ahead(entry, requested_at, &limit.quota, limit.cost)
            };
            call = call.take(self.home(limit).name.to_string(), &limit.quota, [limit.cost, limit.cost, ahead]);
        }
        let responses = self.shared.ask(&call).await?;
        let now = self.shared.now();
        let mut admitted = responses.len() == lacking.len();
        for (at, response) in lacking.iter().zip(&responses) {
            let limit = &self.ask.limits[*at];
            admitted &= response.taken >= limit.cost;
            let mut buckets = self.shared.lock(std::slice::from_ref(limit));
            buckets.entry(limit.key, Entry::is_in_use(now)).lease.learn(requested_at, now, response);
            drop(buckets);
            let beyond = response.taken.saturating_sub(limit.cost);
            self.shared.keep(&limit.key, &self.home(limit), requested_at, beyond, response);
        }
        Ok(admitted)
    }

    /// The decision of Redis, with the known state of all limits.
    fn close(&self, admitted: bool) -> Decision {
        let now = self.shared.now();
        self.shared.counts.add(Origin::Asked);
        let buckets = self.shared.lock(self.ask.limits);
        let limit_states = limit_states(&buckets, self.ask, now);
        if admitted {
            return Decision::admitted(limit_states);
        }
        let waits = self.ask.limits.iter().filter_map(|limit| {
            let entry = buckets.get(&limit.key)?;
            if let LeaseCheck::Empty(wait) = entry.lease.look(now, limit.cost) { Some(wait) } else { None }
        });
        Decision::refused(waits.max().unwrap_or(1), limit_states)
    }

    fn home(&self, limit: &Limit) -> Home {
        Home { name: script::name(self.ask.scope, &limit.key).into(), quota: limit.quota }
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if self.slices.iter().all(Option::is_none) {
            return;
        }
        let mut buckets = self.shared.lock(self.ask.limits);
        for (slice, limit) in self.slices.iter().zip(self.ask.limits) {
            if let Some(slice) = slice {
                buckets.entry(limit.key, |_| true).lease.put_back(limit.cost, *slice);
            }
        }
    }
}
