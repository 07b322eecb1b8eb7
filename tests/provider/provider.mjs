// An identity provider of people in a file: oidc-provider, with a page where they prove who they are. Says where it is, and then tells each request.
//
// node provider.mjs FOLDER SETTINGS: FOLDER has the packages in it; SETTINGS is JSON: what the gateway is known as, where it takes logouts, the people.

import { randomBytes, generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, settingsText] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(join(folder, 'node_modules/oidc-provider/lib/index.js')));
const settings = JSON.parse(settingsText);
const barred = new Set();

function newKey() {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { ...privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig', kid: randomBytes(8).toString('hex') };
}

function account(name) {
  const person = settings.people[name];
  if (!person || barred.has(name)) return undefined;
  const claims = { sub: person.sub, preferred_username: name, email: `${name}@example.com`, groups: person.groups };
  return { accountId: person.sub, claims: async () => claims };
}

const nameOf = (sub) => Object.keys(settings.people).find((name) => settings.people[name].sub === sub);

const page = (body) => `<!DOCTYPE html><html><head><meta charset="utf-8"><title>Provider</title></head><body>${body}</body></html>`;

const server = createServer((request, response) => {
  console.log(`${request.method} ${new URL(request.url, issuer).pathname}`);
  answer(request, response).catch((error) => {
    console.log(error);
    response.writeHead(500).end();
  });
});
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const issuer = `http://127.0.0.1:${server.address().port}`;
const cookieKeys = [randomBytes(16).toString('hex')];

// What was begun is kept by the package's own memory, which all instances share.
function provider(keys) {
  const made = new Provider(issuer, {
    clients: [{
      client_id: settings.client_id,
      client_secret: settings.client_secret,
      application_type: 'native',
      redirect_uris: ['http://127.0.0.1/callback'],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'client_secret_basic',
      id_token_signed_response_alg: 'ES256',
      backchannel_logout_uri: settings.logout_uri,
      backchannel_logout_session_required: true,
    }],
    jwks: { keys },
    cookies: { keys: cookieKeys },
    claims: { openid: ['sub'], profile: ['preferred_username'], email: ['email'], groups: ['groups'] },
    conformIdTokenClaims: false,
    enabledJWA: { idTokenSigningAlgValues: ['ES256'] },
    pkce: { required: () => true, methods: ['S256'] },
    issueRefreshToken: async () => true,
    // Each one works once; whoever shows one twice ends all.
    rotateRefreshToken: () => true,
    findAccount: async (_, sub) => account(nameOf(sub)),
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: async (ctx, form) => {
          ctx.body = page(`${form}<button id="leave" type="submit" form="op.logoutForm" value="yes" name="logout">Sign out</button>`);
        },
        postLogoutSuccessSource: async (ctx) => { ctx.body = page('You are signed out'); },
      },
    },
  });
  made.on('backchannel.error', (_, error) => console.log('logout not taken:', error.message));
  made.on('backchannel.success', () => console.log('logout taken'));
  made.on('server_error', (_, error) => console.log(error));
  made.on('grant.error', (_, error) => console.log('grant refused:', error.error_description));
  return made;
}

let keys = [newKey()];
let current = provider(keys);

async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return new URLSearchParams(Buffer.concat(chunks).toString());
}

async function answer(request, response) {
  const { pathname, searchParams } = new URL(request.url, issuer);
  if (request.method === 'POST' && pathname === '/test/bar') {
    barred.add(searchParams.get('name'));
    return response.writeHead(204).end();
  }
  if (request.method === 'POST' && pathname === '/test/rotate') {
    // The new one signs; the old one is published for those who still hold what it signed.
    keys = [newKey(), ...keys];
    current = provider(keys);
    return response.writeHead(204).end();
  }
  if (pathname.startsWith('/interaction/')) return interact(request, response);
  return current.callback()(request, response);
}

async function interact(request, response) {
  const details = await current.interactionDetails(request, response);
  const login = details.prompt.name === 'login';
  const show = (status, text) => response.writeHead(status, { 'content-type': 'text/html' }).end(page(text));
  const form = login
    ? '<form method="post"><input id="name" name="name"><input id="password" type="password" name="password"><button id="go">Sign in</button></form>'
    : '<form method="post"><button id="consent">Continue</button></form>';
  if (request.method !== 'POST') return show(200, form);
  if (login) {
    const shown = await body(request);
    const name = shown.get('name');
    if (settings.people[name]?.password !== shown.get('password')) return show(401, `Name or password is wrong${form}`);
    if (!account(name)) return show(403, 'You are barred');
    const result = { login: { accountId: settings.people[name].sub } };
    return current.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
  }
  const of = { accountId: details.session.accountId, clientId: details.params.client_id };
  const grant = details.grantId ? await current.Grant.find(details.grantId) : new current.Grant(of);
  const { missingOIDCScope, missingOIDCClaims } = details.prompt.details;
  if (missingOIDCScope) grant.addOIDCScope(missingOIDCScope.join(' '));
  if (missingOIDCClaims) grant.addOIDCClaims(missingOIDCClaims);
  const result = { consent: { grantId: await grant.save() } };
  return current.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
}

console.log(`issuer ${issuer}`);
