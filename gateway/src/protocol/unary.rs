//! Bodies that are one message without a frame.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::ETAG};
use tonic::Status;

use super::{
    codec::MethodCodec,
    compression::ContentEncoding,
    framing::{FrameReader, HEAD, Why, check_flags, head},
    http_json::{HttpJson, set_headers},
    status::{malformed, request_refused, response_malformed},
};

/// The form of a message.
#[derive(Debug, Clone, Default)]
pub(crate) enum MessageForm {
    #[default]
    Proto,
    Json(Arc<MethodCodec>),
    /// JSON in the method's HTTP form.
    Http(Arc<HttpJson>),
}

/// Collects the body of a request, and makes it a gRPC frame.
#[derive(Debug)]
pub(crate) struct MessageDecoder {
    encoding: ContentEncoding,
    form: MessageForm,
    /// The largest message, in bytes.
    limit: usize,
    /// The message is in the URL, so that the body must be empty.
    is_in_url: bool,
    /// Room for the head of a frame, and the body. Empty: the frame has been returned.
    buffer: Vec<u8>,
}

impl MessageDecoder {
    pub(super) fn new(encoding: ContentEncoding, form: MessageForm, limit: usize) -> Self {
        Self { encoding, form, limit, is_in_url: false, buffer: vec![0; HEAD] }
    }

    /// A request whose message is in its URL.
    pub(super) fn with(mut self, message: &[u8]) -> Self {
        self.is_in_url = true;
        self.buffer.extend_from_slice(message);
        self
    }

    pub(super) fn decode(&mut self, piece: &[u8]) -> Result<(), Box<Status>> {
        if self.is_in_url && !piece.is_empty() {
            return Err(Box::new(malformed("a request with GET must have no body")));
        }
        if self.buffer.len() + piece.len() > HEAD + self.limit {
            return Err(Box::new(request_refused(Why::TooLarge)));
        }
        self.buffer.extend_from_slice(piece);
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<Bytes, Box<Status>> {
        let mut frame = std::mem::take(&mut self.buffer);
        if frame.is_empty() {
            return Ok(Bytes::new());
        }
        if self.encoding != ContentEncoding::Identity && frame.len() > HEAD {
            let body = frame;
            frame = vec![0; HEAD];
            self.encoding.decompress(&body[HEAD..], self.limit, &mut frame)?;
        }
        if !matches!(self.form, MessageForm::Proto) {
            let text = frame;
            frame = Vec::with_capacity(text.len());
            frame.resize(HEAD, 0);
            match &self.form {
                MessageForm::Proto => {}
                MessageForm::Json(codec) => codec.parse(&text[HEAD..], self.limit, &mut frame)?,
                MessageForm::Http(call) => call.append_request(&text[HEAD..], self.limit, &mut frame)?,
            }
        }
        let length = frame.len() - HEAD;
        frame[..HEAD].copy_from_slice(&head(length));
        Ok(frame.into())
    }

    pub(super) fn is_complete(&self) -> bool {
        self.buffer.is_empty()
    }
}

/// Takes the message of a response out of its frame.
#[derive(Debug, Default)]
pub(crate) struct MessageEncoder {
    frames: FrameReader,
    form: MessageForm,
    has_message: bool,
    /// The `ETag` that the message states.
    tag: Option<HeaderValue>,
    /// The content type of an `HttpBody`.
    content_type: Option<HeaderValue>,
}

impl MessageEncoder {
    pub(super) fn new(form: MessageForm) -> Self {
        Self { form, ..Self::default() }
    }

    /// Returns the message once it is complete; empty until then.
    pub(super) fn encode(&mut self, piece: Bytes) -> Result<Bytes, Box<Status>> {
        self.frames.push(piece);
        let mut found = Bytes::new();
        while let Some((flags, message)) = self.frames.next() {
            if std::mem::replace(&mut self.has_message, true) {
                return Err(Box::new(response_malformed("the response has more than one message")));
            }
            check_flags(flags)?;
            found = self.convert(message)?;
        }
        Ok(found)
    }

    fn convert(&mut self, message: Bytes) -> Result<Bytes, Box<Status>> {
        let mut json = Vec::new();
        match &self.form {
            MessageForm::Proto => return Ok(message),
            MessageForm::Json(codec) => codec.print(&message, &mut json)?,
            MessageForm::Http(call) => {
                if let Some(body) = call.http_body(&message) {
                    let (content_type, data) = body?;
                    self.content_type = Some(content_type);
                    return Ok(data);
                }
                self.tag = call.tag(&message);
                call.append_response(&message, &mut json)?;
            }
        }
        Ok(json.into())
    }

    /// Sets the headers that the message states, once it has been returned.
    pub(super) fn set_headers(&self, headers: &mut HeaderMap) {
        if let Some(tag) = &self.tag {
            headers.insert(ETAG, tag.clone());
        }
        if let Some(content_type) = &self.content_type {
            set_headers(content_type, headers);
        }
    }

    /// Whether the message has been returned: it may be empty.
    pub(super) fn has_message(&self) -> bool {
        self.has_message
    }
}
