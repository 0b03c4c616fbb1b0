// What the backends were shown, judged from what they themselves kept: twice, at the wrong side,
// or cookies of the proxy's. Pure, so that the drill can show that each finds what it is for.

export function presented(kept) {
  return kept.filter(({ path }) => /^\/(oidc\/)?token(\?|$)/.test(path)).map(({ authorization, body, status, at }) => {
    const form = new URLSearchParams(body);
    const basic = /^Basic (.+)$/.exec(authorization ?? '')?.[1];
    const id = basic && decodeURIComponent(Buffer.from(basic, 'base64').toString().split(':')[0]);
    return { client: id ?? form.get('client_id'), grant: form.get('grant_type'), secret: form.get('refresh_token') ?? form.get('code'), status, at };
  });
}

/** Codes and refresh tokens that one side saw more often than the applications sent them; a code is sent once. */
export function twice(entries, sent = new Map()) {
  const counts = new Map();
  for (const { secret } of entries) if (secret) counts.set(secret, (counts.get(secret) ?? 0) + 1);
  return [...counts].filter(([secret, count]) => count > (sent.get(secret) ?? 1)).length;
}

/** Requests with a client, a code or a token that is the other side's. */
export function wrongSide(logto, mgpass) {
  const isMgpass = ({ client }) => client?.startsWith('app_');
  const accepted = (entries) => new Set(entries.filter(({ status }) => status === 200).map(({ secret }) => secret).filter(Boolean));
  const [ofLogto, ofMgpass] = [accepted(logto), accepted(mgpass)];
  return logto.filter((entry) => isMgpass(entry) || ofMgpass.has(entry.secret)).length
    + mgpass.filter((entry) => !isMgpass(entry) || ofLogto.has(entry.secret)).length;
}

/** Requests with a cookie of the proxy's own. */
export function ownCookies(kept) {
  return kept.filter(({ cookie }) => cookie?.includes('dwp_')).length;
}

/** Each of these finds what it is for. */
export function proveJudges() {
  const ask = (client, secret, status = 200) => ({
    path: '/oidc/token', authorization: `Basic ${Buffer.from(`${client}:s`).toString('base64')}`, body: `grant_type=refresh_token&refresh_token=${secret}`, status,
  });
  const good = { logto: presented([ask('spa', 'a'), ask('spa', 'b')]), mgpass: presented([ask('app_x', 'c')]) };
  const cases = [
    [twice(good.logto), 0], [twice(presented([ask('spa', 'a'), ask('spa', 'a')])), 1],
    [twice(presented([ask('spa', 'a'), ask('spa', 'a')]), new Map([['a', 2]])), 0],
    [wrongSide(good.logto, good.mgpass), 0],
    [wrongSide(presented([ask('app_x', 'c')]), []), 1],
    [wrongSide([], presented([ask('spa', 'a')])), 1],
    [wrongSide(good.logto, presented([ask('app_x', 'a', 400)])), 1],
    [ownCookies([{ cookie: 'a=1' }]), 0], [ownCookies([{ cookie: 'a=1; __Secure-dwp_pin=1.2.3' }]), 1],
  ];
  return cases.every(([found, expected]) => found === expected);
}
