//! The codec of our servers: prost's, with the contract's input checks right after decoding.

use std::marker::PhantomData;

use prost::Message;
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder},
};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

use crate::validate::{Check, violations};

/// Encodes answers as prost does, and hands on only inputs that keep the contract's rules.
pub struct Checked<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Checked<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for Checked<T, U>
where
    T: Message + Send + 'static,
    U: Message + Check + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = CheckedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(Default::default())
    }

    fn decoder(&mut self) -> Self::Decoder {
        CheckedDecoder { inner: ProstCodec::<T, U>::raw_decoder(Default::default()), failed: None }
    }
}

/// See [`Checked`].
pub struct CheckedDecoder<U> {
    inner: ProstDecoder<U>,
    /// `tonic::Streaming` goes on after a decoder's error: a stream that broke the contract once stays broken.
    failed: Option<Status>,
}

impl<U: Message + Check + Default> Decoder for CheckedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        if let Some(status) = &self.failed {
            return Err(status.clone());
        }
        self.decode_checked(buf).inspect_err(|status| self.failed = Some(status.clone()))
    }
}

impl<U: Message + Check + Default> CheckedDecoder<U> {
    fn decode_checked(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let Some(message) = self.inner.decode(buf).map_err(|_| malformed())? else {
            return Ok(None);
        };
        let found = violations(&message);
        if found.is_empty() { Ok(Some(message)) } else { Err(crate::validate::refusal(&found)) }
    }
}

/// A body that is no such message is the caller's mistake, whatever the decoder calls it.
fn malformed() -> Status {
    Status::invalid_argument("the request is not a valid protobuf message of the method's input type")
}
