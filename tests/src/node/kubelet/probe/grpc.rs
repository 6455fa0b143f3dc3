//! `grpc`: the gRPC health checking protocol, version 1 (`grpc.health.v1.Health/Check`).

use std::{net::SocketAddr, time::Duration};

use tonic::{Request, codegen::http::uri::PathAndQuery, transport::Endpoint};
use tonic_prost::ProstCodec;

use super::Failure;

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;

pub(super) fn check(address: SocketAddr, service: String, timeout: Duration) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| format!("grpc {address} service {service:?}: {error}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(&error))?;
    let answer =
        runtime.block_on(async { tokio::time::timeout(timeout, call(address, service.clone())).await });
    match answer {
        Ok(Ok(SERVING)) => Ok(()),
        Ok(Ok(status)) => Err(failed(&format_args!("status {status} is not SERVING"))),
        Ok(Err(error)) => Err(failed(&error)),
        Err(late) => Err(failed(&late)),
    }
}

async fn call(address: SocketAddr, service: String) -> Result<i32, Box<dyn std::error::Error>> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await?;
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec = ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
    let answer = client.unary(Request::new(HealthCheckRequest { service }), path, codec).await?;
    Ok(answer.into_inner().status)
}
