//! Requests that make an S3 store copy.
//!
//! The library can copy within a bucket only, but it can sign any request with any headers. So each copy is a
//! presigned `CopyObject` (or `UploadPartCopy`) whose source, even in another bucket, is bound into the signature.

use super::answer::{Answer, Refusal};
use crate::connect::S3Connection;
use crate::copy::ByteLimit;
use crate::error::{from_store, from_store_write};
use backon::{ExponentialBuilder, Retryable};
use futures::stream::{self, StreamExt, TryStreamExt};
use http::{HeaderName, HeaderValue, Method};
use milvault_domain::error::PortResult;
use object_store::ObjectStoreExt;
use object_store::aws::AmazonS3;
use object_store::client::{HttpClient, HttpConnector, HttpRequest, HttpRequestBody, ReqwestConnector};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Parts of one object that the store copies at once.
const PARTS_AT_ONCE: usize = 4;
/// Up to this size an object is copied in one request. Stores take 5 GiB, but answer only when they are done.
const ONE_REQUEST_BYTES: u64 = 1 << 30;
/// Largest object that stores copy in one request.
const ONE_REQUEST_LIMIT_BYTES: u64 = 5 << 30;
/// Size of a part.
const PART_BYTES: u64 = 512 << 20;
/// No part may be smaller than this; some stores mean the last one too.
const PART_MIN_BYTES: u64 = 5 << 20;
/// How long a signed request may be used.
const SIGNATURE_VALID: Duration = Duration::from_mins(5);
/// How long a store may be busy with a copy before it answers: it reads and writes up to 5 GiB.
const ANSWER_TIME_MAX: Duration = Duration::from_mins(5);
/// Times that a copy is asked for again.
const REPEATS_MAX: usize = 5;

/// Copies from one bucket, read with the destination's credentials, to another of the same store.
pub(crate) struct CopyRequests {
    destination: Arc<AmazonS3>,
    http: HttpClient,
    source_bucket: String,
    multipart_copy: bool,
    limit: Option<Arc<ByteLimit>>,
}

/// A file that is to be copied as a whole.
#[derive(Clone, Copy)]
pub(crate) struct CopiedFile<'a> {
    /// Its key in the source's bucket.
    pub(crate) from: &'a Path,
    /// The entity tag that it must have.
    pub(crate) tag: Option<&'a str>,
    /// Its size.
    pub(crate) size_bytes: u64,
}

