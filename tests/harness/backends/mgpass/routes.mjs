// The surface as data, read by the Worker (dispatch) and by the front before it
// (the names under which requests are counted). Order matters: first match wins.
// A fourth member names the edition that alone has the route.

export const routes = [
  ['GET', '/.well-known/openid-configuration', 'discovery'],
  ['GET', '/.well-known/jwks.json', 'jwks'],
  ['GET', '/authorize', 'authorize'],
  ['GET', '/oidc/auth', 'authorize', 'e2'],
  ['POST', '/authorize', 'sign_in'],
  ['POST', '/oidc/auth', 'sign_in', 'e2'],
  ['POST', '/token', 'token', 'e3'],
  ['POST', '/api/token', 'token', 'e2'],
  ['POST', '/token/introspect', 'introspect', 'e3'],
  ['POST', '/token/revoke', 'revoke', 'e3'],
  ['GET', '/userinfo', 'userinfo', 'e3'],
  ['GET', '/oidc/userinfo', 'userinfo', 'e2'],
  ['GET', '/logout', 'logout'],
  ['POST', '/logout', 'logout', 'e3'],
  ['GET', '/api/users', 'users.list'],
  ['POST', '/api/users', 'users.create'],
  ['GET', '/api/users/:id', 'users.get'],
  ['PATCH', '/api/users/:id', 'users.update'],
  ['DELETE', '/api/users/:id', 'users.delete'],
  ['POST', '/api/users/:id/suspend', 'users.suspend'],
  ['POST', '/api/users/:id/unsuspend', 'users.unsuspend'],
  ['GET', '/api/users/:id/sessions', 'users.sessions'],
  ['POST', '/api/users/:id/sessions/revoke-all', 'users.revoke_all'],
  ['GET', '/api/users/:id/identities', 'users.identities'],
  ['GET', '/api/users/:id/login-history', 'users.login_history'],
  ['POST', '/api/users/:id/roles', 'users.assign_role'],
  ['DELETE', '/api/users/:id/roles/:roleId', 'users.remove_role'],
  ['GET', '/api/roles', 'roles.list'],
  ['GET', '/api/audit', 'audit'],
  ['GET', '/api/account/rewards', 'account.rewards'],
  ['GET', '/api/account/rewards/history', 'account.history'],
  ['GET', '/api/rewards/ledger', 'rewards.ledger'],
  ['GET', '/api/rewards/ledger/export', 'rewards.export'],
  ['POST', '/api/rewards/credit', 'rewards.credit'],
  ['POST', '/api/rewards/reconcile/:userId', 'rewards.reconcile'],
].map(([method, pattern, name, edition]) => ({ method, pattern, name, edition, matcher: compile(pattern) }));

// The route of a request and its decoded parameters, or undefined.
export function matchRoute(method, pathname, edition) {
  for (const route of routes) {
    if (route.edition !== undefined && route.edition !== edition) continue;
    const match = route.method === method ? route.matcher.exec(pathname) : null;
    if (match !== null) return { name: route.name, params: decodeAll(match.groups ?? {}) };
  }
  return undefined;
}

// The name under which a request is counted: its pattern, else its path.
export function routeName(method, pathname) {
  return routes.find((route) => route.method === method && route.matcher.test(pathname))?.pattern ?? pathname;
}

function compile(pattern) {
  const source = pattern.replaceAll('.', '\\.').replaceAll(/:(\w+)/g, '(?<$1>[^/]+)');
  return new RegExp(`^${source}$`);
}

function decodeAll(groups) {
  return Object.fromEntries(Object.entries(groups).map(([name, value]) => [name, decode(value)]));
}

function decode(value) {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}
