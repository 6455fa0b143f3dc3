//! From a line of a watch, or an item of a list, to what it says.
//!
//! Everything is read one object at a time, so that one that cannot be read is told by its name and
//! stops no other.

use mesh_api::condition::{ACCEPTED, Condition};
use serde_json::{Map, Value};

use super::kind::Kind;
use crate::{
    objects::{CONTROLLER, ObjectName, ObjectRef, Observed, Parents},
    source::decode::{Decoded, Object, decode},
};

/// The annotation of the bookmark behind the last object of a list that is streamed.
const LIST_ENDS: &str = "k8s.io/initial-events-end";

/// What a line of a watch says.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
    /// An object is there, as of this version.
    There(Box<Seen>, String),
    /// An object is gone, as of this version.
    Gone(ObjectName, String),
    /// This version is reached; the flag says that a streamed list is complete.
    Reached(String, bool),
    /// The watch cannot go on: the code and message of the API server's `Status`.
    Refused(u16, String),
    /// The line says nothing that can be understood.
    Unreadable(String),
}

/// An object as the API server showed it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    pub(super) name: ObjectName,
    /// What the model is given of it; nothing of what the model has no use for.
    pub(super) decoded: Option<Decoded>,
    /// The conditions in its status, of objects that are ours to write.
    pub(super) status: Option<Observed>,
    /// What its status says of a route's parents.
    pub(super) parents: Option<Parents>,
}

/// Reads a line.
pub(super) fn read(kind: Kind, line: &[u8]) -> Event {
    let mut event: Map<String, Value> = match serde_json::from_slice(line) {
        Ok(event) => event,
        Err(error) => return Event::Unreadable(format!("an event is no JSON object: {error}")),
    };
    let Some(Value::Object(object)) = event.remove("object") else {
        return Event::Unreadable("an event has no object".to_owned());
    };
    let type_ = event.get("type").and_then(Value::as_str).unwrap_or_default();
    if type_ == "ERROR" {
        let code = object.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
        return Event::Refused(code.unwrap_or(0), text(&object, "message").to_owned());
    }
    let metadata = object.get("metadata").and_then(Value::as_object);
    let version = metadata.map(|metadata| text(metadata, "resourceVersion")).unwrap_or_default().to_owned();
    if version.is_empty() {
        return Event::Unreadable(format!("an event of type `{type_}` has no metadata.resourceVersion"));
    }
    match type_ {
        "BOOKMARK" => {
            let annotations = metadata.and_then(|metadata| metadata.get("annotations"));
            let ends = annotations.and_then(|annotations| annotations.get(LIST_ENDS)?.as_str());
            Event::Reached(version, ends == Some("true"))
        }
        "ADDED" | "MODIFIED" => match see(kind, object) {
            Ok(seen) => Event::There(Box::new(seen), version),
            Err(error) => Event::Unreadable(error),
        },
        "DELETED" => match name(&object) {
            Some(name) => Event::Gone(name, version),
            None => Event::Unreadable("an object without metadata.name is gone".to_owned()),
        },
        other => Event::Unreadable(format!("an event has the unknown type `{other}`")),
    }
}

/// Reads an object. Items of a list, and objects of which only the metadata was asked for, do not
/// say what they are themselves.
pub(super) fn see(kind: Kind, mut object: Map<String, Value>) -> Result<Seen, String> {
    let Some(name) = name(&object) else {
        return Err("an object has no metadata.name".to_owned());
    };
    object.insert("apiVersion".to_owned(), kind.api_version().into());
    object.insert("kind".to_owned(), kind.name().into());
    kind.trim(&mut object);
    if kind == Kind::Definition {
        return Ok(Seen { name, decoded: None, status: None, parents: None });
    }
    let is_written = kind.has_conditions() && (kind != Kind::XMesh || names_us(&object));
    let status = is_written.then(|| Observed::of(object.get("status")));
    let parents = kind.route().map(|_| Parents::of(&object));
    let reference = reference(kind, name.clone());
    let mut decoded = decode(Value::Object(object), &reference).into_iter();
    let decoded = decoded.next().map(|decoded| match decoded {
        // Whatever the decoder calls it: it is this object.
        Decoded::Problem(_, condition) => Decoded::Problem(reference, condition),
        object => object,
    });
    Ok(Seen { name, decoded, status, parents })
}

/// What a problem of an object is reported under.
pub(super) fn reference(kind: Kind, name: ObjectName) -> ObjectRef {
    ObjectRef { api_version: kind.api_version().to_owned(), kind: kind.name().to_owned(), name }
}

