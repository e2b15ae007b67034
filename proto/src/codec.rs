//! The codec of the servers: prost's codec, and the contract's input checks after decoding.

use std::{collections::HashMap, marker::PhantomData};

use prost::Message;
use tonic::{
    Code, Status,
    codec::{Codec, DecodeBuf, Decoder},
};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::validate::{Check, violations};

/// Encodes responses with prost, and decodes only requests that satisfy the contract's rules.
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

/// The decoder of [`Checked`].
pub struct CheckedDecoder<U> {
    inner: ProstDecoder<U>,
    /// The first error. `tonic::Streaming` polls again after an error; the decoder then returns this error again.
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

/// An undecodable message is the client's error, whatever status prost's decoder returns.
fn malformed() -> Status {
    let details = ErrorDetails::with_error_info("BODY_MALFORMED", "trellis", HashMap::new());
    let message = "the request is not a valid protobuf message of the method's input type";
    Status::with_error_details(Code::InvalidArgument, message, details)
}
