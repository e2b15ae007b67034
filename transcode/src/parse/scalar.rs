//! Scalars and enum values.

use std::borrow::Cow;

use super::Parser;
use crate::{
    error::{ErrorKind, Fallible, Fault, shorten},
    json::is_number,
    plan::{EnumId, Kind, Plans},
    text::{base64, number, number::NumberProblem},
    wire::{Tag, put_varint, zigzag},
};

/// A token that a scalar may come from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Token<'t> {
    Number(&'t str),
    Quoted(&'t str),
    Boolean(bool),
    /// Text outside of JSON, such as a query parameter: it may be a number, a boolean or a string.
    Bare(&'t str),
}

/// A scalar as the wire has it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scalar {
    Varint(u64),
    Fixed32(u32),
    Fixed64(u64),
}

impl Scalar {
    #[inline(always)]
    pub(super) fn put(self, out: &mut Vec<u8>) {
        match self {
            Self::Varint(value) => put_varint(out, value),
            Self::Fixed32(value) => out.extend_from_slice(&value.to_le_bytes()),
            Self::Fixed64(value) => out.extend_from_slice(&value.to_le_bytes()),
        }
    }

    fn is_zero(self) -> bool {
        matches!(self, Self::Varint(0) | Self::Fixed32(0) | Self::Fixed64(0))
    }
}

impl Parser<'_, '_> {
    /// Writes a scalar. A field without presence does not keep zero. False if the value is the ignored name of an enum
    /// value.
    #[inline]
    pub(super) fn scalar(&mut self, kind: Kind, tag: Option<&Tag>, keeps_zero: bool) -> Fallible<bool> {
        match kind {
            Kind::String => return self.string(tag, keeps_zero).map(|()| true),
            Kind::Bytes => return self.bytes(tag, keeps_zero).map(|()| true),
            _ => {}
        }
        let first = self.reader.peek();
        let position = self.reader.position();
        if kind.is_integer()
            && let Some((is_negative, size)) = self.reader.short_integer()
        {
            let scalar = sized(kind, is_negative, size, position)?;
            self.put_scalar(scalar, tag, keeps_zero);
            return Ok(true);
        }
        if kind == Kind::Double
            && let Some(value) = self.reader.short_decimal()
        {
            self.put_scalar(Scalar::Fixed64(value.to_bits()), tag, keeps_zero);
            return Ok(true);
        }
        let decoded: Cow<'_, str>;
        let token = match first {
            b'-' | b'0'..=b'9' => Token::Number(self.reader.number()?),
            b'"' => {
                decoded = self.reader.string()?;
                Token::Quoted(&decoded)
            }
            b't' => self.reader.literal("true").map(|()| Token::Boolean(true))?,
            b'f' => self.reader.literal("false").map(|()| Token::Boolean(false))?,
            b'n' if is_null(self.plans, kind) => {
                self.reader.literal("null")?;
                Token::Number("0")
            }
            _ => return Err(self.reader.unexpected(expected(kind))),
        };
        let Some(scalar) = from_token(self.plans, kind, token, position, self.ignore_unknown)? else {
            return Ok(false);
        };
        self.put_scalar(scalar, tag, keeps_zero);
        Ok(true)
    }

    #[inline(always)]
    fn put_scalar(&mut self, scalar: Scalar, tag: Option<&Tag>, keeps_zero: bool) {
        if keeps_zero || !scalar.is_zero() {
            if let Some(tag) = tag {
                self.put_tag(tag);
            }
            scalar.put(self.out);
        }
    }

    fn string(&mut self, tag: Option<&Tag>, keeps_zero: bool) -> Fallible<()> {
        let plain = self.reader.plain_string()?;
        if plain == Some("") && !keeps_zero {
            return Ok(());
        }
        if let Some(tag) = tag {
            self.put_tag(tag);
        }
        match plain {
            Some(text) => {
                put_varint(self.out, text.len() as u64);
                self.out.extend_from_slice(text.as_bytes());
            }
            None => {
                let open = self.lengths.open(self.out);
                self.reader.unescape_into(self.out)?;
                self.lengths.close(self.out, open);
            }
        }
        Ok(())
    }

    fn bytes(&mut self, tag: Option<&Tag>, keeps_zero: bool) -> Fallible<()> {
        self.reader.peek();
        let position = self.reader.position();
        let text = self.reader.string()?;
        if text.is_empty() && !keeps_zero {
            return Ok(());
        }
        if let Some(tag) = tag {
            self.put_tag(tag);
        }
        let open = self.lengths.open(self.out);
        if !base64::decode(&text, self.out) {
            return Err(Fault::new(ErrorKind::Value, position, "expected bytes in base64"));
        }
        self.lengths.close(self.out, open);
        Ok(())
    }
}

fn is_null(plans: &Plans, kind: Kind) -> bool {
    matches!(kind, Kind::Enum(id) if plans.enumeration(id).is_null)
}

/// The value of a token. `None` for the unknown name of an enum value that is to be ignored.
#[inline]
pub(super) fn from_token(
    plans: &Plans,
    kind: Kind,
    token: Token<'_>,
    position: usize,
    ignores_unknown: bool,
) -> Fallible<Option<Scalar>> {
    let mismatch = || Fault::new(ErrorKind::Value, position, format!("expected {}", expected(kind)));
    match (kind, token) {
        (Kind::Bool, Token::Boolean(value)) => Ok(Some(Scalar::Varint(value.into()))),
        (Kind::Bool, Token::Bare(text)) => {
            let value = text.parse::<bool>().map_err(|_| mismatch())?;
            Ok(Some(Scalar::Varint(value.into())))
        }
        (Kind::Bool, _) | (_, Token::Boolean(_)) => Err(mismatch()),
        (Kind::Enum(id), token) => enum_value(plans, id, token, position, ignores_unknown),
        (Kind::Float | Kind::Double, Token::Number(text)) => float(kind, text, position).map(Some),
        (Kind::Float | Kind::Double, Token::Quoted(text) | Token::Bare(text)) => {
            float_from_text(kind, text, position).map(Some)
        }
        (_, Token::Number(text)) => integer(kind, text, position).map(Some),
        (_, Token::Quoted(text) | Token::Bare(text)) => integer_from_text(kind, text, position).map(Some),
    }
}

/// An enum value by name or number. Text outside of JSON may be a number too.
fn enum_value(
    plans: &Plans,
    id: EnumId,
    token: Token<'_>,
    position: usize,
    ignores_unknown: bool,
) -> Fallible<Option<Scalar>> {
    let plan = plans.enumeration(id);
    let (name, number) = match token {
        Token::Quoted(name) => (name, plan.numbers.get(name)),
        Token::Bare(text) if is_number(text) => (text, Some(enum_number(text, position)?)),
        Token::Bare(name) => (name, plan.numbers.get(name)),
        Token::Number(text) => (text, Some(enum_number(text, position)?)),
        Token::Boolean(_) => ("", None),
    };
    match number.filter(|number| !plan.is_closed || plan.quoted_name(*number).is_some()) {
        Some(number) => Ok(Some(Scalar::Varint(i64::from(number) as u64))),
        None if ignores_unknown => Ok(None),
        None => {
            let message = format!("the enum has no value {}: correct the name", shorten(name));
            Err(Fault::new(ErrorKind::Unknown, position, message))
        }
    }
}

fn enum_number(text: &str, position: usize) -> Fallible<i32> {
    let number = number::integer(text).ok().and_then(|(is_negative, size)| signed(is_negative, size));
    let number = number.and_then(|number| i32::try_from(number).ok());
    number.ok_or_else(|| Fault::new(ErrorKind::Value, position, "expected the name or number of an enum value"))
}

/// An integer in quotes, or as the key of a map. It follows the grammar of numbers.
pub(super) fn integer_from_text(kind: Kind, text: &str, position: usize) -> Fallible<Scalar> {
    if !is_number(text) {
        return Err(Fault::new(ErrorKind::Value, position, format!("expected {}", expected(kind))));
    }
    integer(kind, text, position)
}

#[inline]
fn integer(kind: Kind, text: &str, position: usize) -> Fallible<Scalar> {
    match number::integer(text) {
        Ok((is_negative, size)) => sized(kind, is_negative, size, position),
        Err(NumberProblem::OutOfRange) => Err(out_of_range(kind, position)),
        Err(NumberProblem::Fraction) => {
            let message = format!("expected {}: the number has a fraction", expected(kind));
            Err(Fault::new(ErrorKind::Value, position, message))
        }
    }
}

#[cold]
fn out_of_range(kind: Kind, position: usize) -> Box<Fault> {
    let message = format!("expected {}: the number is out of range", expected(kind));
    Fault::new(ErrorKind::Value, position, message)
}

/// An integer of a kind from its sign and magnitude.
#[inline(always)]
fn sized(kind: Kind, is_negative: bool, size: u64, position: usize) -> Fallible<Scalar> {
    let out_of_range = || out_of_range(kind, position);
    let signed = || signed(is_negative, size).ok_or_else(out_of_range);
    let signed_32 = || signed().and_then(|value| i32::try_from(value).map_err(|_| out_of_range()));
    let unsigned = || if is_negative && size != 0 { Err(out_of_range()) } else { Ok(size) };
    let unsigned_32 = || unsigned().and_then(|value| u32::try_from(value).map_err(|_| out_of_range()));
    Ok(match kind {
        Kind::Int32 => Scalar::Varint(i64::from(signed_32()?) as u64),
        Kind::Sint32 => Scalar::Varint(zigzag(signed_32()?.into())),
        Kind::Sfixed32 => Scalar::Fixed32(signed_32()? as u32),
        Kind::Uint32 => Scalar::Varint(unsigned_32()?.into()),
        Kind::Fixed32 => Scalar::Fixed32(unsigned_32()?),
        Kind::Int64 => Scalar::Varint(signed()? as u64),
        Kind::Sint64 => Scalar::Varint(zigzag(signed()?)),
        Kind::Sfixed64 => Scalar::Fixed64(signed()? as u64),
        Kind::Fixed64 => Scalar::Fixed64(unsigned()?),
        _ => Scalar::Varint(unsigned()?),
    })
}

fn signed(is_negative: bool, size: u64) -> Option<i64> {
    if is_negative { 0_i64.checked_sub_unsigned(size) } else { i64::try_from(size).ok() }
}

fn float_from_text(kind: Kind, text: &str, position: usize) -> Fallible<Scalar> {
    let special = match text {
        "NaN" => f64::NAN,
        "Infinity" => f64::INFINITY,
        "-Infinity" => f64::NEG_INFINITY,
        _ if is_number(text) => return float(kind, text, position),
        _ => return Err(Fault::new(ErrorKind::Value, position, format!("expected {}", expected(kind)))),
    };
    Ok(match kind {
        Kind::Float => Scalar::Fixed32((special as f32).to_bits()),
        _ => Scalar::Fixed64(special.to_bits()),
    })
}

#[inline]
fn float(kind: Kind, text: &str, position: usize) -> Fallible<Scalar> {
    let scalar = match kind {
        Kind::Float => text.parse().ok().filter(|value: &f32| value.is_finite()).map(|v| Scalar::Fixed32(v.to_bits())),
        _ => text.parse().ok().filter(|value: &f64| value.is_finite()).map(|v| Scalar::Fixed64(v.to_bits())),
    };
    scalar.ok_or_else(|| out_of_range(kind, position))
}

/// What a value of a kind is, for an error.
pub(super) fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => "a 32-bit integer",
        Kind::Uint32 | Kind::Fixed32 => "an unsigned 32-bit integer",
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "a 64-bit integer",
        Kind::Uint64 | Kind::Fixed64 => "an unsigned 64-bit integer",
        Kind::Float => "a 32-bit floating point number",
        Kind::Double => "a floating point number",
        Kind::Bool => "true or false",
        Kind::String => "a string",
        Kind::Bytes => "bytes in base64",
        Kind::Enum(_) => "the name or number of an enum value",
        Kind::Message(_) | Kind::Group(_) => "an object",
    }
}
