//! Values of the user laid over the chart's, as Helm does it: maps are joined, null takes away, everything else is
//! replaced.

use std::str::FromStr;

use serde_json::{Map, Value};

use super::chart;

/// Why values cannot be laid over the chart's.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// The text is no YAML.
    #[error("{origin} is not valid YAML: {cause}")]
    Yaml {
        /// Where it comes from.
        origin: String,
        /// What is wrong.
        #[source]
        cause: serde_yaml_ng::Error,
    },
    /// The text is no map.
    #[error("{origin} must be a map of values, as deploy/chart/values.yaml is")]
    NoMap {
        /// Where it comes from.
        origin: String,
    },
    /// An assignment has no `=`.
    #[error("`{0}` is no assignment; write PATH=VALUE, such as controller.replicas=3")]
    NoAssignment(String),
}

/// The chart's own values.
#[must_use]
pub fn defaults() -> Value {
    read(chart::VALUES, "deploy/chart/values.yaml").expect("the chart's values are a map, a test reads them")
}

/// Reads a file of values.
///
/// # Errors
/// When it is no map in YAML.
pub fn read(text: &str, origin: &str) -> Result<Value, OverlayError> {
    let value: Value = serde_yaml_ng::from_str(text)
        .map_err(|cause| OverlayError::Yaml { origin: origin.to_owned(), cause })?;
    match value {
        Value::Null => Ok(Value::Object(Map::new())),
        Value::Object(_) => Ok(value),
        _ => Err(OverlayError::NoMap { origin: origin.to_owned() }),
    }
}

/// Lays `over` over `values`.
pub fn lay_over(values: &mut Value, over: &Value) {
    match (values, over) {
        (Value::Object(values), Value::Object(over)) => {
            for (name, value) in over {
                if value.is_null() {
                    values.remove(name);
                } else {
                    lay_over(values.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        (values, over) => *values = over.clone(),
    }
}

/// One value of a command line: `PATH=VALUE`, the value as YAML writes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    path: Vec<String>,
    value: Value,
}

impl FromStr for Assignment {
    type Err = OverlayError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (path, value) = text
            .split_once('=')
            .filter(|(path, _)| !path.split('.').any(str::is_empty))
            .ok_or_else(|| OverlayError::NoAssignment(text.to_owned()))?;
        let value = match value {
            "" => Value::String(String::new()),
            value => serde_yaml_ng::from_str(value)
                .map_err(|cause| OverlayError::Yaml { origin: format!("the value of {path}"), cause })?,
        };
        Ok(Self { path: path.split('.').map(str::to_owned).collect(), value })
    }
}

impl Assignment {
    /// As values that can be laid over others.
    #[must_use]
    pub fn values(&self) -> Value {
        self.path
            .iter()
            .rev()
            .fold(self.value.clone(), |value, name| Value::Object(Map::from_iter([(name.clone(), value)])))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Assignment, lay_over};

    #[test]
    fn maps_are_joined_null_takes_away_and_everything_else_is_replaced() {
        let mut values = json!({"a": {"b": 1, "c": [1, 2]}, "d": {"e": "f"}});
        lay_over(&mut values, &json!({"a": {"c": [3]}, "d": null, "g": {"h": true}}));
        assert_eq!(values, json!({"a": {"b": 1, "c": [3]}, "g": {"h": true}}));
    }

    #[test]
    fn an_assignment_is_a_path_and_yaml() {
        let values = |text: &str| text.parse::<Assignment>().unwrap().values();
        assert_eq!(values("controller.replicas=3"), json!({"controller": {"replicas": 3}}));
        assert_eq!(values("agent.uplinks=[up0, up1]"), json!({"agent": {"uplinks": ["up0", "up1"]}}));
        assert_eq!(values("images.tag="), json!({"images": {"tag": ""}}));
        assert_eq!(values("agent.log=info,mesh=debug"), json!({"agent": {"log": "info,mesh=debug"}}));
        for wrong in ["", "a.b", "=1", ".a=1", "a..b=1", "a=[1"] {
            wrong.parse::<Assignment>().unwrap_err();
        }
    }
}
