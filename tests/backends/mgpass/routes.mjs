// The surface as data, read by the Worker (dispatch) and by the front before it
// (the names under which requests are counted). Order matters: first match wins.

export const routes = [
  ['GET', '/.well-known/openid-configuration', 'discovery'],
  ['GET', '/.well-known/jwks.json', 'jwks'],
  ['GET', '/authorize', 'authorize'],
  ['POST', '/authorize', 'sign_in'],
  ['POST', '/token', 'token'],
  ['POST', '/token/introspect', 'introspect'],
  ['POST', '/token/revoke', 'revoke'],
  ['GET', '/userinfo', 'userinfo'],
  ['GET', '/logout', 'logout'],
  ['POST', '/logout', 'logout'],
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
].map(([method, pattern, name]) => ({ method, pattern, name, matcher: compile(pattern) }));

// The route of a request and its decoded parameters, or undefined.
export function matchRoute(method, pathname) {
  for (const route of routes) {
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
