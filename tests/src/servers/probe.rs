//! The HTTP client that asks a server whether it is ready.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

const REQUEST_TIME_LIMIT: Duration = Duration::from_secs(10);

/// A client for servers on this machine: never by a proxy, never without a limit.
pub(super) fn client() -> Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .timeout(REQUEST_TIME_LIMIT)
        .build()
        .context("build the HTTP client for local servers")
}

/// The body of a GET that answered with success.
pub(super) async fn get(client: &reqwest::Client, url: &str) -> Result<String> {
    let response = client.get(url).send().await?;
    let status = response.status();
    let body = response.text().await?;
    if !status.is_success() {
        bail!("{url} answered {status}: {body}");
    }
    Ok(body)
}
