//! Who calls.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// Put into the header of every call.
#[derive(Clone)]
pub(super) struct Credentials(Option<MetadataValue<Ascii>>);

impl Credentials {
    /// For a server that lets everybody in.
    pub(super) const fn none() -> Self {
        Self(None)
    }

    /// A token, which for Milvus itself is `user:password`.
    pub(super) fn of_token(token: &str) -> anyhow::Result<Self> {
        let mut value: MetadataValue<Ascii> = STANDARD.encode(token).parse()?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}
