//! As much of a browser as signing in takes: it keeps cookies, follows redirects and fills in forms.

use anyhow::{Context as _, Result, bail, ensure};
use futures::{SinkExt as _, StreamExt as _};
use milvault_tests::servers::Person;
use reqwest::{Method, Url};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// Pages that a sign-in may lead through.
const STEPS_MAX: usize = 20;
const REQUEST_TIME_LIMIT: Duration = Duration::from_secs(30);

/// A browser. Cookies know no ports, so all servers of this machine get all of them.
pub(crate) struct Browser {
    http: reqwest::Client,
    cookies: BTreeMap<String, String>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) url: Url,
    pub(crate) status: u16,
    pub(crate) text: String,
    /// Where it redirects to.
    pub(crate) location: Option<Url>,
}

impl Page {
    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.text).with_context(|| format!("no JSON: {} {}", self.status, self.text))
    }

    /// The value of a hidden field.
    fn hidden(&self, name: &str) -> Result<String> {
        let (_, rest) = self
            .text
            .split_once(&format!("name=\"{name}\""))
            .with_context(|| format!("no {name}: {}", self.text))?;
        let (_, rest) = rest.split_once("value=\"").context("the field has no value")?;
        Ok(rest.split('"').next().unwrap_or_default().to_owned())
    }

    fn has_field(&self, name: &str) -> bool {
        self.text.contains(&format!("name=\"{name}\""))
    }
}

impl Browser {
    pub(crate) fn new() -> Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(REQUEST_TIME_LIMIT)
            .build()?;
        Ok(Self { http, cookies: BTreeMap::new() })
    }

    /// A cookie's value.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.get(name).map(String::as_str)
    }

    pub(crate) async fn get(&mut self, url: &str) -> Result<Page> {
        self.send(Method::GET, url.parse()?, &[], None).await
    }

    /// A request as a page's script makes it.
    pub(crate) async fn post(&mut self, url: &str, origin: Option<&str>, body: &Value) -> Result<Page> {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(origin.map(|origin| ("origin", origin)));
        self.send(Method::POST, url.parse()?, &headers, Some(body.to_string())).await
    }

    async fn submit(&mut self, url: Url, fields: &[(&str, &str)]) -> Result<Page> {
        let encoded = Url::parse_with_params("http://form/", fields)?;
        let body = encoded.query().unwrap_or_default().to_owned();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.send(Method::POST, url, &headers, Some(body)).await
    }

    async fn send(
        &mut self,
        method: Method,
        url: Url,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Result<Page> {
        let mut request = self.http.request(method, url.clone()).header("cookie", self.cookie_header());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.body(body.unwrap_or_default()).send().await?;
        for set in answer.headers().get_all("set-cookie") {
            let (name, rest) = set.to_str()?.split_once('=').context("a cookie without a value")?;
            let value = rest.split(';').next().unwrap_or_default();
            if value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let location = answer.headers().get("location").map(|value| anyhow::Ok(url.join(value.to_str()?)?));
        let (status, location) = (answer.status().as_u16(), location.transpose()?);
        Ok(Page { url, status, text: answer.text().await?, location })
    }

    fn cookie_header(&self) -> String {
        let pairs: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("; ")
    }

    /// Goes to the provider and proves there who one is, up to the redirect that leads back: its address.
    pub(crate) async fn prove(&mut self, server: &str, return_to: &str, person: &Person) -> Result<String> {
        let mut page = self.get(&format!("{server}/auth/login?return_to={return_to}")).await?;
        for _ in 0..STEPS_MAX {
            if let Some(location) = page.location.take() {
                if location.path() == "/auth/callback" {
                    return Ok(location.into());
                }
                page = self.send(Method::GET, location, &[], None).await?;
                continue;
            }
            ensure!(page.status == 200, "{} answers {}: {}", page.url, page.status, page.text);
            let token = page.hidden("csrf_token")?;
            let field = if page.has_field("password") {
                ("password", person.password)
            } else {
                ("login", person.name)
            };
            page = self.submit(page.url.clone(), &[("csrf_token", &token), field]).await?;
        }
        bail!("the provider asks for ever; its last page is {page:?}")
    }

    /// Signs in and arrives where one wanted to go.
    pub(crate) async fn sign_in(&mut self, server: &str, person: &Person) -> Result<()> {
        let callback = self.prove(server, "/graphql", person).await?;
        let page = self.get(&callback).await?;
        ensure!(page.status == 303, "the sign-in ends with {}: {}", page.status, page.text);
        let arrived = page.location.map(String::from);
        ensure!(arrived == Some(format!("{server}/graphql")), "it leads to {arrived:?}");
        Ok(())
    }

    /// An operation of a page of the server.
    pub(crate) async fn ask(&mut self, server: &str, query: &str, variables: Value) -> Result<Value> {
        let body = json!({ "query": query, "variables": variables });
        self.post(&format!("{server}/graphql"), Some(server), &body).await?.json()
    }

    /// Opens a subscription as a page of the server does. Gives what it tells until its end, and the code with which the
    /// WebSocket was closed. `opened` is called when the subscription stands.
    pub(crate) async fn watch<F: Future<Output = Result<()>>>(
        &self,
        server: &str,
        subscription: &str,
        opened: impl FnOnce() -> F,
    ) -> Result<(Vec<Value>, u16)> {
        let mut request = format!("{}/graphql", server.replacen("http", "ws", 1)).into_client_request()?;
        let headers = request.headers_mut();
        headers.insert("cookie", self.cookie_header().parse()?);
        headers.insert("origin", server.parse()?);
        headers.insert("sec-websocket-protocol", "graphql-transport-ws".parse()?);
        let (mut socket, _) = connect_async(request).await?;
        // The server answers in turn: the answer to the query shows that the subscription stands.
        for message in [
            json!({ "type": "connection_init" }),
            json!({ "type": "subscribe", "id": "watch", "payload": { "query": subscription } }),
            json!({ "type": "subscribe", "id": "probe", "payload": { "query": "{ viewer { name } }" } }),
        ] {
            socket.send(Message::text(message.to_string())).await?;
        }
        let (mut opened, mut events) = (Some(opened), Vec::new());
        while let Some(message) = socket.next().await {
            match message? {
                Message::Text(text) => {
                    let message: Value = serde_json::from_str(&text)?;
                    if message["id"] == "probe" {
                        if let Some(opened) = opened.take() {
                            opened().await?;
                        }
                    } else if message["id"] == "watch" {
                        events.push(message);
                    }
                }
                Message::Close(frame) => return Ok((events, frame.map_or(0, |frame| frame.code.into()))),
                _ => {}
            }
        }
        bail!("the WebSocket ended without a word")
    }
}
