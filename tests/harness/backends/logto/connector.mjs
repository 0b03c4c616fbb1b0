// Social connectors without a provider: what the provider would say of somebody comes in `connectorData`, as
// {userId, ...details}. A connector's id is its target, too.

import { RequestError } from './errors.mjs';

const connectors = ['google', 'github', 'facebook'];

/** {target, identity}, as it is written into a user's `identities`. */
export function socialIdentity(connectorId, connectorData) {
  if (!connectors.includes(connectorId)) throw new RequestError('entity.not_found', 404);
  const { userId, ...details } = connectorData ?? {};
  if (typeof userId !== 'string' || userId === '') throw new RequestError('session.verification_failed', 400);
  return { target: connectorId, identity: { userId, details: { id: userId, ...details } } };
}

export const authorizationUri = (connectorId, { state, redirectUri }) =>
  `https://${connectorId}.example/authorize?${new URLSearchParams({ state, redirect_uri: redirectUri })}`;
