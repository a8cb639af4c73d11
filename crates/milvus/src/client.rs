//! One call at a time: deadline, credentials, retries, and the check of the answer's status.

use crate::call::{Answer, Call};
use crate::error::{CallError, CallResult, Fault};
use backon::{ExponentialBuilder, Retryable};
use milvus::proto::milvus::AllocTimestampRequest;
use std::time::Duration;
use tonic::client::Grpc;
use tonic::codec::ProstCodec;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tracing::Instrument;

/// Largest answer that is accepted: the segments of a cluster with a million of them fit several times.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// How long the answer to a call that nobody waits for any more is awaited before it is taken back all the same.
const UNANSWERED_TIME_MAX: Duration = Duration::from_mins(5);

/// A connection to a Milvus; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    grpc: Grpc<Channel>,
    /// Marked sensitive, so `Debug` does not show it.
    authorization: Option<MetadataValue<Ascii>>,
}

/// A point on the cluster's clock: milliseconds since 1970-01-01 UTC above 18 bits that count within one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct HybridTimestamp(pub(crate) u64);

impl HybridTimestamp {
    /// Milliseconds since 1970-01-01 UTC.
    pub(crate) fn physical_ms(self) -> i64 {
        (self.0 >> 18).cast_signed()
    }
}

impl Client {
    pub(crate) fn new(channel: Channel, authorization: Option<MetadataValue<Ascii>>) -> Self {
        let grpc = Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        Self { grpc, authorization }
    }

    /// The same connection with credentials, should it have none.
    pub(crate) fn authorized_by_default(&self, authorization: MetadataValue<Ascii>) -> Self {
        let authorization = self.authorization.clone().or(Some(authorization));
        Self { grpc: self.grpc.clone(), authorization }
    }

    /// Makes a call that can be repeated without harm: failures of the transport are retried a few times, and a
    /// server that limits the rate is met with more patience, about two minutes.
    pub(crate) async fn call<C: Call>(&self, request: C) -> CallResult<C::Answer> {
        let transient = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(2))
            .with_max_times(4);
        let rate_limited = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(Duration::from_secs(1))
            .with_max_delay(Duration::from_secs(10))
            .with_max_times(15);
        let once = || self.call_once(request.clone());
        let through_transients =
            || once.retry(transient).when(|error: &CallError| error.fault == Fault::Unavailable);
        through_transients
            .retry(rate_limited)
            .when(|error: &CallError| error.fault == Fault::RateLimited)
            .notify(|error, pause| {
                tracing::debug!(method = C::METHOD, %error, pause_ms = pause.as_millis(), "rate limited");
            })
            .await
    }

    /// Makes a call without any retry.
    ///
    /// A call that was sent is never taken back, neither when its caller goes away nor when he waits no longer, and
    /// the server is told of no deadline: the proxy of 2.3.5 crashes, and with it the whole server, when
    /// `GetImportState` is cancelled while it asks another part of the server.
    pub(crate) async fn call_once<C: Call>(&self, request: C) -> CallResult<C::Answer> {
        let mut grpc = self.grpc.clone();
        let mut request = tonic::Request::new(request);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        let exchange = async move {
            grpc.ready().await.map_err(|error| tonic::Status::from_error(error.into()))?;
            let codec = ProstCodec::<C, C::Answer>::default();
            grpc.unary(request, PathAndQuery::from_static(C::PATH), codec).await
        };
        let answer = seen_through(C::METHOD, C::DEADLINE, exchange)
            .await?
            .map_err(|status| CallError::from_grpc(C::METHOD, &status))?
            .into_inner();
        CallError::check(C::METHOD, answer.status())?;
        Ok(answer)
    }

    /// A new timestamp of the cluster's clock, later than every one that it gave out before.
    pub(crate) async fn allocate_timestamp(&self) -> CallResult<HybridTimestamp> {
        self.call(AllocTimestampRequest::default()).await.map(|answer| HybridTimestamp(answer.timestamp))
    }
}

/// Waits for an answer no longer than the deadline, but lets what was sent go on when nobody waits any more.
pub(crate) async fn seen_through<T: Send + 'static>(
    method: &'static str,
    deadline: Duration,
    exchange: impl Future<Output = T> + Send + 'static,
) -> CallResult<T> {
    let no_answer =
        |seconds: u64| CallError::new(Fault::Unavailable, method, format!("no answer within {seconds} s"));
    let sent = tokio::spawn(tokio::time::timeout(UNANSWERED_TIME_MAX, exchange).in_current_span());
    tokio::time::timeout(deadline, sent)
        .await
        .map_err(|_| no_answer(deadline.as_secs()))?
        .map_err(|error| CallError::new(Fault::Unavailable, method, format!("broken off: {error}")))?
        .map_err(|_| no_answer(UNANSWERED_TIME_MAX.as_secs()))
}