impl CopyRequests {
    /// Nothing is contacted.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub(crate) fn new(
        destination: &S3Connection,
        source_bucket: &str,
        multipart_copy: bool,
    ) -> PortResult<Self> {
        let http = ReqwestConnector::default()
            .connect(&destination.client.clone().with_read_timeout(ANSWER_TIME_MAX))
            .map_err(|error| from_store("connect to", &destination.config.bucket, error))?;
        let destination = Arc::clone(&destination.store);
        Ok(Self { destination, http, source_bucket: source_bucket.to_owned(), multipart_copy, limit: None })
    }

    /// Bounds how much the store is asked to copy. It copies each request as fast as it likes.
    pub(crate) fn limited_to(mut self, limit: Option<Arc<ByteLimit>>) -> Self {
        self.limit = limit;
        self
    }

    /// Copies a file to a key; gives the copy's entity tag.
    pub(crate) async fn copy(&self, file: CopiedFile<'_>, to: &Path) -> Result<Box<str>, Refusal> {
        let from = self.copy_source(file.from);
        let whole = CopySource { from: &from, if_match: file.tag, range: None };
        if ONE_REQUEST_BYTES < file.size_bytes && self.multipart_copy {
            self.copy_parts(to, &whole, file.size_bytes).await
        } else if file.size_bytes <= ONE_REQUEST_LIMIT_BYTES {
            self.wait(file.size_bytes).await;
            self.request(to, &whole, None).await
        } else {
            Err(Refusal::unsupported("it is larger than 5 GiB and the store has no part copies"))
        }
    }

    /// Waits until the store may be asked to copy so many bytes.
    async fn wait(&self, bytes: u64) {
        if let Some(limit) = &self.limit {
            limit.wait(bytes).await;
        }
    }

    /// Copies within the destination's bucket, in one request or in parts, to see whether it works.
    ///
    /// # Errors
    /// The store does not do it.
    pub(crate) async fn probe(&self, file: CopiedFile<'_>, to: &Path, in_parts: bool) -> PortResult<()> {
        let from = self.copy_source(file.from);
        let whole = CopySource { from: &from, if_match: file.tag, range: None };
        let copied = if in_parts {
            self.copy_parts(to, &whole, file.size_bytes).await
        } else {
            self.request(to, &whole, None).await
        };
        copied.map(drop).map_err(Refusal::into_probe_error)
    }

    async fn copy_parts(
        &self,
        to: &Path,
        whole: &CopySource<'_>,
        size_bytes: u64,
    ) -> Result<Box<str>, Refusal> {
        let failed = |error| Refusal::from_port_error(&from_store_write(to.as_ref(), error));
        let id = self.destination.create_multipart(to).await.map_err(failed)?;
        let upload =
            UploadGuard { store: Arc::clone(&self.destination), to: to.clone(), id: Some(id.clone()) };
        let parts = (1_usize..).zip(part_ranges(size_bytes)).map(|(number, range)| {
            let bytes = range.end - range.start;
            let part = CopySource { range: Some(range), ..whole.clone() };
            let id = id.as_str();
            async move {
                self.wait(bytes).await;
                self.request(to, &part, Some((number, id))).await
            }
        });
        let tags: Vec<Box<str>> = stream::iter(parts).buffered(PARTS_AT_ONCE).try_collect().await?;
        let parts = tags.into_iter().map(|tag| PartId { content_id: tag.into() }).collect();
        let tag = match self.destination.complete_multipart(to, &id, parts).await {
            Ok(done) => done.e_tag,
            // The answer to an earlier request was lost, or somebody took the upload back.
            Err(error @ object_store::Error::NotFound { .. }) => match self.destination.head(to).await {
                Ok(found) if found.size == size_bytes => found.e_tag,
                _ => return Err(failed(error)),
            },
            Err(error) => return Err(failed(error)),
        };
        upload.disarm();
        Ok(tag.as_deref().map(crate::place::bare_tag).unwrap_or_default())
    }

    /// Sends one copy request, again and again while the store says that it may work later.
    async fn request(
        &self,
        to: &Path,
        source: &CopySource<'_>,
        part: Option<(usize, &str)>,
    ) -> Result<Box<str>, Refusal> {
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(5))
            .with_max_times(REPEATS_MAX)
            .with_jitter();
        (|| self.request_once(to, source, part)).retry(backoff).when(Refusal::may_pass).await
    }

    async fn request_once(
        &self,
        to: &Path,
        source: &CopySource<'_>,
        part: Option<(usize, &str)>,
    ) -> Result<Box<str>, Refusal> {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = Method::PUT;
        let mut options = SignedUrlOptions::new();
        for (name, value) in source.headers() {
            let name = HeaderName::from_static(name);
            let value =
                HeaderValue::from_str(&value).map_err(|_| Refusal::unclear("the key is no header value"))?;
            options = options.with_signed_header(name.clone(), value.clone());
            request.headers_mut().insert(name, value);
        }
        request.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        if let Some((number, upload_id)) = part {
            options =
                options.with_query([("partNumber", number.to_string()), ("uploadId", upload_id.to_owned())]);
        }
        // Signed anew each time: the credentials may be temporary, and the signature is valid for minutes only.
        let url =
            self.destination.signed_url_opts(Method::PUT, to, SIGNATURE_VALID, &options).await.map_err(
                |error| Refusal::from_port_error(&from_store("sign a copy to", to.as_ref(), error)),
            )?;
        *request.uri_mut() =
            url.as_str().parse().map_err(|_| Refusal::unclear("the signed address is no address"))?;
        let response = self.http.execute(request).await.map_err(|error| Refusal::unreachable(&error))?;
        Answer::read(response).await?.tag()
    }

    fn copy_source(&self, key: &Path) -> String {
        format!("/{}/{}", self.source_bucket, percent_encode(key.as_ref()))
    }
}

/// What a copy request says about its source.
#[derive(Clone)]
struct CopySource<'a> {
    from: &'a str,
    if_match: Option<&'a str>,
    range: Option<Range<u64>>,
}

