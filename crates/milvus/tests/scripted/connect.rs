//! Connecting: retries, refusals, TLS.

use crate::service::{ScriptedMilvus, connect, endpoint};
use milvault_domain::cluster::{MilvusAuth, MilvusEndpoint};
use milvault_domain::error::PortErrorKind;
use milvault_domain::secret::{Secret, SecretValue};
use rcgen::{CertificateParams, Issuer, KeyPair};
use tonic::Status;
use tonic::transport::Identity;

#[tokio::test]
async fn failures_of_the_transport_are_retried() {
    let milvus = ScriptedMilvus::default();
    milvus.state().failures = [Status::unavailable("starting"), Status::unavailable("starting")].into();
    let cluster = milvus.connected().await;
    assert_eq!(cluster.server().version, "v2.3.5");
    assert_eq!(milvus.state().credentials.len(), 3);
}

#[tokio::test]
async fn retries_end() {
    let milvus = ScriptedMilvus::default();
    milvus.state().failures = vec![Status::unavailable("down"); 50].into();
    let address = milvus.serve(None).await;
    let error = connect(&endpoint(&format!("http://{address}"))).await.err().unwrap();
    assert_eq!(error.kind(), PortErrorKind::Unavailable);
    assert!(error.to_string().contains("down"), "{error}");
    assert_eq!(milvus.state().credentials.len(), 5);
}

#[tokio::test]
async fn credentials_are_sent_and_a_refusal_does_not_repeat_them() {
    let milvus = ScriptedMilvus::default();
    milvus.state().failures = [Status::unauthenticated("hunter2 is wrong")].into();
    let address = milvus.serve(None).await;
    let auth = MilvusAuth::Password {
        user: String::from("root"),
        password: Secret::Value(SecretValue::new(String::from("hunter2"))),
    };
    let endpoint = MilvusEndpoint { auth, ..endpoint(&format!("http://{address}")) };
    let error = connect(&endpoint).await.err().unwrap();
    assert_eq!(error.kind(), PortErrorKind::PermissionDenied);
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    assert_eq!(milvus.state().credentials, [Some(String::from("cm9vdDpodW50ZXIy"))]);
}

#[tokio::test]
async fn nobody_there_is_unavailable_with_the_address() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = connect(&endpoint(&uri)).await.err().unwrap();
    assert_eq!(error.kind(), PortErrorKind::Unavailable);
    assert!(error.to_string().contains(&uri) && error.to_string().contains("refused"), "{error}");
}

/// An authority's certificate, and what a server named `milvus.internal` needs, as PEM.
pub(crate) struct Certificates {
    pub(crate) authority: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Certificates {
    pub(crate) fn identity(&self) -> Identity {
        Identity::from_pem(&self.certificate, &self.key)
    }
}

pub(crate) fn certificates() -> Certificates {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let own = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let names = vec![String::from("milvus.internal")];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    Certificates { authority: own, certificate: certificate.pem(), key: key.serialize_pem() }
}

#[tokio::test]
async fn tls_with_an_own_authority_and_another_name() {
    let milvus = ScriptedMilvus::default();
    let served = certificates();
    let address = milvus.serve(Some(served.identity())).await;
    let secure = endpoint(&format!("https://{address}"));
    let right = MilvusEndpoint {
        ca_pem: Some(served.authority.clone()),
        server_name: Some(String::from("milvus.internal")),
        ..secure.clone()
    };
    assert_eq!(connect(&right).await.unwrap().server().version, "v2.3.5");

    let untrusted = MilvusEndpoint { ca_pem: Some(certificates().authority), ..right.clone() };
    let other_name = MilvusEndpoint { server_name: None, ..right };
    for wrong in [untrusted, other_name] {
        let error = connect(&wrong).await.err().unwrap();
        assert_eq!(error.kind(), PortErrorKind::Unavailable);
        assert!(error.to_string().contains("certificate is not trusted or not for this name"), "{error}");
    }
    let plain = endpoint(&format!("http://{address}"));
    let error = connect(&plain).await.err().unwrap();
    assert_eq!(error.kind(), PortErrorKind::Unavailable);
    assert!(error.to_string().contains("use `https://`"), "{error}");
}
