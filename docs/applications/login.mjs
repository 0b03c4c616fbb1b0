// Login with two issuers: Logto and mgPass, a client at each. Framework-free; on openid-client.
//
//   const login = await dualLogin({
//     link: 'https://auth.example.com/_proxy/sign-in/newsroom',
//     endSession: 'https://auth.example.com/oidc/session/end',
//     afterSignOut: 'https://newsroom.example/',
//     sides: {
//       logto: { issuer: 'https://auth.example.com/oidc', clientId: '…', start: 'https://newsroom.example/login/logto',
//                callback: 'https://newsroom.example/callback/logto', scope: '…', prompt: 'consent' },
//       mgpass: { issuer: 'https://auth.mgpass.net', clientId: 'app_…', clientSecret: '…', …, nonce: false },
//     },
//   });
//   http.createServer(async (request, response) => {
//     if (await login.handle(request, response)) return;       // its own addresses
//     const session = login.session(request);                  // undefined: send the browser to login.link
//   });
//
// What holds it together: whatever belongs to a sign-in or a session carries its side, and only
// that side's configuration ever sees it. A callback is judged by the side whose address it came
// to, which must be the side that the browser set out for; so an answer of the one cannot pass
// for the other's (mix-up), and nobody is signed in by a link of somebody else's (login CSRF).

import { randomBytes } from 'node:crypto';

import * as oidc from 'openid-client';

const SIGN_IN_MS = 15 * 60_000;
const random = () => randomBytes(32).toString('base64url');

export async function dualLogin({ link, endSession, afterSignOut, sides, store = new Map(), insecure = false }) {
  const configs = {};
  for (const [name, side] of Object.entries(sides)) {
    const authenticate = side.clientSecret ? oidc.ClientSecretBasic(side.clientSecret) : oidc.None();
    // The signature of an ID token is checked, though it comes over TLS.
    const execute = [oidc.enableNonRepudiationChecks, ...(insecure ? [oidc.allowInsecureRequests] : [])];
    const found = await oidc.discovery(new URL(side.issuer), side.clientId, side.clientSecret, authenticate, { execute });
    configs[name] = found;
    if (!side.tokenEndpoint) continue;
    // The auth host sends it to the side of its client id.
    const metadata = { ...found.serverMetadata(), token_endpoint: side.tokenEndpoint };
    configs[name] = new oidc.Configuration(metadata, side.clientId, side.clientSecret, authenticate);
    for (const change of execute) change(configs[name]);
  }

  const cookie = (request, name) => {
    const found = (request.headers.cookie ?? '').split('; ').find((pair) => pair.startsWith(`${name}=`));
    return found?.slice(name.length + 1);
  };
  // Lax: it comes along when the issuer sends the browser back.
  const keep = (name, value, seconds) =>
    `${name}=${value}; Path=/; HttpOnly; SameSite=Lax; Max-Age=${seconds}${insecure ? '' : '; Secure'}`;
  const seeOther = (response, location, cookies = []) => {
    response.writeHead(303, { location, 'cache-control': 'no-store', 'referrer-policy': 'no-referrer', 'set-cookie': cookies }).end();
    return true;
  };

  async function begin(name, request, response) {
    const side = sides[name];
    const browser = cookie(request, 'login') ?? random();
    const pending = { side: name, verifier: oidc.randomPKCECodeVerifier(), state: oidc.randomState(), until: Date.now() + SIGN_IN_MS };
    if (side.nonce !== false) pending.nonce = oidc.randomNonce();
    store.set(`pending ${browser} ${pending.state}`, pending);
    const to = oidc.buildAuthorizationUrl(configs[name], {
      redirect_uri: side.callback,
      scope: side.scope,
      state: pending.state,
      code_challenge: await oidc.calculatePKCECodeChallenge(pending.verifier),
      code_challenge_method: 'S256',
      ...(pending.nonce && { nonce: pending.nonce }),
      ...(side.prompt && { prompt: side.prompt }),
    });
    return seeOther(response, to.href, [keep('login', browser, SIGN_IN_MS / 1_000)]);
  }

  async function finish(name, url, request, response) {
    const key = `pending ${cookie(request, 'login')} ${url.searchParams.get('state')}`;
    const pending = store.get(key);
    // Once, whatever comes of it.
    store.delete(key);
    if (!pending || pending.side !== name || pending.until < Date.now()) {
      response.writeHead(400, { 'content-type': 'text/plain' }).end('This sign-in was not begun here. Please start again.');
      return true;
    }
    let tokens;
    try {
      tokens = await oidc.authorizationCodeGrant(configs[name], url, {
        pkceCodeVerifier: pending.verifier, expectedState: pending.state, expectedNonce: pending.nonce, idTokenExpected: true,
      });
    } catch (error) {
      response.writeHead(502, { 'content-type': 'text/plain' }).end(`The sign-in failed: ${error.code ?? error.name}. Please start again.`);
      return true;
    }
    const id = random();
    store.set(`session ${id}`, {
      id, side: name, subject: tokens.claims().sub, claims: tokens.claims(), idToken: tokens.id_token,
      accessToken: tokens.access_token, refreshToken: tokens.refresh_token,
    });
    return seeOther(response, new URL('/', sides[name].start).href, [keep('session', id, 30 * 86_400), keep('login', '', 0)]);
  }

  const session = (request) => store.get(`session ${cookie(request, 'session')}`);

  // One request at a time for each session: a refresh token is presented once.
  const refreshing = new Map();
  function refresh(of) {
    const running = refreshing.get(of.id);
    if (running) return running;
    const asked = oidc.refreshTokenGrant(configs[of.side], of.refreshToken).then((tokens) => {
      const fresh = { ...of, accessToken: tokens.access_token, refreshToken: tokens.refresh_token ?? of.refreshToken };
      // Stored before it is used.
      store.set(`session ${of.id}`, fresh);
      return fresh;
    }).finally(() => refreshing.delete(of.id));
    refreshing.set(of.id, asked);
    return asked;
  }

  // At both sides, in one chain in the browser; the session here ends at once.
  function signOut(request, response) {
    const of = session(request);
    if (!of) return seeOther(response, afterSignOut);
    store.delete(`session ${of.id}`);
    const to = new URL(endSession);
    to.search = new URLSearchParams({ id_token_hint: of.idToken, post_logout_redirect_uri: afterSignOut, state: random() });
    return seeOther(response, to.href, [keep('session', '', 0)]);
  }

  async function handle(request, response) {
    for (const [name, side] of Object.entries(sides)) {
      // By the whole address: two sides may differ in the host alone.
      const url = new URL(request.url, `${new URL(side.start).protocol}//${request.headers.host}`);
      const here = url.origin + url.pathname;
      if (request.method === 'GET' && here === side.start) return begin(name, request, response);
      if (request.method === 'GET' && here === side.callback) return finish(name, url, request, response);
    }
    return false;
  }

  return { link, handle, session, refresh, signOut };
}