impl CopySource<'_> {
    fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![("x-amz-copy-source", self.from.to_owned())];
        if let Some(tag) = self.if_match {
            headers.push(("x-amz-copy-source-if-match", format!("\"{tag}\"")));
        }
        if let Some(range) = &self.range {
            let last = range.end.saturating_sub(1);
            headers.push(("x-amz-copy-source-range", format!("bytes={}-{last}", range.start)));
        }
        headers
    }
}

/// Takes a multipart upload back unless it was completed.
struct UploadGuard {
    store: Arc<AmazonS3>,
    to: Path,
    id: Option<String>,
}

impl UploadGuard {
    fn disarm(mut self) {
        self.id = None;
    }
}

impl Drop for UploadGuard {
    fn drop(&mut self) {
        if let (Some(id), Ok(runtime)) = (self.id.take(), tokio::runtime::Handle::try_current()) {
            let (store, to) = (Arc::clone(&self.store), self.to.clone());
            runtime.spawn(async move {
                if let Err(error) = store.abort_multipart(&to, &id).await {
                    tracing::warn!(%error, "an unfinished upload could not be taken back; the bucket's lifecycle rule has to remove it");
                }
            });
        }
    }
}

/// Ranges of the parts of an object. A short rest is folded into the last part.
fn part_ranges(size_bytes: u64) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut start = 0;
    while start < size_bytes {
        let end = (start + PART_BYTES).min(size_bytes);
        match ranges.last_mut() {
            Some(last) if end - start < PART_MIN_BYTES => last.end = end,
            _ => ranges.push(start..end),
        }
        start = end;
    }
    ranges
}

/// The form that copy sources want: everything but unreserved characters and the slashes between.
fn percent_encode(key: &str) -> String {
    use std::fmt::Write;
    let mut encoded = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::connect::connect_s3;
    use crate::fake_store::FakeStore;
    use milvault_domain::error::PortErrorKind;

    #[test]
    fn parts_cover_an_object_and_none_is_too_short() {
        for size in [1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES - 1, 3 * PART_BYTES + PART_MIN_BYTES] {
            let ranges = part_ranges(size);
            assert_eq!(ranges.first().map(|range| range.start), Some(0));
            assert_eq!(ranges.last().map(|range| range.end), Some(size));
            assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start), "{size}");
            let short = ranges.iter().any(|range| range.end - range.start < PART_MIN_BYTES);
            assert!(!short || ranges.len() == 1, "{size}");
        }
    }

    #[tokio::test]
    async fn a_copy_may_take_longer_than_other_answers() {
        let fake = FakeStore::start();
        fake.state().objects.insert(String::from("from"), vec![1; 100]);
        fake.state().copy_pause = Duration::from_secs(1);
        let mut connection = connect_s3(&fake.config(""), &fake).unwrap();
        connection.client = connection.client.with_read_timeout(Duration::from_millis(100));
        let requests = CopyRequests::new(&connection, "bucket", false).unwrap();
        let from = requests.copy_source(&Path::from("from"));
        let source = CopySource { from: &from, if_match: None, range: None };
        requests.request_once(&Path::from("to"), &source, None).await.unwrap();
        assert!(fake.state().objects.contains_key("to"));
    }

    #[tokio::test]
    async fn a_completion_whose_answer_is_lost_is_seen_in_the_copy() {
        let fake = FakeStore::start();
        fake.state().objects.insert(String::from("from"), vec![1; 100]);
        fake.state().loses_completions = true;
        let requests =
            CopyRequests::new(&connect_s3(&fake.config(""), &fake).unwrap(), "bucket", true).unwrap();
        let from = requests.copy_source(&Path::from("from"));
        let source = CopySource { from: &from, if_match: None, range: None };
        let copied = requests.copy_parts(&Path::from("to"), &source, 100).await;
        assert!(!copied.unwrap().is_empty());
        assert_eq!(fake.state().objects["to"], vec![1; 100]);

        fake.state().forgets_uploads = true;
        let refused = requests.copy_parts(&Path::from("other"), &source, 100).await;
        assert_eq!(refused.unwrap_err().kind(), PortErrorKind::Unavailable);
    }

    #[test]
    fn keys_are_encoded_for_the_header() {
        assert_eq!(percent_encode("files/insert log/1+\u{e9}%.bin"), "files/insert%20log/1%2B%C3%A9%25.bin");
    }
}
