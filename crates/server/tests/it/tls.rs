//! TLS by certificate files, for HTTP and for Flight.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::sql::client::FlightSqlServiceClient;
use hyper_util::rt::TokioIo;
use registry::Registry;
use server::{Options, Server, Tls};
use testkit::lake::ThrowAway;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tokio_stream::StreamExt as _;
use tonic::transport::Endpoint;

use crate::client::Served;

/// A client that trusts nothing but this certificate.
fn trusting(certificate: &CertificateDer<'static>, protocol: &[u8]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

#[test]
fn http_and_flight_speak_tls_with_the_certificate() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let tls = Tls { certificate: folder.path().join("server.pem"), key: folder.path().join("server.key") };
    std::fs::write(&tls.certificate, made.cert.pem()).unwrap();
    std::fs::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
    let served = Served::with(|options| options.tls = Some(tls));
    let certificate = made.cert.der().clone();
    let name = || ServerName::try_from("localhost").unwrap();

    let ask = |config: Arc<ClientConfig>| {
        let connection = ClientConnection::new(config, name()).unwrap();
        let mut stream = StreamOwned::new(connection, TcpStream::connect(served.address).unwrap());
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        // How it closes is the other test's.
        let _ = stream.read_to_end(&mut answer);
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = ask(trusting(&certificate, b"http/1.1")).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    assert!(ask(trusting(other.cert.der(), b"http/1.1")).is_err());

    // In the clear nothing is answered.
    let mut plain = TcpStream::connect(served.address).unwrap();
    plain.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (address, config) = (served.flight, trusting(&certificate, b"h2"));
    runtime.block_on(async {
        let connect = move |_| {
            let (connector, name) = (TlsConnector::from(Arc::clone(&config)), name());
            async move {
                let stream = tokio::net::TcpStream::connect(address).await?;
                std::io::Result::Ok(TokioIo::new(connector.connect(name, stream).await?))
            }
        };
        let endpoint = Endpoint::from_static("http://localhost");
        let channel = endpoint.connect_with_connector(tower::service_fn(connect)).await.unwrap();
        let mut client = FlightSqlServiceClient::new(channel);
        let info = client.execute("SELECT 1".to_owned(), None).await.unwrap();
        let mut rows = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
        assert_eq!(rows.next().await.unwrap().unwrap().num_rows(), 1);
    });
}

#[test]
fn files_that_are_no_certificate_are_refused_by_name() {
    let lake = ThrowAway::new().unwrap();
    let mut options = Options::new("127.0.0.1:0".parse().unwrap());
    let file = lake.directory().join("nothing.pem");
    options.tls = Some(Tls { certificate: file.clone(), key: file });
    let registry = Registry::open(lake.registry_url()).unwrap();
    let refused = Server::open(options, lake.options(), registry).err().unwrap();
    assert_eq!(refused.code(), error::Code::Configuration);
    assert!(refused.message().contains("nothing.pem"), "{refused}");
}
