// Routes below /api, matched as Logto's router does: the mount prefix is case-sensitive, what follows is not,
// one trailing slash is allowed, parameters are percent-decoded after the match.

const decode = (segment) => {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
};

export class Router {
  #routes = [];

  /** `options`: {area} names the guard and CORS rules that apply (see server.mjs). */
  add(method, path, options, handler) {
    const segments = path.slice(1).split('/').map((segment) => (segment.startsWith(':')
      ? { param: segment.slice(1) }
      : { fixed: segment.toLowerCase() }));
    this.#routes.push({ method, path, segments, options, handler });
  }

  #fits(route, parts) {
    return route.segments.length === parts.length
      && route.segments.every(({ fixed }, index) => (fixed === undefined ? parts[index] !== '' : fixed === parts[index].toLowerCase()));
  }

  #parts(path) {
    const trimmed = path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path;
    return trimmed.slice(1).split('/');
  }

  /** `path` is without /api. A HEAD request takes the GET route. */
  match(method, path) {
    const parts = this.#parts(path);
    const wanted = method === 'HEAD' ? 'GET' : method;
    for (const route of this.#routes) {
      if (route.method !== wanted || !this.#fits(route, parts)) continue;
      const params = {};
      route.segments.forEach(({ param }, index) => { if (param) params[param] = decode(parts[index]); });
      return { route, params };
    }
    return undefined;
  }

  /** `METHOD /path` of each route that may change something, sorted. */
  mutating() {
    return this.#routes.filter(({ method }) => method !== 'GET').map(({ method, path }) => `${method} /api${path}`).sort();
  }

  /** Methods of the routes with this path, in order of registration: the Allow header. */
  allowed(path) {
    const parts = this.#parts(path);
    const methods = [];
    const areas = new Set();
    for (const route of this.#routes) {
      if (!this.#fits(route, parts)) continue;
      areas.add(route.options.area);
      for (const method of route.method === 'GET' ? ['HEAD', 'GET'] : [route.method]) if (!methods.includes(method)) methods.push(method);
    }
    return { methods, areas };
  }
}

/** Names for the counters. The first parameter is always called :id, whatever Logto calls it. */
export function routeNamer(router) {
  return (method, path) => {
    if (path === '/api' || path.startsWith('/api/')) {
      const found = router.match(method, path.slice(4) || '/');
      if (!found) return '/api/*';
      let first = true;
      return `/api${found.route.path.replace(/:\w+/g, (name) => { const result = first ? ':id' : name; first = false; return result; })}`;
    }
    if (/^\/oidc\/auth\/[^/]+$/i.test(path)) return '/oidc/auth/:uid';
    if (/^\/oidc\/device\/(?!auth$)[^/]+$/i.test(path)) return '/oidc/device/:uid';
    return path.length > 60 ? `${path.slice(0, 60)}…` : path;
  };
}
