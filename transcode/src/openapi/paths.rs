//! The paths of the document.
//!
//! OpenAPI has one name for each segment, so a variable of several segments becomes one parameter for each `*` in it. Two
//! paths that differ only in names are one path: the names of the first one count.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::http_rule::{Segment, Template};

/// The field of a path item for an HTTP method.
pub(super) fn field_of(http_method: &str) -> Option<&'static str> {
    let fields = ["get", "put", "post", "delete", "patch", "head", "options", "trace"];
    fields.into_iter().find(|field| field.to_ascii_uppercase() == http_method)
}

#[derive(Debug, Default)]
pub(super) struct Paths {
    items: Map<String, Value>,
    /// The places by the paths without names.
    by_shape: HashMap<String, Place>,
}

/// A path of the document.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) path: String,
    /// The parameters of the path: one for each segment that is not literal.
    pub(super) parameters: Vec<Parameter>,
}

/// A parameter of a path.
#[derive(Debug, Clone)]
pub(super) struct Parameter {
    pub(super) name: String,
    /// The field, if the parameter is its whole value.
    pub(super) field: Option<String>,
    /// Whether it is the rest of the path.
    pub(super) is_rest: bool,
}

impl Paths {
    /// The path of a template.
    pub(super) fn place(&mut self, template: &Template) -> Place {
        let parameters = parameters(template);
        let shape = path(template, &mut parameters.iter().map(|_| ""));
        let first = self.by_shape.entry(shape).or_insert_with(|| Place {
            path: path(template, &mut parameters.iter().map(|parameter| &*parameter.name)),
            parameters: parameters.clone(),
        });
        let renamed = first.parameters.iter().zip(parameters);
        let parameters = renamed.map(|(first, mine)| Parameter { name: first.name.clone(), ..mine }).collect();
        Place { path: first.path.clone(), parameters }
    }

    pub(super) fn insert(&mut self, place: &Place, field: &str, operation: Value) {
        let item = self.items.entry(place.path.as_str()).or_insert_with(|| Map::new().into());
        if let Some(item) = item.as_object_mut() {
            item.insert(field.to_owned(), operation);
        }
    }

    pub(super) fn into_value(self) -> Value {
        self.items.into()
    }
}

/// The path of a template, with names for the segments that are not literal.
fn path<'a>(template: &Template, names: &mut impl Iterator<Item = &'a str>) -> String {
    let mut path = String::new();
    for segment in &template.segments {
        path.push('/');
        match segment {
            Segment::Literal(literal) => path.push_str(literal),
            _ => path.push_str(&format!("{{{}}}", names.next().unwrap_or_default())),
        }
    }
    let path = if path.is_empty() { "/".to_owned() } else { path };
    match template.verb() {
        Some(verb) => format!("{path}:{verb}"),
        None => path,
    }
}

fn parameters(template: &Template) -> Vec<Parameter> {
    let mut found = Vec::new();
    for (at, segment) in template.segments.iter().enumerate() {
        if matches!(segment, Segment::Literal(_)) {
            continue;
        }
        let is_rest = *segment == Segment::Rest;
        let variable = template.variables.iter().find(|variable| variable.segments.contains(&at));
        found.push(match variable {
            Some(variable) if variable.segments.len() == 1 => {
                Parameter { name: variable.field.clone(), field: Some(variable.field.clone()), is_rest }
            }
            Some(variable) => {
                let name = format!("{}_{}", variable.field, at + 1 - variable.segments.start);
                Parameter { name, field: None, is_rest }
            }
            None => Parameter { name: format!("segment_{}", at + 1), field: None, is_rest },
        });
    }
    found
}
