//! Wrong addresses and wrong passwords.

use crate::server::{connect, setting};
use milvault_domain::backup::BackupScope;
use milvault_domain::cluster::MilvusAuth;
use milvault_domain::error::PortErrorKind;
use milvault_domain::secret::{Secret, SecretValue};

fn password(password: &str) -> MilvusAuth {
    MilvusAuth::Password {
        user: String::from("root"),
        password: Secret::Value(SecretValue::new(password.to_owned())),
    }
}

#[tokio::test]
async fn the_right_password_connects_and_shows_users() {
    let uri = setting("MILVAULT_TEST_MILVUS_AUTH_URI");
    let cluster = connect(&uri, password("Milvus")).await.unwrap();
    assert!(cluster.server().capabilities.verified, "{:?}", cluster.server());
    let cut = cluster.take_cut(&BackupScope::Cluster).await.unwrap();
    let access = cut.access_control.unwrap();
    assert!(access.users.iter().any(|user| user == "root"), "{access:?}");
    let public = access.grants.iter().filter(|grant| grant.role == "public");
    assert!(public.count() >= 3, "{access:?}");
}

#[tokio::test]
async fn a_wrong_password_is_refused_without_being_repeated() {
    let uri = setting("MILVAULT_TEST_MILVUS_AUTH_URI");
    let token = Secret::Value(SecretValue::new(String::from("hunter2")));
    for auth in [password("hunter2"), MilvusAuth::Token(token), MilvusAuth::None] {
        let error = connect(&uri, auth).await.err().unwrap();
        assert_eq!(error.kind(), PortErrorKind::PermissionDenied, "{error}");
        assert!(!format!("{error:?} {error}").contains("hunter2"));
        assert!(error.to_string().contains("credentials"), "{error}");
    }
}

#[tokio::test]
async fn tls_where_there_is_none_is_said_so() {
    let uri = setting("MILVAULT_TEST_MILVUS_AUTH_URI").replace("http://", "https://");
    let error = connect(&uri, MilvusAuth::None).await.err().unwrap();
    assert_eq!(error.kind(), PortErrorKind::Unavailable);
    assert!(error.to_string().contains("http://"), "{error}");
}
