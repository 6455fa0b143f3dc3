//! The tree with values to text.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{super::yaml, Call, Node, Pipeline, Place, TemplateError, Term};

/// How deep templates may include one another; more is a circle.
const DEPTH: usize = 32;

type Named = BTreeMap<String, Vec<Node>>;

/// Renders nodes with a dot.
pub(super) fn render(named: &Named, nodes: &[Node], dot: &Value) -> Result<String, TemplateError> {
    let mut text = String::new();
    Run { named, depth: 0 }.nodes(nodes, dot, &mut text)?;
    Ok(text)
}

#[derive(Clone, Copy)]
struct Run<'a> {
    named: &'a Named,
    depth: usize,
}

impl Run<'_> {
    fn nodes(self, nodes: &[Node], dot: &Value, text: &mut String) -> Result<(), TemplateError> {
        for node in nodes {
            match node {
                Node::Text(said) => text.push_str(said),
                Node::Output(place, pipeline) => {
                    text.push_str(&shown(place, &self.pipeline(place, pipeline, dot)?)?);
                }
                Node::If(branches, otherwise) => {
                    let mut taken = otherwise;
                    for (place, condition, body) in branches {
                        if holds(&self.pipeline(place, condition, dot)?) {
                            taken = body;
                            break;
                        }
                    }
                    self.nodes(taken, dot, text)?;
                }
                Node::Range(place, pipeline, body) => match self.pipeline(place, pipeline, dot)? {
                    Value::Null => {}
                    Value::Array(elements) => {
                        for element in &elements {
                            self.nodes(body, element, text)?;
                        }
                    }
                    _ => return Err(place.error("`range` is over lists only")),
                },
                Node::With(place, pipeline, body) => {
                    let value = self.pipeline(place, pipeline, dot)?;
                    if holds(&value) {
                        self.nodes(body, &value, text)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn pipeline(self, place: &Place, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let mut last = None;
        for call in &pipeline.0 {
            last = Some(self.call(place, call, last, dot)?);
        }
        last.ok_or_else(|| place.error("something is missing"))
    }

    fn call(
        self,
        place: &Place,
        call: &Call,
        last: Option<Value>,
        dot: &Value,
    ) -> Result<Value, TemplateError> {
        let mut arguments = Vec::with_capacity(call.terms.len() + 1);
        for term in &call.terms {
            arguments.push(match term {
                Term::Field(path) => field(place, dot, path)?,
                Term::Literal(value) => value.clone(),
                Term::Group(pipeline) => self.pipeline(place, pipeline, dot)?,
            });
        }
        let Some(function) = &call.function else {
            // A term alone has no place for what comes down the pipeline.
            return match (arguments.pop(), last) {
                (Some(value), None) => Ok(value),
                _ => Err(place.error("a pipeline leads into functions only")),
            };
        };
        arguments.extend(last);
        self.function(place, function, &arguments)
    }

    fn function(self, place: &Place, name: &str, arguments: &[Value]) -> Result<Value, TemplateError> {
        match (name, arguments) {
            ("include", [Value::String(template), dot]) => {
                let nodes = self.named.get(template);
                let nodes =
                    nodes.ok_or_else(|| place.error(format!("no template `{template}` is defined")))?;
                if self.depth == DEPTH {
                    return Err(place.error(format!("`{template}` is included in a circle")));
                }
                let mut text = String::new();
                Self { depth: self.depth + 1, ..self }.nodes(nodes, dot, &mut text)?;
                Ok(Value::String(text))
            }
            ("toYaml", [value]) => Ok(Value::String(yaml::write(value))),
            ("nindent", [Value::Number(spaces), Value::String(text)]) => {
                let spaces = spaces.as_u64().and_then(|spaces| usize::try_from(spaces).ok());
                let spaces = spaces.ok_or_else(|| place.error("nindent takes a number of spaces"))?;
                // As Sprig does it: empty lines get the spaces as well.
                let margin = format!("\n{}", " ".repeat(spaces));
                Ok(Value::String(format!("{margin}{}", text.replace('\n', &margin))))
            }
            ("quote", [value]) => Ok(Value::String(Value::String(shown(place, value)?).to_string())),
            ("printf", [Value::String(format), value]) if format.matches('%').count() == 1 => {
                match format.split_once("%s") {
                    Some((before, after)) => {
                        Ok(Value::String(format!("{before}{}{after}", shown(place, value)?)))
                    }
                    None => Err(place.error("printf knows %s only")),
                }
            }
            ("add", [left, right]) => match (left.as_i64(), right.as_i64()) {
                (Some(left), Some(right)) => Ok(Value::from(left.saturating_add(right))),
                _ => Err(place.error("add takes whole numbers")),
            },
            ("not", [value]) => Ok(Value::Bool(!holds(value))),
            _ => {
                Err(place
                    .error(format!("no function `{name}` takes {} such arguments here", arguments.len())))
            }
        }
    }
}

/// A field of the dot; null where a map on the way does not have it, as in Helm. The values' types see to it that what
/// has to be there is.
fn field(place: &Place, dot: &Value, path: &[String]) -> Result<Value, TemplateError> {
    let mut value = dot;
    for name in path {
        match value {
            Value::Object(fields) => value = fields.get(name).unwrap_or(&Value::Null),
            _ => {
                return Err(
                    place.error(format!("`.{}`: `{name}` is asked of what is no map", path.join(".")))
                );
            }
        }
    }
    Ok(value.clone())
}

/// Whether a condition holds: everything but what is empty.
fn holds(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(elements) => !elements.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// A value as it is written into the text.
fn shown(place: &Place, value: &Value) -> Result<String, TemplateError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Null => Err(place.error("there is no such value, or it is null")),
        Value::Array(_) | Value::Object(_) => Err(place.error("a list or a map is written with toYaml")),
    }
}
