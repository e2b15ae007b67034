//! Coerces the values of variables and arguments to their types, as the specification states (section 6.1.2 and 6.4.1).

use std::{collections::HashMap, fmt};

use async_graphql::{
    Name, Value, Variables,
    indexmap::IndexMap,
    parser::types::{OperationDefinition, VariableDefinition},
    registry::{MetaInputValue, MetaType, Registry},
};
use async_graphql_value::Value as Literal;
use serde_json::{Map, Value as Json};
use transcode::shorten;

use crate::refused::Refused;

/// The members of an input object, or the arguments of a field.
pub(crate) type Members = IndexMap<Name, Value>;

/// The variables that an operation declares, by name.
pub(crate) type Declared<'a> = HashMap<&'a str, &'a VariableDefinition>;

/// The variables that an operation declares.
pub(crate) fn declared(operation: &OperationDefinition) -> Declared<'_> {
    operation.variable_definitions.iter().map(|of| (of.node.name.node.as_str(), &of.node)).collect()
}

/// The maximum number of lists around the type of a variable.
const LISTS: usize = 4;

/// Refuses variables whose type is none of the schema's input types. Validation expects that each type exists.
pub(crate) fn check_types(operation: &OperationDefinition, registry: &Registry) -> Result<(), Refused> {
    for variable in &operation.variable_definitions {
        let (name, ty) = (&variable.node.name.node, variable.node.var_type.node.to_string());
        let problem = match registry.concrete_type_by_parsed_type(&variable.node.var_type.node) {
            None => "the schema does not have",
            Some(of) if !of.is_input() => "is not an input type",
            Some(_) if ty.bytes().filter(|byte| *byte == b'[').count() > LISTS => "nests too many lists",
            Some(_) => continue,
        };
        let (name, ty) = (shorten(name), shorten(&ty));
        return Err(Refused::invalid(format!("the variable `${name}` has the type {ty}, which {problem}")));
    }
    Ok(())
}

/// The values of the variables that an operation declares. A variable without a value and without a default is absent.
pub(crate) fn variables(
    operation: &OperationDefinition,
    sent: &Map<String, Json>,
    registry: &Registry,
) -> Result<Variables, Refused> {
    let (nothing, mut values) = (Variables::default(), Variables::default());
    let coercion = Coercion { registry, variables: &nothing, declared: &Declared::new() };
    for variable in &operation.variable_definitions {
        let (name, ty) = (&variable.node.name.node, variable.node.var_type.node.to_string());
        let refused = |problem: String| Refused::invalid(format!("the variable `${}`{problem}", shorten(name)));
        let sent = sent.get(name.as_str()).map(|json| Value::from_json(json.clone()));
        let value = match (sent, &variable.node.default_value) {
            (Some(Ok(value)), _) => value,
            (Some(Err(error)), _) => return Err(refused(format!(": {error}"))),
            (None, Some(default)) => default.node.clone(),
            (None, None) if ty.ends_with('!') => {
                return Err(refused(format!(" of the type {ty} has no value")));
            }
            (None, None) => continue,
        };
        let value = coercion.value(&value.into_value(), &ty);
        let value = value.map_err(|problem| refused(problem.to_string()))?;
        values.extend(value.map(|value| (name.clone(), value)));
    }
    Ok(values)
}

/// Coerces values that may contain variables.
pub(crate) struct Coercion<'a> {
    pub(crate) registry: &'a Registry,
    /// The values of the operation's variables, which have been coerced.
    pub(crate) variables: &'a Variables,
    pub(crate) declared: &'a Declared<'a>,
}

/// Why a value does not have its type, and where in the value.
#[derive(Debug)]
pub(crate) struct InputProblem {
    path: String,
    problem: String,
}

impl InputProblem {
    fn new(problem: impl Into<String>) -> Self {
        Self { path: String::new(), problem: problem.into() }
    }

    fn within(self, step: &str) -> Self {
        Self { path: format!("{step}{}", self.path), ..self }
    }
}

impl fmt::Display for InputProblem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, problem } = self;
        if path.is_empty() { write!(out, ": {problem}") } else { write!(out, " at {path}: {problem}") }
    }
}

