//! Reading the directory. A file that stops being readable keeps its last good content, as the controller does, so
//! that a slip in one file takes no pod down.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use k8s_openapi::{ByteString, Metadata, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::Deserialize as _;
use serde_yaml_ng::Value;

use super::{Error, Key, Manifests, PodManifest, check, expand, kind, kind::Object};

/// A directory of manifests and what was last read of it.
#[derive(Debug)]
pub struct Source {
    directory: PathBuf,
    files: BTreeMap<PathBuf, Loaded>,
}

#[derive(Debug)]
struct Loaded {
    text: String,
    objects: Vec<Object>,
}

impl Source {
    /// The directory's manifests, nothing read yet.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), files: BTreeMap::new() }
    }

    /// Reads what changed and gives everything, with all that is wrong: objects that could not be taken are left out,
    /// files that could not be read count as before.
    pub fn read(&mut self) -> (Manifests, Vec<Error>) {
        let mut errors = Vec::new();
        match files_of(&self.directory) {
            Ok(present) => {
                self.files.retain(|path, _| present.contains(path));
                for path in present {
                    self.read_file(path, &mut errors);
                }
            }
            Err(source) => errors.push(Error::Read { path: self.directory.clone(), source }),
        }
        (self.assemble(&mut errors), errors)
    }

    fn read_file(&mut self, path: PathBuf, errors: &mut Vec<Error>) {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            // Removed since the directory was listed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(source) => return errors.push(Error::Read { path, source }),
        };
        if self.files.get(&path).is_some_and(|loaded| loaded.text == text) {
            return;
        }
        match parse(&shown(&path), &text) {
            Ok(objects) => {
                self.files.insert(path, Loaded { text, objects });
            }
            Err(error) => errors.push(error),
        }
    }

    fn assemble(&self, errors: &mut Vec<Error>) -> Manifests {
        let mut all = Manifests::default();
        let mut workloads = Vec::new();
        for (path, loaded) in &self.files {
            for object in &loaded.objects {
                if let Err(error) = add(&mut all, &mut workloads, object, &shown(path)) {
                    errors.push(error);
                }
            }
        }
        let nodes = expand::nodes(&all);
        for workload in workloads {
            for pod in expand::pods(&workload, &nodes) {
                let added = check::pod(&pod).and_then(|()| {
                    insert(&mut all.pods, PodManifest { pod, generated: true }, "Pod", "its controller")
                });
                errors.extend(added.err());
            }
        }
        all.passed_over.sort();
        all.passed_over.dedup();
        all
    }
}

/// The YAML and JSON files of the directory and below, in order; what begins with a dot is nobody's business.
fn files_of(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_of(&path)?);
        } else if path
            .extension()
            .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn shown(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn parse(file: &str, text: &str) -> Result<Vec<Object>, Error> {
    let mut objects = Vec::new();
    for (number, document) in serde_yaml_ng::Deserializer::from_str(text).enumerate() {
        let document = Value::deserialize(document).map_err(|source| Error::Yaml {
            file: file.to_owned(),
            document: number + 1,
            source,
        })?;
        parse_document(file, number + 1, document, &mut objects)?;
    }
    Ok(objects)
}

fn parse_document(
    file: &str,
    number: usize,
    mut document: Value,
    objects: &mut Vec<Object>,
) -> Result<(), Error> {
    if document.is_null() {
        return Ok(());
    }
    let text = |field: &str| document.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, api_version) = (text("kind"), text("apiVersion"));
    if kind == "List" && api_version == "v1" {
        let items = document.get_mut("items").map(Value::take_items).unwrap_or_default();
        return items.into_iter().try_for_each(|item| parse_document(file, number, item, objects));
    }
    let name = document.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Value::as_str);
    let name = name.unwrap_or_default().to_owned();
    let Some(object) = kind::object(document, &kind, &api_version) else {
        return Err(Error::UnknownKind { file: file.to_owned(), document: number, kind, api_version });
    };
    objects.push(object.map_err(|source| Error::Object { file: file.to_owned(), kind, name, source })?);
    Ok(())
}

/// Takes the items out of a sequence.
trait TakeItems {
    fn take_items(&mut self) -> Vec<Value>;
}

impl TakeItems for Value {
    fn take_items(&mut self) -> Vec<Value> {
        self.as_sequence_mut().map(std::mem::take).unwrap_or_default()
    }
}

fn add(all: &mut Manifests, workloads: &mut Vec<Object>, object: &Object, file: &str) -> Result<(), Error> {
    match object.clone() {
        Object::Namespace(namespace) => insert_by_name(&mut all.namespaces, namespace, "Namespace", file),
        Object::Node(node) => insert_by_name(&mut all.nodes, node, "Node", file),
        Object::Pod(pod) => {
            check::pod(&pod)?;
            insert(&mut all.pods, PodManifest { pod, generated: false }, "Pod", file)
        }
        Object::Service(service) => {
            check::service(&service)?;
            insert(&mut all.services, service, "Service", file)
        }
        Object::EndpointSlice(slice) => insert(&mut all.slices, slice, "EndpointSlice", file),
        Object::ConfigMap(map) => insert(&mut all.config_maps, map, "ConfigMap", file),
        Object::Secret(mut secret) => {
            for (name, text) in secret.string_data.take().unwrap_or_default() {
                secret.data.get_or_insert_default().insert(name, ByteString(text.into_bytes()));
            }
            insert(&mut all.secrets, secret, "Secret", file)
        }
        Object::PassedOver(kind) => {
            all.passed_over.push(kind);
            Ok(())
        }
        workload => {
            workloads.push(workload);
            Ok(())
        }
    }
}

/// What has a namespace and a name.
trait Named {
    fn metadata(&self) -> &ObjectMeta;
    fn metadata_mut(&mut self) -> &mut ObjectMeta;
}

impl<T: Metadata<Ty = ObjectMeta>> Named for T {
    fn metadata(&self) -> &ObjectMeta {
        Metadata::metadata(self)
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        Metadata::metadata_mut(self)
    }
}

impl Named for PodManifest {
    fn metadata(&self) -> &ObjectMeta {
        &self.pod.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.pod.metadata
    }
}

fn insert<T: Named>(
    map: &mut BTreeMap<Key, T>,
    mut object: T,
    kind: &'static str,
    file: &str,
) -> Result<(), Error> {
    let namespace = object.metadata_mut().namespace.get_or_insert_with(|| "default".to_owned()).clone();
    let key = Key::new(namespace, check::name(kind, object.metadata())?);
    if map.contains_key(&key) {
        return Err(Error::Duplicate { kind: kind.to_owned(), name: key.to_string(), file: file.to_owned() });
    }
    map.insert(key, object);
    Ok(())
}

fn insert_by_name<T: Named>(
    map: &mut BTreeMap<String, T>,
    object: T,
    kind: &'static str,
    file: &str,
) -> Result<(), Error> {
    let name = check::name(kind, object.metadata())?.to_owned();
    if map.contains_key(&name) {
        return Err(Error::Duplicate { kind: kind.to_owned(), name, file: file.to_owned() });
    }
    map.insert(name, object);
    Ok(())
}
