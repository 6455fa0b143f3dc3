//! HTTP in TLS with a certificate that nobody vouches for: what routes of TLS see is the name that is asked for.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivatePkcs8KeyDer},
};

use super::{Shared, accept, converse};

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let acceptor = match acceptor() {
        Ok(acceptor) => acceptor,
        Err(error) => return println!("tls: {error}"),
    };
    loop {
        let (stream, peer) = accept(&listener).await;
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            match acceptor.accept(stream).await {
                Ok(stream) => converse(stream, peer, shared).await,
                Err(error) => println!("{peer}: {error}"),
            }
        });
    }
}

fn acceptor() -> Result<TlsAcceptor, Box<dyn std::error::Error + Send + Sync>> {
    let own = rcgen::generate_simple_self_signed(vec!["server.test".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key.into())?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
