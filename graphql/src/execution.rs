//! Executes an operation: makes the calls of its root fields, loads what their responses refer to, and writes the
//! response.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::{
    arguments,
    calls::{Calls, Failed, Text},
    fields::{Resolve, RootCall},
    follow,
    introspection::SchemaText,
    loader::{Batch, Objects},
    output::Output,
    plan::{Node, Plan},
    reply::Reply,
    stop::Stop,
    write::{Called, Writer},
};

/// What operations are executed with.
#[derive(Clone)]
pub(crate) struct Execution {
    pub(crate) calls: Calls,
    pub(crate) batches: Arc<[Arc<Batch>]>,
    /// `None`: no field of the operation is part of the schema.
    pub(crate) schema: Option<Arc<SchemaText>>,
}

impl Execution {
    /// Executes a query or a mutation.
    pub(crate) async fn reply(&self, plan: &Plan) -> Reply {
        self.execute(plan).await.unwrap_or_else(Reply::stopped)
    }

    /// Fields of a query are executed together, those of a mutation one after another.
    async fn execute(&self, plan: &Plan) -> Result<Reply, Stop> {
        let mut output = Output::begin(&self.calls.budget)?;
        let groups = if plan.is_serial() { 1 } else { plan.roots.len().max(1) };
        for (at, nodes) in plan.roots.chunks(groups).enumerate() {
            if at > 0 {
                output.push(",")?;
            }
            let called = join_all(nodes.iter().map(|node| self.call(node))).await;
            self.write(nodes, &called, &mut output).await?;
        }
        Ok(output.end()?)
    }

    /// The response to one message of a subscription.
    pub(crate) async fn event(&self, plan: &Plan, called: Result<Text, Box<Failed>>) -> Reply {
        let reply = async {
            let mut output = Output::begin(&self.calls.budget)?;
            self.write(&plan.roots, &[Some(called)], &mut output).await?;
            Ok(output.end()?)
        };
        reply.await.unwrap_or_else(Reply::stopped)
    }

    async fn call(&self, node: &Node) -> Called {
        let Some(Resolve::Call(call)) = node.resolve() else { return None };
        let called = async {
            let message = self.request(node, call)?;
            call.messages.call(message, &self.calls).await
        };
        Some(called.await)
    }

    /// The encoded request of a root field.
    pub(crate) fn request(&self, node: &Node, call: &RootCall) -> Result<Vec<u8>, Box<Failed>> {
        let request = arguments::request(&call.descriptor.input(), &node.arguments, call.paging.as_ref());
        let request = request.map_err(|problem| Box::new(Failed::Arguments(problem)))?;
        call.messages.encode(&request, &self.calls)
    }

    /// Writes root fields, with the objects to which they refer.
    async fn write(&self, nodes: &[Node], called: &[Called], output: &mut Output) -> Result<(), Stop> {
        let mut objects = Objects::new(&self.calls, &self.batches);
        let roots = nodes.iter().zip(called).filter(|(node, _)| node.has_references);
        let roots = roots.filter_map(|(node, called)| match called {
            Some(Ok(text)) => Some((node.children.as_slice(), &*text.json)),
            _ => None,
        });
        follow::load(roots, &mut objects, self.calls.budget.share()).await?;
        let schema = self.schema.as_deref();
        let mut writer = Writer { output, objects: &objects, schema, path: Vec::new() };
        for (at, (node, called)) in nodes.iter().zip(called).enumerate() {
            if at > 0 {
                writer.output.push(",")?;
            }
            writer.root(node, called)?;
        }
        Ok(())
    }
}
