//! Executes subscriptions: a response for each message of a stream.

use futures_util::{
    Stream, StreamExt as _,
    stream::{self, BoxStream},
};

use crate::{
    caller::{CallError, Message},
    calls::Failed,
    execution::Execution,
    fields::{Resolve, RootCall},
    plan::{Node, Plan},
    reply::Reply,
};

/// The responses of a subscription. One that states the error of the stream, or is beyond the limit, is the last one.
pub(crate) fn replies(execution: Execution, plan: Plan) -> impl Stream<Item = Reply> + Send + 'static {
    let state = Subscription { execution, plan, messages: None };
    stream::unfold(Some(state), |state| async {
        let mut state = state?;
        let (reply, is_last) = state.next().await?;
        Some((reply, (!is_last).then_some(state)))
    })
}

struct Subscription {
    execution: Execution,
    plan: Plan,
    /// `None`: the stream is not open yet.
    messages: Option<BoxStream<'static, Result<Message, CallError>>>,
}

impl Subscription {
    /// The next response, and whether it is the last one.
    async fn next(&mut self) -> Option<(Reply, bool)> {
        let Self { execution, plan, messages } = self;
        let node = plan.roots.first()?;
        let Some(Resolve::Call(call)) = node.resolve() else { return None };
        if messages.is_none() {
            match open(execution, node, call).await {
                Ok(opened) => *messages = Some(opened),
                Err(failed) => return Some((execution.event(plan, Err(failed)).await, true)),
            }
        }
        let message = messages.as_mut()?.next().await?;
        let decoded = message
            .map_err(|error| Box::new(Failed::Call(error)))
            .and_then(|message| call.messages.decode(message, &execution.calls));
        let has_failed = decoded.is_err();
        let reply = execution.event(plan, decoded).await;
        let is_last = has_failed || !reply.is_complete();
        Some((reply, is_last))
    }
}

async fn open(
    execution: &Execution,
    node: &Node,
    call: &RootCall,
) -> Result<BoxStream<'static, Result<Message, CallError>>, Box<Failed>> {
    let message = execution.request(node, call)?;
    let Execution { calls, .. } = execution;
    let opened = calls.caller.open(&call.messages.path, message, &calls.budget).await;
    opened.map_err(|error| Box::new(Failed::Call(error)))
}
