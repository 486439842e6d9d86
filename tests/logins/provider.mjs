// SPDX-License-Identifier: AGPL-3.0-or-later
// An OpenID Connect provider for the tests, which also answers as GitHub does. The file that is named as
// argument holds {port, issuer, client: {id, secret, redirects}, github, people: {name: claims}, algorithm}.
import { readFileSync } from "node:fs";
import { Provider } from "oidc-provider";

const config = JSON.parse(readFileSync(process.argv[2], "utf-8"));
const github = config.github
  ? { routes: { authorization: "/login/oauth/authorize", token: "/login/oauth/access_token" } }
  : {};

const provider = new Provider(config.issuer, {
  clients: config.clients.map((client) => ({
    client_id: client.id,
    client_secret: client.secret,
    redirect_uris: client.redirects,
    token_endpoint_auth_method: config.github ? "client_secret_post" : "client_secret_basic",
  })),
  claims: { openid: ["sub"], profile: ["preferred_username", "name"], groups: ["groups"] },
  scopes: ["openid", "profile", "groups", "read:user", "read:org"],
  cookies: { keys: ["only for tests"] },
  pkce: { required: () => true },
  findAccount: (_context, id) => ({ accountId: id, claims: () => ({ sub: id, ...config.people[id] }) }),
  ...github,
});

// what GitHub tells about whoever a token is for
provider.use(async (context, next) => {
  const path = context.path.replace(/^\/api\/v3/, "");
  if (!config.github || path === context.path) return next();
  const [, text] = (context.headers.authorization ?? "").split(" ");
  const token = await provider.AccessToken.find(text ?? "");
  if (!token) {
    context.status = 401;
    context.body = { message: "Bad credentials" };
    return undefined;
  }
  const person = config.people[token.accountId];
  const all = { "/user": { login: token.accountId }, "/user/orgs": person.orgs, "/user/teams": person.teams };
  const found = all[path];
  // pages of one, as a person with many teams sees pages of a hundred
  context.body = Array.isArray(found) && Number(context.query.page) > 1 ? [] : found;
  return undefined;
});

const server = provider.listen(config.port, "127.0.0.1", () => process.stdout.write("ready\n"));
process.on("SIGTERM", () => server.close(() => process.exit(0)));
