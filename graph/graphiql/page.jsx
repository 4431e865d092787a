// The page at /graphql: GraphiQL as it comes, for the endpoint that the page was served from.
import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { GraphiQL } from 'graphiql';
import { createRoot } from 'react-dom/client';
import 'graphiql/graphiql.css';

const query = `# Sign in with the mutation below, then put its access token into the Headers pane:
#   {"Authorization": "Bearer …"}
mutation SignIn {
  login(input: { email: "", password: "" }) {
    tokens { accessToken }
    userErrors { message }
  }
}

query Viewer {
  viewer { id name }
}

# Each event has a cursor: a subscription with "after" goes on behind it.
subscription Follow {
  projectChanged { cursor kind project { name } }
}
`;

// Subscriptions go over a WebSocket to the same address, with what is in the Headers pane.
const { href } = new URL(window.location.pathname, window.location.href.replace(/^http/, 'ws'));

createRoot(document.getElementById('graphiql')).render(
  <GraphiQL
    fetcher={createGraphiQLFetcher({ url: window.location.pathname, subscriptionUrl: href })}
    defaultQuery={query}
    defaultEditorToolsVisibility="headers"
    isHeadersEditorEnabled
    shouldPersistHeaders={false}
  />,
);
