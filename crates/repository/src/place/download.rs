//! Reading a long answer of a store to its end.

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use milvault_domain::error::{PortError, PortResult};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, ObjectStore};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Times that an answer is asked for again before it has brought [`PROGRESS_BYTES`].
const REOPENED_MAX: u32 = 5;
/// Bytes that show that reading goes on.
const PROGRESS_BYTES: u64 = 1 << 20;
/// Pause before the first time; it doubles.
const PAUSE: Duration = Duration::from_millis(200);

/// An answer that may break off. The library goes on after a break too, but only for as long as a request may be
/// repeated at all; answers may take as long as their readers need.
pub(crate) struct Download {
    store: Arc<dyn ObjectStore>,
    key: Path,
    /// With a tag only it is certain that the rest belongs to what was read.
    tag: Option<String>,
    left: Range<u64>,
    reopened: u32,
    progress_bytes: u64,
    body: BoxStream<'static, object_store::Result<Bytes>>,
    error: Box<dyn Fn(object_store::Error) -> PortError + Send + Sync>,
}

impl Download {
    /// Goes on from an answer. `error` says what a failure means; one about the condition means that there is another
    /// file now.
    pub(crate) fn new(
        store: &Arc<dyn ObjectStore>,
        key: Path,
        answer: GetResult,
        error: impl Fn(object_store::Error) -> PortError + Send + Sync + 'static,
    ) -> Self {
        Self {
            store: Arc::clone(store),
            key,
            tag: answer.meta.e_tag.clone(),
            left: answer.range.clone(),
            reopened: 0,
            progress_bytes: 0,
            body: answer.into_stream(),
            error: Box::new(error),
        }
    }

    /// The bytes.
    pub(crate) fn stream(self) -> BoxStream<'static, PortResult<Bytes>> {
        let next = |mut download: Self| async move {
            let piece = download.next().await?;
            Ok(piece.map(|piece| (piece, download)))
        };
        stream::try_unfold(self, next).boxed()
    }

    async fn next(&mut self) -> PortResult<Option<Bytes>> {
        loop {
            match self.body.next().await {
                Some(Ok(piece)) => {
                    self.left.start += piece.len() as u64;
                    self.progress_bytes += piece.len() as u64;
                    if PROGRESS_BYTES <= self.progress_bytes {
                        self.reopened = 0;
                    }
                    return Ok(Some(piece));
                }
                Some(Err(_)) if self.left.is_empty() => return Ok(None),
                Some(Err(error)) => self.reopen(error).await?,
                None => return Ok(None),
            }
        }
    }

    async fn reopen(&mut self, mut broken: object_store::Error) -> PortResult<()> {
        while self.tag.is_some() && self.reopened < REOPENED_MAX {
            tokio::time::sleep(PAUSE * 2_u32.pow(self.reopened)).await;
            self.reopened += 1;
            self.progress_bytes = 0;
            let range = Some(GetRange::Bounded(self.left.clone()));
            let options = GetOptions { range, if_match: self.tag.clone(), ..GetOptions::default() };
            match self.store.get_opts(&self.key, options).await {
                // Stores that ignore the condition still tell what they are sending.
                Ok(answer) if answer.range == self.left && answer.meta.e_tag == self.tag => {
                    self.body = answer.into_stream();
                    return Ok(());
                }
                Ok(answer) => {
                    let path = answer.meta.location.to_string();
                    let source = "the store sends something else than before".into();
                    return Err((self.error)(object_store::Error::Precondition { path, source }));
                }
                Err(
                    error @ (object_store::Error::NotFound { .. }
                    | object_store::Error::Precondition { .. }
                    | object_store::Error::PermissionDenied { .. }),
                ) => return Err((self.error)(error)),
                Err(error) => broken = error,
            }
        }
        Err((self.error)(broken))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::error::from_store;
    use crate::fake_store::FakeStore;
    use futures::TryStreamExt;
    use object_store::aws::AmazonS3Builder;
    use object_store::{ObjectStoreExt, RetryConfig};

    /// A store whose client repeats nothing, so that what goes on after a break is this module.
    fn store(fake: &FakeStore) -> Arc<dyn ObjectStore> {
        let builder = AmazonS3Builder::new()
            .with_endpoint(fake.config("").endpoint.unwrap())
            .with_bucket_name("bucket")
            .with_access_key_id("id")
            .with_secret_access_key("secret")
            .with_allow_http(true)
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() });
        Arc::new(builder.build().unwrap())
    }

    async fn begin(fake: &FakeStore) -> Download {
        let (store, key) = (store(fake), Path::from("file"));
        let answer = store.get(&key).await.unwrap();
        Download::new(&store, key, answer, |error| from_store("read", "file", error))
    }

    #[tokio::test]
    async fn a_broken_answer_goes_on_where_it_broke() {
        let fake = FakeStore::start();
        let content: Vec<u8> = (0..=250).cycle().take(300_000).collect();
        fake.state().objects.insert(String::from("file"), content.clone());
        fake.state().breaks_after = vec![50_000, 100_000];
        let pieces: Vec<Bytes> = begin(&fake).await.stream().try_collect().await.unwrap();
        assert!(pieces.concat() == content);
        assert_eq!(fake.state().reads, ["", "bytes=100000-299999", "bytes=150000-299999"]);
    }

    #[tokio::test]
    async fn another_file_is_not_appended_to_what_was_read() {
        let fake = FakeStore::start();
        fake.state().objects.insert(String::from("file"), vec![1; 1000]);
        fake.state().breaks_after = vec![10];
        let download = begin(&fake).await;
        fake.state().objects.insert(String::from("file"), vec![2; 1000]);
        let error = download.stream().try_collect::<Vec<Bytes>>().await.unwrap_err();
        assert_eq!(error.kind(), milvault_domain::error::PortErrorKind::Changed, "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_always_breaks_off_is_given_up() {
        let broken = || object_store::Error::Generic { store: "S3", source: "broken".into() };
        let memory: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
        let key = Path::from("file");
        memory.put(&key, vec![1; 10].into()).await.unwrap();
        let answer = memory.get(&key).await.unwrap();
        let mut download = Download::new(&memory, key, answer, |error| from_store("read", "file", error));
        for _ in 0..REOPENED_MAX {
            download.reopen(broken()).await.unwrap();
        }
        assert!(download.reopen(broken()).await.is_err());
    }
}
