//! Values from text outside of JSON: path variables and query parameters.

use super::{
    scalar::{self, Scalar, Token, expected},
    well_known::{DURATION, FIELD_MASK, TIMESTAMP, put_field_mask, put_time},
};
use crate::{
    error::{ErrorKind, Fallible, Fault},
    plan::{FieldPlan, Kind, MessageId, MessagePlan, Plans, Shape},
    text::{base64, field_mask, time},
    wire::put_varint,
};

/// Appends a field from text. Zero is written too, as the bytes in front may hold another value.
///
/// # Errors
///
/// Fails if the text is not a value of the field, or if the field has no form as text.
pub(crate) fn append_text(plans: &Plans, steps: &[(MessageId, usize)], text: &str, out: &mut Vec<u8>) -> Fallible<()> {
    let Some((&(message, index), outer)) = steps.split_last() else { return Ok(()) };
    let field = &plans.message(message).fields[index];
    // The field, without the messages around it.
    let mut encoded = Vec::with_capacity(text.len() + 16);
    put_field(plans, field, text, &mut encoded).map_err(|fault| {
        steps
            .iter()
            .rev()
            .fold(fault, |fault, (message, index)| fault.in_field(&plans.message(*message).fields[*index].name))
    })?;
    for (message, index) in outer.iter().rev() {
        encoded = wrap(&plans.message(*message).fields[*index], &encoded);
    }
    out.extend(encoded);
    Ok(())
}

/// A field with an encoded message.
fn wrap(field: &FieldPlan, content: &[u8]) -> Vec<u8> {
    let mut wrapped = field.tag.bytes().to_vec();
    if let Kind::Group(_) = field.kind {
        wrapped.extend_from_slice(content);
        wrapped.extend_from_slice(field.end_tag.bytes());
    } else {
        put_varint(&mut wrapped, content.len() as u64);
        wrapped.extend_from_slice(content);
    }
    wrapped
}

fn put_field(plans: &Plans, field: &FieldPlan, text: &str, out: &mut Vec<u8>) -> Fallible<()> {
    let Kind::Message(id) = field.kind else { return put_value(plans, field, text, out) };
    let mut content = Vec::new();
    let plan = plans.message(id);
    match plan.shape {
        Shape::Wrapper => put_value(plans, plan.fixed(1), text, &mut content)?,
        Shape::Timestamp => put_time_text(plan, time::parse_timestamp(text), TIMESTAMP, &mut content)?,
        Shape::Duration => put_time_text(plan, time::parse_duration(text), DURATION, &mut content)?,
        Shape::FieldMask if put_field_mask(&mut content, plan, text, field_mask::put_either_case) => {}
        Shape::FieldMask => return Err(problem(FIELD_MASK)),
        _ => return Err(no_text()),
    }
    out.extend(wrap(field, &content));
    Ok(())
}

fn put_time_text(plan: &MessagePlan, time: Option<(i64, i32)>, expected: &str, out: &mut Vec<u8>) -> Fallible<()> {
    put_time(out, plan, time.ok_or_else(|| problem(expected))?, true);
    Ok(())
}

/// Writes a scalar. The element of a list is written unpacked, which decoders accept for every list.
fn put_value(plans: &Plans, field: &FieldPlan, text: &str, out: &mut Vec<u8>) -> Fallible<()> {
    out.extend_from_slice(field.tag.bytes());
    match field.kind {
        Kind::String => {
            put_varint(out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
        Kind::Bytes => {
            let mut decoded = Vec::new();
            if !base64::decode(text, &mut decoded) {
                return Err(problem(&format!("expected {}", expected(field.kind))));
            }
            put_varint(out, decoded.len() as u64);
            out.extend(decoded);
        }
        Kind::Message(_) | Kind::Group(_) => return Err(no_text()),
        kind => {
            let scalar: Option<Scalar> = scalar::from_token(plans, kind, Token::Bare(text), 0, false)?;
            if let Some(scalar) = scalar {
                scalar.put(out);
            }
        }
    }
    Ok(())
}

fn problem(message: &str) -> Box<Fault> {
    Fault::new(ErrorKind::Value, 0, message)
}

fn no_text() -> Box<Fault> {
    problem("the field is a message or a map: it has no form as text")
}
