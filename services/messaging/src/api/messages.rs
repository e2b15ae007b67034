//! Sends, reads and changes messages.

use kit::page;
use proto::messaging::v1::{
    DeleteMessageRequest, EditMessageRequest, Entry as WireEntry, ListMessagesRequest, ListMessagesResponse,
    MarkReadRequest, MarkReadResponse, SendMessageRequest,
};
use tonic::Status;
use uuid::Uuid;

use super::{Api, bad_page_token, conversation_id, uuid};
use crate::{
    domain::{ConversationId, NewMessage, Page, UserId},
    store::Marked,
    wire,
};

impl Api {
    pub(super) async fn send(&self, author: UserId, request: SendMessageRequest) -> Result<WireEntry, Status> {
        let new = NewMessage {
            conversation: conversation_id(&request.conversation_id)?,
            author,
            id: self.service.clock_rng.new_id(),
            client_id: uuid("client_message_id", &request.client_message_id)?,
            text: request.text,
            create_time: self.service.clock_rng.now(),
        };
        let appended = self.service.store.append(&new).await?;
        if appended.is_new {
            self.hub.reached(new.conversation, appended.entry.seq);
        }
        Ok(appended.entry.into())
    }

    pub(super) async fn page_of_messages(
        &self,
        reader: UserId,
        request: ListMessagesRequest,
    ) -> Result<ListMessagesResponse, Status> {
        let id = conversation_id(&request.conversation_id)?;
        let page = Page::parse(request.page_size, &request.page_token, id).map_err(|_| bad_page_token())?;
        let _turn = self.lists.turn(reader, page.size).await;
        // Reads the position before the entries: a client gets an entry stored in between twice, rather than never.
        let head = self.service.store.head(id, reader).await?.ok_or_else(wire::no_conversation)?;
        // One more item than the page size shows whether there is another page.
        let found = self.service.store.list_history(id, reader, page.before, page.size + 1).await?;
        if found.is_empty() {
            // No more entries, or the reader was removed in between.
            self.service.store.head(id, reader).await?.ok_or_else(wire::no_conversation)?;
        }
        let mut entries: Vec<WireEntry> = found.iter().cloned().map(Into::into).collect();
        entries.truncate(page::fitting(&entries, self.page_bytes).min(page.size));
        let more = found.len() > entries.len();
        let last = entries.len().checked_sub(1).filter(|_| more).and_then(|last| found.get(last));
        let next_page_token = last.map_or(String::new(), Page::token_after);
        Ok(ListMessagesResponse { entries, next_page_token, cursor: self.cursor(id, head) })
    }

    pub(super) async fn read_message(
        &self,
        id: ConversationId,
        reader: UserId,
        message: Uuid,
    ) -> Result<WireEntry, Status> {
        if let Some(found) = self.service.store.find_message(id, reader, message).await? {
            return Ok(found.into());
        }
        // Only members learn that the conversation exists and the message does not.
        self.service.store.head(id, reader).await?.ok_or_else(wire::no_conversation)?;
        Err(wire::no_message())
    }

    pub(super) async fn edit(&self, actor: UserId, request: EditMessageRequest) -> Result<WireEntry, Status> {
        let change = self.change(&request.conversation_id, actor, wire::revision(&request.etag)?)?;
        let id = uuid("message_id", &request.message_id)?;
        self.notify(change, self.service.store.edit(change, id, &request.text).await?);
        self.read_message(change.conversation, actor, id).await
    }

    pub(super) async fn erase(&self, actor: UserId, request: DeleteMessageRequest) -> Result<WireEntry, Status> {
        let change = self.change(&request.conversation_id, actor, None)?;
        let id = uuid("message_id", &request.message_id)?;
        self.notify(change, self.service.store.erase(change, id).await?);
        self.read_message(change.conversation, actor, id).await
    }

    pub(super) async fn mark(&self, reader: UserId, request: MarkReadRequest) -> Result<MarkReadResponse, Status> {
        let id = conversation_id(&request.conversation_id)?;
        let read = self.service.store.mark_read(id, reader, request.message_no).await?;
        let (position, marked) = read.ok_or_else(wire::no_conversation)?;
        match marked {
            Marked::Publicly => self.hub.read(id, position.number),
            Marked::Privately => self.hub.read_privately(reader, position.number),
            Marked::Unchanged => {}
        }
        Ok(MarkReadResponse { unread_count: position.unread, last_read_message_no: position.number })
    }
}
