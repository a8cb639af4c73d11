"use strict";
// Runs after the scripts of others, or after the browser has given up on them.
(() => {
  const editor = document.getElementById("editor");
  const loaded =
    window.React && window.ReactDOM && window.GraphiQL && document.getElementById("style").sheet;
  if (!loaded) {
    document.getElementById("failure").hidden = false;
    document.getElementById("loading").hidden = true;
    return;
  }
  const operations = new URL("/graphql", window.location.href);
  const subscriptions = new URL(operations);
  subscriptions.protocol = operations.protocol === "https:" ? "wss:" : "ws:";
  const fetcher = window.GraphiQL.createFetcher({
    url: operations.href,
    subscriptionUrl: subscriptions.href,
  });
  const view = window.React.createElement(window.GraphiQL, {
    fetcher,
    defaultEditorToolsVisibility: true,
  });
  window.ReactDOM.createRoot(editor).render(view);
})();
