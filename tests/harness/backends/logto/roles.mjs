// Roles and who has them; enough for the routes below /api/users/:userId/roles. They change silently: no webhook.

import { RequestError, randomId } from './errors.mjs';

export function createRoles() {
  const roles = new Map();
  const byUser = new Map();
  const assigned = (userId) => byUser.get(userId) ?? new Set();
  const known = (roleIds) => {
    if (roleIds.some((id) => !roles.has(id))) throw new RequestError('entity.relation_foreign_key_not_found', 422);
  };
  return {
    create({ name, description, type = 'User' }) {
      const role = { tenantId: 'default', id: randomId(21), name, description, type, isDefault: false };
      roles.set(role.id, role);
      return role;
    },
    list: () => [...roles.values()],
    of: (userId) => [...assigned(userId)].map((id) => roles.get(id)),
    namesOf: (userId) => [...assigned(userId)].map((id) => roles.get(id).name),
    /** Returns the ids that were new. */
    assign(userId, roleIds) {
      known(roleIds);
      const before = assigned(userId);
      byUser.set(userId, new Set([...before, ...roleIds]));
      return roleIds.filter((id) => !before.has(id));
    },
    replace(userId, roleIds) {
      known(roleIds);
      byUser.set(userId, new Set(roleIds));
    },
    remove(userId, roleId) {
      if (!assigned(userId).has(roleId)) throw new RequestError('entity.not_found', 404);
      assigned(userId).delete(roleId);
    },
    forget: (userId) => byUser.delete(userId),
  };
}