impl Coercion<'_> {
    /// The arguments of a field.
    pub(crate) fn arguments<'v>(
        &self,
        declared: &IndexMap<String, MetaInputValue>,
        find: impl Fn(&str) -> Option<&'v Literal>,
    ) -> Result<Members, InputProblem> {
        let mut members = Members::new();
        for (name, argument) in declared {
            let within = |problem: InputProblem| problem.within(&format!(".{name}"));
            let value = match find(name) {
                Some(literal) => self.value(literal, &argument.ty).map_err(within)?,
                None => None,
            };
            match value {
                Some(value) => drop(members.insert(Name::new(name), value)),
                None if argument.ty.ends_with('!') && argument.default_value.is_none() => {
                    return Err(within(InputProblem::new(format!("a value of the type {} is missing", argument.ty))));
                }
                None => {}
            }
        }
        Ok(members)
    }

    /// Coerces a value; `None`: it is a variable without a value.
    fn value(&self, literal: &Literal, ty: &str) -> Result<Option<Value>, InputProblem> {
        if let Literal::Variable(name) = literal {
            self.check_usage(name, ty)?;
            return match self.variables.get(name) {
                Some(Value::Null) if ty.ends_with('!') => Err(InputProblem::new(format!("{ty} is not null"))),
                value => Ok(value.cloned()),
            };
        }
        let (ty, may_be_null) = ty.strip_suffix('!').map_or((ty, true), |ty| (ty, false));
        match literal {
            Literal::Null if may_be_null => Ok(Some(Value::Null)),
            Literal::Null => Err(InputProblem::new(format!("{ty}! is not null"))),
            _ => match ty.strip_prefix('[').and_then(|ty| ty.strip_suffix(']')) {
                Some(of) => self.list(literal, of),
                None => self.named(literal, ty).map(Some),
            },
        }
    }

    /// Refuses a variable whose type is not that of its place: its value has been coerced to its own type.
    fn check_usage(&self, name: &str, ty: &str) -> Result<(), InputProblem> {
        let Some(variable) = self.declared.get(name) else {
            return Err(InputProblem::new(format!("the variable `${}` is not declared", shorten(name))));
        };
        let of = variable.var_type.node.to_string();
        let has_default = variable.default_value.as_ref().is_some_and(|default| default.node != Value::Null);
        if fits(&of, if has_default { ty.strip_suffix('!').unwrap_or(ty) } else { ty }) {
            return Ok(());
        }
        let name = shorten(name);
        Err(InputProblem::new(format!("the variable `${name}` of the type {of} stands where {ty} is expected")))
    }

    fn list(&self, literal: &Literal, of: &str) -> Result<Option<Value>, InputProblem> {
        let element = |(at, literal): (usize, &Literal)| match self.value(literal, of) {
            Ok(None) if of.ends_with('!') => Err(InputProblem::new(format!("{of} is not null"))),
            Ok(value) => Ok(value.unwrap_or_default()),
            Err(problem) => Err(problem.within(&format!("[{at}]"))),
        };
        let items = match literal {
            Literal::List(items) => items.iter().enumerate().map(element).collect::<Result<Vec<_>, _>>()?,
            // A single value stands for a list of one.
            one => vec![element((0, one))?],
        };
        Ok(Some(Value::List(items)))
    }

    fn named(&self, literal: &Literal, ty: &str) -> Result<Value, InputProblem> {
        match (self.registry.types.get(ty), literal) {
            (Some(MetaType::InputObject { input_fields, .. }), Literal::Object(members)) => {
                if let Some(name) = members.keys().find(|name| !input_fields.contains_key(name.as_str())) {
                    return Err(InputProblem::new(format!("{ty} has no field `{}`", shorten(name))));
                }
                self.arguments(input_fields, |name| members.get(name)).map(Value::Object)
            }
            (Some(MetaType::Enum { enum_values, .. }), Literal::Enum(_) | Literal::String(_)) => {
                let name = match literal {
                    Literal::Enum(name) => name.as_str(),
                    Literal::String(name) => name,
                    _ => "",
                };
                let known = enum_values.contains_key(name).then(|| Value::Enum(Name::new(name)));
                known.ok_or_else(|| InputProblem::new(format!("{ty} has no value `{}`", shorten(name))))
            }
            (Some(MetaType::Scalar { .. }), literal) if is_scalar(literal, ty) => {
                // A variable without a value is null within JSON.
                let variable =
                    |name: Name| Ok::<_, InputProblem>(self.variables.get(&name).cloned().unwrap_or_default());
                literal.clone().into_const_with(variable)
            }
            _ => Err(InputProblem::new(format!("a value of the type {ty} is expected"))),
        }
    }
}

/// Whether a variable of the type `of` may stand where `ty` is expected.
fn fits(of: &str, ty: &str) -> bool {
    let list = |ty: &str| ty.strip_prefix('[').and_then(|ty| ty.strip_suffix(']')).map(str::to_owned);
    match (of.strip_suffix('!'), ty.strip_suffix('!')) {
        (None, Some(_)) => false,
        (Some(of), ty_not_null) => fits(of, ty_not_null.unwrap_or(ty)),
        (None, None) => match (list(of), list(ty)) {
            (Some(of), Some(ty)) => fits(&of, &ty),
            (None, None) => of == ty,
            _ => false,
        },
    }
}

/// Whether a scalar has the type. The conversion to protobuf checks custom ones.
fn is_scalar(literal: &Literal, ty: &str) -> bool {
    match (ty, literal) {
        ("Int", Literal::Number(number)) => number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        ("Float", Literal::Number(_)) | ("String" | "ID", Literal::String(_)) | ("Boolean", Literal::Boolean(_)) => {
            true
        }
        ("ID", Literal::Number(number)) => number.is_i64() || number.is_u64(),
        ("Int" | "Float" | "String" | "Boolean" | "ID", _) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_stand_where_their_type_fits() {
        for (of, ty, is_allowed) in [
            ("Int", "Int", true),
            ("Int!", "Int", true),
            ("Int", "Int!", false),
            ("[Int!]!", "[Int]", true),
            ("[Int]", "[Int!]", false),
            ("Int", "[Int]", false),
            ("[Int]", "Int", false),
            ("Int", "Float", false),
        ] {
            assert_eq!(fits(of, ty), is_allowed, "{of} for {ty}");
        }
    }
}
