//! Sending to webhooks over HTTP, to addresses that may be reached only.
//!
//! Whoever makes a webhook has the server speak to a place that he names. So every address that the name leads to is
//! checked, and the connection goes to the checked address itself: the check is in the resolver that the connection uses,
//! and a name that leads elsewhere a moment later changes nothing. There are no redirects, no proxies, and no connection
//! is used twice.

mod guard;

#[cfg(test)]
mod tests;

use crate::config::WebhookSettings;
use async_trait::async_trait;
use guard::{GuardedResolver, Lookup, Refusal, SystemLookup};
use milvault_domain::ports::{PortError, PortErrorKind, PortResult, WebhookMessage, WebhookSender};
use milvault_domain::webhook::SendOutcome;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Longest time for one attempt, from looking up the name to the end of the answer.
const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest time to look up a name when a webhook is made or changed.
const LOOKUP_TIME_MAX: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read, and thrown away, so that the receiver can end in order.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
const USER_AGENT: &str = concat!("milvault/", env!("CARGO_PKG_VERSION"));

/// Sends over HTTP.
pub(crate) struct HttpSender {
    /// Why there is no client, where there is none: a machine without certificates can do everything but this.
    client: Result<Client, String>,
    resolver: GuardedResolver,
    settings: WebhookSettings,
}

impl HttpSender {
    /// Sends within the settings, by the names of the system.
    pub(crate) fn new(settings: WebhookSettings) -> Self {
        Self::with_lookup(settings, Arc::new(SystemLookup))
    }

    fn with_lookup(settings: WebhookSettings, lookup: Arc<dyn Lookup>) -> Self {
        let resolver = GuardedResolver::new(lookup, settings.allow_private_addresses);
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .https_only(!settings.allow_http)
            .pool_max_idle_per_host(0)
            .timeout(ATTEMPT_TIME_MAX)
            .dns_resolver(resolver.clone())
            .build()
            .map_err(|error| format!("this server cannot make HTTPS connections: {}", innermost(&error)));
        Self { client, resolver, settings }
    }

    /// Checks the form of a URL, and its address where it names one itself.
    fn check_form(&self, url: &str) -> Result<Url, Refusal> {
        let url = Url::parse(url).map_err(|_| Refusal("must be a URL such as https://example.com/hook"))?;
        match url.scheme() {
            "https" => {}
            "http" if self.settings.allow_http => {}
            _ => return Err(Refusal("must begin with https://")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal("must hold no user name nor password; deliveries are signed instead"));
        }
        if url.fragment().is_some() {
            return Err(Refusal("must have no fragment"));
        }
        if let Some(address) = literal_address(&url) {
            self.resolver.check(address)?;
        }
        Ok(url)
    }
}

/// The address that a URL names itself. The parser has already brought all spellings of one into one form.
fn literal_address(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[async_trait]
impl WebhookSender for HttpSender {
    async fn check(&self, url: &str) -> PortResult<()> {
        let invalid = |refusal: Refusal| PortError::new(PortErrorKind::InvalidInput, refusal.0);
        let url = self.check_form(url).map_err(invalid)?;
        if literal_address(&url).is_some() {
            return Ok(());
        }
        let host = url.host_str().ok_or_else(|| invalid(Refusal("must name a host")))?;
        match tokio::time::timeout(LOOKUP_TIME_MAX, self.resolver.addresses(host)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.is::<Refusal>() => {
                Err(PortError::new(PortErrorKind::InvalidInput, error.to_string()))
            }
            Ok(Err(_)) | Err(_) => Err(PortError::new(
                PortErrorKind::InvalidInput,
                "names a host that cannot be looked up; check its spelling, and that the server can reach a name server",
            )),
        }
    }

    async fn send(&self, message: &WebhookMessage) -> SendOutcome {
        let url = match self.check_form(&message.url) {
            Ok(url) => url,
            Err(refusal) => return SendOutcome::Failed(format!("the URL {refusal}")),
        };
        let client = match &self.client {
            Ok(client) => client,
            Err(reason) => return SendOutcome::Failed(reason.clone()),
        };
        let request = client
            .post(url)
            .header("content-type", "application/json")
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", message.timestamp_seconds)
            .header("webhook-signature", &message.signature)
            .body(message.body.clone());
        match request.send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                discard(response).await;
                SendOutcome::Answered(status)
            }
            Err(error) => SendOutcome::Failed(in_words(&error)),
        }
    }
}

/// Reads a little of an answer. What goes wrong here concerns nobody: the status has been told.
async fn discard(mut response: Response) {
    let mut read = 0;
    while read < ANSWER_BYTES_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => read += chunk.len(),
            Ok(None) | Err(_) => return,
        }
    }
}

/// Why there was no answer. Words of the other side, addresses and the URL are left out.
fn in_words(error: &reqwest::Error) -> String {
    if let Some(refusal) = find::<Refusal>(error) {
        return format!("the URL {refusal}");
    }
    let words = if error.is_timeout() {
        "the receiver did not answer within ten seconds"
    } else if error.is_connect() {
        "cannot connect to the receiver"
    } else {
        "the receiver broke off or did not speak HTTP"
    };
    words.to_owned()
}

fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        current = error.source();
    }
    None
}

fn innermost(error: &dyn Error) -> String {
    let mut current = error;
    while let Some(source) = current.source() {
        current = source;
    }
    current.to_string()
}
