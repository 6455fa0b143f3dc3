//! Filters of rules and backends.

use http::{HeaderName, HeaderValue};
use mesh_api::resources as wire;
use mesh_l7::filter::Filter;
use mesh_l7::filter::cors::{Cors, Names};
use mesh_l7::filter::headers::HeaderModifier;
use mesh_l7::filter::mirror::{Fraction, Mirror};
use mesh_l7::filter::origin::OriginMatch;
use mesh_l7::filter::redirect::{Redirect, RedirectStatus, Scheme};
use mesh_l7::filter::rewrite::{Hostname, PathModifier, Rewrite};

use crate::relay::resource::error::Fault;
use crate::relay::resource::field::{indexed, port};

pub(super) fn filter(message: wire::RouteFilter) -> Result<Filter, Fault> {
    use wire::route_filter::Filter as Wire;
    match message.filter {
        Some(Wire::RequestHeaders(message)) => {
            modifier(message).map(Filter::RequestHeaders).map_err(|fault| fault.within("request_headers"))
        }
        Some(Wire::ResponseHeaders(message)) => {
            modifier(message).map(Filter::ResponseHeaders).map_err(|fault| fault.within("response_headers"))
        }
        Some(Wire::Redirect(message)) => {
            redirect(message).map(Filter::Redirect).map_err(|fault| fault.within("redirect"))
        }
        Some(Wire::Rewrite(message)) => {
            rewrite(message).map(Filter::Rewrite).map_err(|fault| fault.within("rewrite"))
        }
        Some(Wire::Mirror(message)) => {
            mirror(message).map(Filter::Mirror).map_err(|fault| fault.within("mirror"))
        }
        Some(Wire::Cors(message)) => cors(message).map(Filter::Cors).map_err(|fault| fault.within("cors")),
        None => Err(Fault::new("filter", "absent", "no filter this agent knows")),
    }
}

fn modifier(message: wire::HeaderModifier) -> Result<HeaderModifier, Fault> {
    let name = |text: &str| {
        HeaderName::from_bytes(text.as_bytes())
            .map_err(|_| Fault::new("name", text, "no name of a header field"))
    };
    let field = |header: wire::Header| {
        let value = HeaderValue::from_str(&header.value);
        let value = value.map_err(|_| Fault::new("value", &header.value, "no value of a header field"))?;
        Ok((name(&header.name)?, value))
    };
    let set = indexed("set", message.set, field)?;
    let add = indexed("add", message.add, field)?;
    let remove = indexed("remove", message.remove, |text| name(&text))?;
    HeaderModifier::new(set, add, remove)
        .map_err(|error| Fault::new("name", error, "a filter may not change it, or not twice"))
}

fn path(message: wire::PathModifier) -> Result<PathModifier, Fault> {
    let parsed = match message.modifier {
        Some(wire::path_modifier::Modifier::Full(value)) => PathModifier::full(&value),
        Some(wire::path_modifier::Modifier::Prefix(value)) => PathModifier::prefix(&value),
        None => return Err(Fault::new("path", "absent", "no way to change paths this agent knows")),
    };
    parsed.map_err(|error| Fault::new("path", error, "no path can be made of it"))
}

fn hostname(value: &str) -> Result<Option<Hostname>, Fault> {
    match value {
        "" => Ok(None),
        value => Hostname::parse(value).map(Some).map_err(|error| Fault::new("hostname", error, "no host")),
    }
}

fn redirect(message: wire::RequestRedirect) -> Result<Redirect, Fault> {
    let scheme = match message.scheme.as_str() {
        "" => None,
        "http" => Some(Scheme::Http),
        "https" => Some(Scheme::Https),
        other => return Err(Fault::new("scheme", other, "neither http nor https")),
    };
    let status = u16::try_from(message.status).ok().and_then(RedirectStatus::new);
    Ok(Redirect {
        scheme,
        hostname: hostname(&message.hostname)?,
        path: message.path.map(path).transpose()?,
        port: (message.port != 0).then(|| port("port", message.port)).transpose()?,
        status: status.ok_or_else(|| Fault::new("status", message.status, "no status of a redirect"))?,
    })
}

fn rewrite(message: wire::UrlRewrite) -> Result<Rewrite, Fault> {
    Ok(Rewrite { hostname: hostname(&message.hostname)?, path: message.path.map(path).transpose()? })
}

fn mirror(message: wire::RequestMirror) -> Result<Mirror, Fault> {
    let absent = || Fault::new("backend", "absent", "a copy goes somewhere");
    let destination = super::destination(message.backend.ok_or_else(absent)?)?;
    let fraction = Fraction::new(message.numerator, message.denominator);
    Ok(Mirror {
        destination,
        fraction: fraction.map_err(|error| Fault::new("denominator", error, "no fraction"))?,
    })
}

fn cors(message: wire::Cors) -> Result<Cors, Fault> {
    let names = |field: &str, names: &[String]| {
        Names::new(names.iter().map(String::as_str))
            .map_err(|error| Fault::new(field, error, "no method and no header field"))
    };
    Ok(Cors {
        origins: indexed("allow_origins", message.allow_origins, |text| {
            OriginMatch::parse(&text).map_err(|error| Fault::new("origin", error, "no origin"))
        })?,
        methods: names("allow_methods", &message.allow_methods)?,
        headers: names("allow_headers", &message.allow_headers)?,
        expose: names("expose_headers", &message.expose_headers)?,
        credentials: message.allow_credentials,
        max_age_seconds: message.max_age_seconds,
    })
}
