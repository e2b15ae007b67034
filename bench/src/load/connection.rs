//! A client's connection over HTTP/1.1 or HTTP/2.

use super::{Http, Received, Request, frames::Stamp, http1::Http1, http2::Http2};

pub(crate) enum Connection {
    One(Box<Http1>),
    Two(Http2),
}

impl Connection {
    pub(crate) async fn open(request: &Request) -> Result<Self, String> {
        Ok(match request.http {
            Http::One => Self::One(Box::new(Http1::connect(request.port).await?)),
            Http::Two => Self::Two(Http2::connect(request.port).await?),
        })
    }

    /// Another handle to the same connection. HTTP/1.1 has none.
    pub(crate) fn share(&self) -> Option<Self> {
        match self {
            Self::One(_) => None,
            Self::Two(connection) => Some(Self::Two(connection.clone())),
        }
    }

    /// Makes one call. After an error the connection is unusable.
    pub(crate) async fn call(&mut self, request: &Request, on_message: impl FnMut(Stamp)) -> Result<Received, String> {
        match self {
            Self::One(connection) => connection.call(request, on_message).await,
            Self::Two(connection) => connection.call(request, on_message).await,
        }
    }
}
