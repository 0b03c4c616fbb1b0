// Random writes on users, with the state that each one meets.

import { createBodies } from './bodies.mjs';

const usersRoutes = [
  [12, 'create', 'POST', () => ''],
  [26, 'patch', 'PATCH', (id) => `/${id}`],
  [9, 'customData', 'PATCH', (id) => `/${id}/custom-data`],
  [7, 'profile', 'PATCH', (id) => `/${id}/profile`],
  [4, 'password', 'PATCH', (id) => `/${id}/password`],
  [4, 'password', 'POST', (id) => `/${id}/password/verify`, 'verify'],
  [4, 'suspension', 'PATCH', (id) => `/${id}/is-suspended`],
  [4, 'none', 'DELETE', (id) => `/${id}`, 'delete'],
  [10, 'identity', 'PUT', (id, target) => `/${id}/identities/${target}`],
  [2, 'connector', 'POST', (id) => `/${id}/identities`],
  [5, 'none', 'DELETE', (id, target) => `/${id}/identities/${target}`, 'dropIdentity'],
].map(([weight, body, method, path, name = body]) => [weight, { family: 'users', name, body, method, path: (...parts) => `/api/users${path(...parts)}` }]);

const accountRoutes = [
  [14, 'accountPatch', 'PATCH', ''],
  [9, 'accountProfile', 'PATCH', '/profile'],
  [8, 'password', 'POST', '/password', 'accountPassword'],
  [3, 'accountEmail', 'POST', '/primary-email'],
  [3, 'none', 'DELETE', '/primary-email', 'accountDropEmail'],
  [3, 'accountPhone', 'POST', '/primary-phone'],
  [3, 'none', 'DELETE', '/primary-phone', 'accountDropPhone'],
  [2, 'accountIdentity', 'POST', '/identities', 'accountLink'],
  [1, 'accountIdentity', 'PUT', '/identities', 'accountRelink'],
].map(([weight, body, method, path, name = body]) => [weight, { family: 'account', name, body, method, path: () => `/api/my-account${path}` }]);
accountRoutes.push([4, { family: 'account', name: 'accountDropIdentity', body: 'none', method: 'DELETE', path: (_id, target) => `/api/my-account/identities/${target}` }]);

export function createRequests(random) {
  const { pick, chance, weighted } = random;
  const bodies = createBodies(random);

  /** Of `users`, or of nobody, or of the caller itself. */
  return function next({ users, self }) {
    const people = users.map((user) => user.id);
    bodies.lend(users);
    const route = weighted([[68, usersRoutes], [32, accountRoutes]]);
    const { family, name, body, method, path } = weighted(route);
    const id = weighted([[88, () => pick(people)], [8, () => pick(['nobody000000', 'x', '%75nknown', 'ünknown', 'a%2Fb'])], [4, () => self]])();
    const account = pick(people);
    const { identities = {} } = users.find((user) => user.id === (family === 'account' ? account : id)) ?? {};
    const target = encodeURIComponent(method === 'DELETE' && chance(60) && Object.keys(identities).length > 0 ? pick(Object.keys(identities)) : pick(bodies.targets));
    const { contentType, contentEncoding, bytes } = bodies.make(body);
    const hasBody = method !== 'DELETE';
    return {
      family, name, method, path: path(encodeURIComponent(decodeURIComponent(id)), target), id: decodeURIComponent(id),
      contentType: hasBody ? contentType : undefined, contentEncoding: hasBody ? contentEncoding : undefined, bytes: hasBody ? bytes : undefined,
      account: family === 'account' ? account : undefined,
      proof: weighted([[60, 'own'], [25, 'none'], [8, 'foreign'], [7, 'unasked']]),
      origin: chance(30) ? 'https://app.example' : undefined,
    };
  };
}