/// An object that cannot be read but was before stays what it was.
pub(super) fn stays(condition: &Condition) -> Condition {
    let message = condition.message.trim_end_matches("; the object has no effect");
    let generation = condition.observed_generation;
    Condition::failed(ACCEPTED, &condition.reason, format!("{message}; as last read it stays in force"))
        .at(generation)
}

/// The object itself, if it was understood.
pub(super) fn object(decoded: &Decoded) -> Option<&Object> {
    match decoded {
        Decoded::Object(_, object) => Some(object),
        Decoded::Problem(..) => None,
    }
}

/// Whether what stands for a mesh stands for this one.
fn names_us(mesh: &Map<String, Value>) -> bool {
    mesh.get("spec").and_then(|spec| spec.get("controllerName")?.as_str()) == Some(CONTROLLER)
}

fn name(object: &Map<String, Value>) -> Option<ObjectName> {
    let metadata = object.get("metadata")?.as_object()?;
    let name = text(metadata, "name");
    (!name.is_empty()).then(|| ObjectName::new(text(metadata, "namespace"), name))
}

fn text<'a>(object: &'a Map<String, Value>, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Event, read, see};
    use crate::{
        objects::ObjectName,
        source::{
            decode::{Decoded, Object},
            kubernetes::kind::Kind,
        },
    };

    fn event(kind: Kind, type_: &str, object: &Value) -> Event {
        read(kind, json!({"type": type_, "object": object}).to_string().as_bytes())
    }

    #[test]
    fn objects_come_change_and_go() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "shop", "resourceVersion": "4"}});
        for type_ in ["ADDED", "MODIFIED"] {
            let Event::There(seen, version) = event(Kind::Pod, type_, &pod) else { panic!("{type_}") };
            assert_eq!((seen.name, version.as_str()), (ObjectName::new("shop", "p"), "4"));
            assert!(matches!(seen.decoded, Some(Decoded::Object(_, Object::Pod(_)))));
        }
        let gone = Event::Gone(ObjectName::new("shop", "p"), "4".to_owned());
        assert_eq!(event(Kind::Pod, "DELETED", &pod), gone);
    }

    #[test]
    fn metadata_alone_is_an_object_of_the_kind_that_was_asked_for() {
        let partial = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {"name": "shop", "resourceVersion": "4", "labels": {"a": "b"}}});
        let Event::There(seen, _) = event(Kind::Namespace, "ADDED", &partial) else { panic!() };
        assert!(matches!(seen.decoded, Some(Decoded::Object(_, Object::Namespace(_)))));
    }

    #[test]
    fn an_item_of_a_list_need_not_say_what_it_is() {
        let item = json!({"metadata": {"name": "n1"}});
        let seen = see(Kind::Node, item.as_object().unwrap().clone()).unwrap();
        assert!(matches!(seen.decoded, Some(Decoded::Object(_, Object::Node(_)))));
    }

    #[test]
    fn an_object_that_cannot_be_read_is_named_with_its_field() {
        let pod = json!({"metadata": {"name": "p", "namespace": "shop", "resourceVersion": "4"},
            "spec": {"containers": 3}});
        let Event::There(seen, _) = event(Kind::Pod, "ADDED", &pod) else { panic!() };
        let Some(Decoded::Problem(reference, condition)) = seen.decoded else { panic!() };
        assert_eq!(reference.to_string(), "Pod/shop/p");
        assert!(condition.message.contains("spec.containers: invalid type: integer `3`"), "{condition:?}");
    }

    #[test]
    fn bookmarks_and_the_end_of_a_streamed_list() {
        let bookmark = |annotations: Value| {
            let metadata = json!({"resourceVersion": "9", "annotations": annotations});
            event(Kind::Pod, "BOOKMARK", &json!({"kind": "Pod", "metadata": metadata}))
        };
        assert_eq!(bookmark(Value::Null), Event::Reached("9".to_owned(), false));
        assert_eq!(
            bookmark(json!({"k8s.io/initial-events-end": "true"})),
            Event::Reached("9".to_owned(), true)
        );
    }

    #[test]
    fn what_is_no_event_is_told() {
        let gone = event(Kind::Pod, "ERROR", &json!({"kind": "Status", "code": 410, "message": "too old"}));
        assert_eq!(gone, Event::Refused(410, "too old".to_owned()));
        for line in ["", "{", "[]", "{}", r#"{"type": "ADDED"}"#, r#"{"type": "ADDED", "object": {}}"#] {
            assert!(matches!(read(Kind::Pod, line.as_bytes()), Event::Unreadable(_)), "{line}");
        }
        let unknown =
            event(Kind::Pod, "RENAMED", &json!({"metadata": {"name": "x", "resourceVersion": "1"}}));
        assert!(matches!(unknown, Event::Unreadable(_)));
    }
}
