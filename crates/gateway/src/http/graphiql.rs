//! The page for people who try the API out: `GraphiQL`.
//!
//! Its files are not part of this server: they are work of others, larger than all the rest, and no package of the
//! registry of crates has them. The browser loads them from a public network, in one version each, and runs them only if
//! their hashes are those written here: whoever changes them there changes nothing here but that the page says that they
//! did not load. It says the same in a network where they cannot be reached.
//!
//! The versions are the last ones that are made as plain scripts. To take others: `npm pack NAME@VERSION`, unpack, and
//! for each file `openssl dgst -sha384 -binary FILE | base64 -w0`; the network gives out the packages' files as they are.

use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use std::fmt::Write;

/// Where the files come from, by the names that they have in packages of npm.
const FILES: &str = "https://unpkg.com/";

/// A file of others.
struct File {
    path: &'static str,
    integrity: &'static str,
}

/// In the order in which they must run.
const SCRIPTS: [File; 3] = [
    File {
        path: "react@18.3.1/umd/react.production.min.js",
        integrity: "sha384-DGyLxAyjq0f9SPpVevD6IgztCFlnMF6oW/XQGmfe+IsZ8TqEiDrcHkMLKI6fiB/Z",
    },
    File {
        path: "react-dom@18.3.1/umd/react-dom.production.min.js",
        integrity: "sha384-gTGxhz21lVGYNMcdJOyq01Edg0jhn/c22nsx0kyqP0TxaV5WVdsSH1fSDUf5YJj1",
    },
    File {
        path: "graphiql@4.1.2/graphiql.min.js",
        integrity: "sha384-9XdHu7ajgGJziD4J1zNBKQ842Q/+zZfDv+ib1eMhZWBH6hPAs806x+Jbcf0yNO6B",
    },
];

const STYLE: File = File {
    path: "graphiql@4.1.2/graphiql.min.css",
    integrity: "sha384-1el1QShFBnnXTx9x/Cprg82hZWKt0ry29OAYIXt05swbi0KcZDFoj0CWguMpopJr",
};

/// Starts the editor, or says that it cannot.
const START: &str = include_str!("graphiql/start.js");

/// The page. Put `{"Authorization": "Bearer <key>"}` into its header editor: it sends that with queries and in the
/// `connection_init` of subscriptions.
pub(super) fn page() -> Response {
    // Scripts that carry it run, and no others, not even from the same place.
    let nonce = hex::encode(rand::random::<[u8; 16]>());
    let mut response = Html(text(&nonce)).into_response();
    // Without the policy nothing may run at all.
    let policy = HeaderValue::from_str(&policy(&nonce))
        .unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"));
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// The page may talk to this server only. Styles are set by the editor as it works.
fn policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline' {FILES}{}; font-src data:; \
         img-src 'self' data:; connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
        STYLE.path
    )
}

/// The words come before everything that is loaded: a browser that waits for a network shows them meanwhile.
fn text(nonce: &str) -> String {
    let mut scripts = String::new();
    for File { path, integrity } in SCRIPTS {
        // Writing to a String cannot fail.
        let _ = writeln!(
            scripts,
            "<script nonce=\"{nonce}\" src=\"{FILES}{path}\" integrity=\"{integrity}\" crossorigin=\"anonymous\"></script>"
        );
    }
    let File { path, integrity } = STYLE;
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Milvault GraphiQL</title>\n\
         <meta name=\"robots\" content=\"noindex\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <style>body {{ margin: 0 }} #editor {{ height: 100vh }} p {{ margin: 1em; font-family: sans-serif }}</style>\n\
         </head><body><div id=\"editor\">\n\
         <p id=\"loading\">GraphiQL is loading from {FILES} and needs scripts. Where this stays, your browser cannot reach \
         that address: this page does not work there.</p>\n\
         <p id=\"failure\" hidden>GraphiQL did not load: your browser could not get its files from {FILES}, or they are not \
         those that this server expects.</p>\n\
         <p>The API itself needs none of this: send operations with POST to this address. \
         <code>gateway.graphiql = false</code> in the server's configuration turns this page off.</p>\n\
         </div>\n\
         <link id=\"style\" rel=\"stylesheet\" href=\"{FILES}{path}\" integrity=\"{integrity}\" crossorigin=\"anonymous\">\n\
         {scripts}<script nonce=\"{nonce}\">\n{START}</script>\n</body></html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_one_version_and_content_are_loaded() {
        let page = text("n");
        let elements: Vec<&str> = page.split('<').filter(|element| element.contains(FILES)).collect();
        let loading: Vec<&&str> = elements.iter().filter(|element| element.contains("=\"http")).collect();
        assert_eq!(loading.len(), SCRIPTS.len() + 1);
        for element in loading {
            assert!(element.contains("integrity=\"sha384-") && element.contains("crossorigin="), "{element}");
        }
        for File { path, integrity } in SCRIPTS.iter().chain([&STYLE]) {
            let version = path.split(['@', '/']).nth(1).unwrap_or_default();
            assert_eq!(version.split('.').filter(|part| part.parse::<u32>().is_ok()).count(), 3, "{path}");
            // 48 bytes.
            assert_eq!(integrity.len(), "sha384-".len() + 64, "{path}");
        }
        assert_eq!(page.matches("<script").count(), page.matches("<script nonce=\"n\"").count());
    }

    #[test]
    fn the_policy_lets_the_pages_own_scripts_run_and_no_others() {
        let (first, second) = (page(), page());
        let policy = |response: &Response| response.headers().get(header::CONTENT_SECURITY_POLICY).cloned();
        assert_ne!(policy(&first), policy(&second));
        let policy = super::policy("n");
        assert!(policy.contains("script-src 'nonce-n';"), "{policy}");
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
    }

    #[test]
    fn the_page_says_what_to_do_where_its_files_do_not_load() {
        let page = text("n");
        let words = page.find("did not load").unwrap_or(usize::MAX);
        let files = page.find("<link id=").unwrap_or_default();
        assert!(words < files, "the words come first");
        assert!(page.contains("gateway.graphiql = false"), "{page}");
    }
}
