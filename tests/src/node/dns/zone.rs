//! What the names of the cluster stand for: built whole from the Services, asked by the server.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use hickory_proto::{
    op::ResponseCode,
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, CNAME, SRV},
    },
};

use crate::node::ServiceState;

/// Short, so that a test need not wait for a resolver to forget.
const TTL_SECONDS: u32 = 5;

/// How many aliases are followed within the zone.
const ALIAS_LIMIT: usize = 8;

/// Everything below `cluster.local`.
#[derive(Debug, Default)]
pub(in crate::node) struct Zone {
    /// By name in lower case, without the last dot.
    records: BTreeMap<String, Vec<RData>>,
    /// Names that only lie above others.
    parents: BTreeSet<String>,
}

impl Zone {
    /// The zone of these Services.
    pub(in crate::node) fn new(services: &[ServiceState]) -> Self {
        let mut zone = Self::default();
        for service in services {
            zone.add_service(service);
        }
        zone.parents = zone.records.keys().flat_map(|name| ancestors(name)).map(str::to_owned).collect();
        zone
    }

    /// The answer to a question.
    pub(in crate::node) fn answer(&self, question: &Name, kind: RecordType) -> (ResponseCode, Vec<Record>) {
        let (mut name, mut records) = (question.clone(), Vec::new());
        for _ in 0..ALIAS_LIMIT {
            let text = name.to_ascii().trim_end_matches('.').to_lowercase();
            let Some(data) = self.records.get(&text) else {
                let exists = !records.is_empty() || self.parents.contains(&text);
                return (if exists { ResponseCode::NoError } else { ResponseCode::NXDomain }, records);
            };
            let alias = data
                .iter()
                .find_map(|data| if let RData::CNAME(alias) = data { Some(alias.0.clone()) } else { None });
            let wanted = data
                .iter()
                .filter(|data| data.record_type() == kind || data.record_type() == RecordType::CNAME);
            records.extend(wanted.map(|data| Record::from_rdata(name.clone(), TTL_SECONDS, data.clone())));
            match alias {
                Some(alias) if kind != RecordType::CNAME => name = alias,
                _ => break,
            }
        }
        (ResponseCode::NoError, records)
    }

    fn add_service(&mut self, service: &ServiceState) {
        let domain = format!("{}.{}.svc.cluster.local", service.key.name, service.key.namespace);
        if let Some(target) = &service.external_name {
            if let Ok(target) = Name::from_ascii(format!("{}.", target.trim_end_matches('.'))) {
                self.add(domain, RData::CNAME(CNAME(target)));
            }
            return;
        }
        for address in &service.addresses {
            self.add(domain.clone(), address_data(*address));
        }
        // A headless Service without any endpoint exists all the same.
        self.records.entry(domain.clone()).or_default();
        let headless = service.addresses.is_empty();
        for port in &service.ports {
            let srv = format!("_{}._{}.{domain}", port.name, port.protocol);
            if !headless {
                self.add_srv(&srv, port.port, &domain);
                continue;
            }
            for endpoint in port.endpoints.iter().filter(|endpoint| endpoint.ready) {
                let hostname = endpoint.hostname.clone().unwrap_or_else(|| dashed(endpoint.address));
                let own = format!("{hostname}.{domain}");
                self.add(domain.clone(), address_data(endpoint.address));
                self.add(own.clone(), address_data(endpoint.address));
                self.add_srv(&srv, endpoint.port, &own);
            }
        }
    }

    fn add_srv(&mut self, name: &str, port: u16, target: &str) {
        let named_port = !name.starts_with("_._");
        if let (true, Ok(target)) = (named_port, Name::from_ascii(format!("{target}."))) {
            self.add(name.to_owned(), RData::SRV(SRV::new(0, 100, port, target)));
        }
    }

    fn add(&mut self, name: String, data: RData) {
        let all = self.records.entry(name).or_default();
        if !all.contains(&data) {
            all.push(data);
        }
    }
}

fn ancestors(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(name.split_once('.').map(|(_, rest)| rest), |name| {
        name.split_once('.').map(|(_, rest)| rest)
    })
}

fn address_data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        manifests::Key,
        node::{Endpoint, PortState},
    };

    fn service(
        name: &str,
        addresses: &[&str],
        external_name: Option<&str>,
        endpoints: &[(&str, Option<&str>)],
    ) -> ServiceState {
        let endpoint = |(address, hostname): &(&str, Option<&str>)| Endpoint {
            address: address.parse().unwrap(),
            port: 8080,
            hostname: hostname.map(str::to_owned),
            ready: true,
            node: None,
        };
        ServiceState {
            key: Key::new("n", name),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            external_name: external_name.map(str::to_owned),
            ports: vec![PortState {
                name: "web".to_owned(),
                protocol: "tcp".to_owned(),
                port: 80,
                node_port: None,
                endpoints: endpoints.iter().map(endpoint).collect(),
            }],
        }
    }

    fn ask(zone: &Zone, name: &str, kind: RecordType) -> (ResponseCode, Vec<String>) {
        let (code, records) = zone.answer(&Name::from_ascii(name).unwrap(), kind);
        (code, records.iter().map(|record| record.data.to_string()).collect())
    }

    #[test]
    fn names_of_services() {
        let zone = Zone::new(&[
            service("a", &["10.0.0.1", "fd00::1"], None, &[]),
            service("b", &[], None, &[("10.1.0.1", Some("b-0")), ("fd00::2", None)]),
            service("c", &[], Some("a.n.svc.cluster.local"), &[]),
            service("d", &[], None, &[]),
        ]);
        let found = |answer: &[&str]| {
            (ResponseCode::NoError, answer.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(ask(&zone, "a.N.svc.cluster.local.", RecordType::A), found(&["10.0.0.1"]));
        assert_eq!(ask(&zone, "a.n.svc.cluster.local.", RecordType::AAAA), found(&["fd00::1"]));
        assert_eq!(
            ask(&zone, "_web._tcp.a.n.svc.cluster.local.", RecordType::SRV),
            found(&["0 100 80 a.n.svc.cluster.local."])
        );
        assert_eq!(ask(&zone, "b.n.svc.cluster.local.", RecordType::A), found(&["10.1.0.1"]));
        assert_eq!(ask(&zone, "b-0.b.n.svc.cluster.local.", RecordType::A), found(&["10.1.0.1"]));
        assert_eq!(ask(&zone, "fd00--2.b.n.svc.cluster.local.", RecordType::AAAA), found(&["fd00::2"]));
        assert_eq!(
            ask(&zone, "c.n.svc.cluster.local.", RecordType::A),
            found(&["a.n.svc.cluster.local.", "10.0.0.1"])
        );
        assert_eq!(ask(&zone, "d.n.svc.cluster.local.", RecordType::A), found(&[]));
        assert_eq!(ask(&zone, "n.svc.cluster.local.", RecordType::A), found(&[]));
        assert_eq!(ask(&zone, "e.n.svc.cluster.local.", RecordType::A).0, ResponseCode::NXDomain);
        assert_eq!(ask(&zone, "example.com.", RecordType::A).0, ResponseCode::NXDomain);
    }
}
