//! The one `MeshConfig`, read.

mod ca;

use std::collections::BTreeMap;

use mesh_api::{
    crd::{
        Access, AccessLogFormat, AccessLogLevel, Encryption, LabelSelector, MtlsFloor, Tunnel, UnknownPods,
    },
    resources::{AccessLog, NodeConfig, access_log},
};
use serde_json::Value;

use super::fields::{Field, Fields, INVALID, Problem, UNKNOWN_FIELD};
use crate::objects::Custom;

pub use ca::CaSettings;

/// The name of the only `MeshConfig`.
pub(crate) const SINGLETON: &str = "default";

/// What holds in the whole mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// 0 where there is no `MeshConfig`.
    pub(super) generation: i64,
    pub(super) trust_domain: String,
    pub(super) unknown_closed: bool,
    /// Enrols where no label decides.
    pub(super) enrolment: Option<LabelSelector>,
    pub(super) access_log: AccessLog,
    pub(super) ca: CaSettings,
    defaults: NamespaceSettings,
    namespaces: BTreeMap<String, NamespaceSettings>,
}

/// What holds in a namespace where no policy decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NamespaceSettings {
    pub(super) deny_ingress: bool,
    pub(super) deny_egress: bool,
    pub(super) allow_dns: bool,
    pub(super) require_mtls: bool,
    pub(super) encrypt_always: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            generation: 0,
            trust_domain: "cluster.local".to_owned(),
            unknown_closed: false,
            enrolment: None,
            access_log: AccessLog::default(),
            ca: CaSettings::default(),
            defaults: NamespaceSettings {
                deny_ingress: false,
                deny_egress: false,
                allow_dns: true,
                require_mtls: false,
                encrypt_always: false,
            },
            namespaces: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// What holds in a namespace.
    pub(super) fn of_namespace(&self, namespace: &str) -> NamespaceSettings {
        self.namespaces.get(namespace).copied().unwrap_or(self.defaults)
    }

    /// What every node is told.
    pub(super) fn node_config(&self) -> NodeConfig {
        NodeConfig {
            trust_domain: self.trust_domain.clone(),
            unknown_closed: self.unknown_closed,
            access_log: Some(self.access_log),
            mesh_config_generation: self.generation,
        }
    }
}

/// Reads a `MeshConfig`. What is invalid in it takes its closed value, and where a map has an
/// unknown field (a misspelt one, perhaps) so does whatever else that map leaves out.
pub(super) fn read(config: &Custom) -> (Settings, Vec<Problem>) {
    let mut settings = Settings { generation: config.generation, ..Settings::default() };
    let mut problems = Vec::new();
    for field in &config.unknown_fields {
        let message = format!("{field}: unknown field; valid are apiVersion, kind, metadata, spec, status");
        problems.push(Problem { reason: UNKNOWN_FIELD, message });
    }
    let mut spec = Fields::of(&config.spec, "spec", &mut problems);
    if let Some(domain) = spec.get::<String>("trustDomain", &mut problems).valid() {
        // Any valid identity shows that the domain is one.
        match mesh_api::SpiffeId::new(&domain, "n", "s") {
            Ok(_) => settings.trust_domain = domain,
            Err(error) => problems.push(Problem::invalid("spec.trustDomain", error.to_string())),
        }
    }
    let defaults = spec.raw("defaults").unwrap_or(&Value::Null);
    let namespaces = spec.get::<Vec<Value>>("namespaces", &mut problems);
    let enrolment = spec.raw("enrolment").unwrap_or(&Value::Null);
    let ca = spec.raw("ca").unwrap_or(&Value::Null);
    // Both values mean HBONE, and so does one that is not valid: there is no other form.
    let _: Field<Tunnel> = spec.get("tunnel", &mut problems);
    let telemetry = spec.raw("telemetry").unwrap_or(&Value::Null);
    let unclear = spec.finish(&mut problems) || !config.unknown_fields.is_empty();

    let mut fields = Fields::of(defaults, "spec.defaults", &mut problems);
    let overrides = Overrides::read(&mut fields, &mut problems);
    let closed = fields.finish(&mut problems) || (unclear && defaults.is_null());
    settings.defaults = overrides.closed_if(closed).over(settings.defaults);
    read_namespaces(namespaces, &mut settings, &mut problems);
    read_enrolment(enrolment, unclear, &mut settings, &mut problems);
    settings.access_log = read_telemetry(telemetry, &mut problems);
    settings.ca = ca::read(ca, &mut problems);
    (settings, problems)
}

fn read_namespaces(entries: Field<Vec<Value>>, settings: &mut Settings, problems: &mut Vec<Problem>) {
    let mut named: BTreeMap<String, NamespaceSettings> = BTreeMap::new();
    for (index, entry) in entries.valid().unwrap_or_default().iter().enumerate() {
        let path = format!("spec.namespaces[{index}]");
        let mut fields = Fields::of(entry, &path, problems);
        let names: Vec<String> = fields.get("names", problems).valid().unwrap_or_default();
        if names.is_empty() {
            problems.push(Problem::invalid(&fields.path("names"), "must list at least one namespace"));
        }
        let overrides = Overrides::read(&mut fields, problems);
        let closed = fields.finish(problems);
        let own = overrides.closed_if(closed).over(settings.defaults);
        for name in names {
            named.entry(name).and_modify(|other| *other = other.strictest(own)).or_insert(own);
        }
    }
    settings.namespaces = named;
}

fn read_enrolment(value: &Value, unclear: bool, settings: &mut Settings, problems: &mut Vec<Problem>) {
    let mut fields = Fields::of(value, "spec.enrolment", problems);
    let unknown = fields.get("unknown", problems).or_closed(UnknownPods::Closed);
    let selector: Option<LabelSelector> = fields.get("selector", problems).valid();
    let fault = selector.as_ref().and_then(LabelSelector::problem);
    if let Some(fault) = &fault {
        let effect = format!("{fault}; only the label mesh.internal/mode enrols until it is corrected");
        problems.push(Problem::invalid(&fields.path("selector"), effect));
    }
    let closed = fields.finish(problems) || (unclear && value.is_null());
    let default = if closed { UnknownPods::Closed } else { UnknownPods::Open };
    settings.unknown_closed = unknown.unwrap_or(default) == UnknownPods::Closed;
    settings.enrolment = selector.filter(|_| fault.is_none());
}

fn read_telemetry(value: &Value, problems: &mut Vec<Problem>) -> AccessLog {
    let mut telemetry = Fields::of(value, "spec.telemetry", problems);
    let log = telemetry.raw("accessLog").unwrap_or(&Value::Null);
    telemetry.finish(problems);
    let mut fields = Fields::of(log, "spec.telemetry.accessLog", problems);
    let format = match fields.get("format", problems).valid() {
        Some(AccessLogFormat::Text) => access_log::Format::Text,
        Some(AccessLogFormat::Json) | None => access_log::Format::Json,
    };
    let level = match fields.get("level", problems).valid() {
        Some(AccessLogLevel::All) => access_log::Level::All,
        Some(AccessLogLevel::Off) => access_log::Level::Off,
        Some(AccessLogLevel::Denied) | None => access_log::Level::Denied,
    };
    fields.finish(problems);
    AccessLog { format: format.into(), level: level.into() }
}

/// What one map says; nothing where it leaves a field out.
#[derive(Debug, Clone, Copy, Default)]
struct Overrides {
    deny_ingress: Option<bool>,
    deny_egress: Option<bool>,
    allow_dns: Option<bool>,
    require_mtls: Option<bool>,
    encrypt_always: Option<bool>,
}

impl Overrides {
    fn read(fields: &mut Fields<'_>, problems: &mut Vec<Problem>) -> Self {
        let access = fields.get("access", problems).or_closed(Access::Deny);
        let mtls = fields.get("mtls", problems).or_closed(MtlsFloor::Required);
        let encryption = fields.get("encryption", problems).or_closed(Encryption::Always);
        let path = fields.path("egress");
        let mut egress = Fields::of(fields.raw("egress").unwrap_or(&Value::Null), path, problems);
        let egress_access = egress.get("access", problems).or_closed(Access::Deny);
        let allow_dns = egress.get("allowDNS", problems).valid();
        let unclear = egress.finish(problems);
        let denies = |access: Access| access == Access::Deny;
        Self {
            deny_ingress: access.map(denies),
            deny_egress: egress_access.map(denies).or(unclear.then_some(true)),
            allow_dns,
            require_mtls: mtls.map(|mtls| mtls == MtlsFloor::Required),
            encrypt_always: encryption.map(|encryption| encryption == Encryption::Always),
        }
    }

    fn closed_if(self, unclear: bool) -> Self {
        let or_closed = |value: Option<bool>| value.or(unclear.then_some(true));
        Self {
            deny_ingress: or_closed(self.deny_ingress),
            deny_egress: or_closed(self.deny_egress),
            require_mtls: or_closed(self.require_mtls),
            encrypt_always: or_closed(self.encrypt_always),
            ..self
        }
    }

    fn over(self, below: NamespaceSettings) -> NamespaceSettings {
        NamespaceSettings {
            deny_ingress: self.deny_ingress.unwrap_or(below.deny_ingress),
            deny_egress: self.deny_egress.unwrap_or(below.deny_egress),
            allow_dns: self.allow_dns.unwrap_or(below.allow_dns),
            require_mtls: self.require_mtls.unwrap_or(below.require_mtls),
            encrypt_always: self.encrypt_always.unwrap_or(below.encrypt_always),
        }
    }
}

impl NamespaceSettings {
    fn strictest(self, other: Self) -> Self {
        Self {
            deny_ingress: self.deny_ingress || other.deny_ingress,
            deny_egress: self.deny_egress || other.deny_egress,
            allow_dns: self.allow_dns && other.allow_dns,
            require_mtls: self.require_mtls || other.require_mtls,
            encrypt_always: self.encrypt_always || other.encrypt_always,
        }
    }
}

/// The problem of a `MeshConfig` that is not the one.
pub(super) fn not_the_singleton(name: &str) -> Problem {
    Problem {
        reason: INVALID,
        message: format!(
            "metadata.name `{name}`: the only MeshConfig is named {SINGLETON}; this one has no effect"
        ),
    }
}
