// Roles and who has them; enough for the routes below /api/users/:userId/roles. They change silently: no webhook.

import { RequestError, randomId } from './errors.mjs';
import { openTables } from './tables.mjs';

export function createRoles(tables = openTables()) {
  const roles = tables.open('roles');
  // Lists of role ids, each once.
  const byUser = tables.open('users_roles');
  const assigned = (userId) => byUser.get(userId) ?? [];
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
    of: (userId) => assigned(userId).map((id) => roles.get(id)),
    namesOf: (userId) => assigned(userId).map((id) => roles.get(id).name),
    /** Returns the ids that were new. */
    assign(userId, roleIds) {
      known(roleIds);
      const before = assigned(userId);
      byUser.set(userId, [...new Set([...before, ...roleIds])]);
      return roleIds.filter((id) => !before.includes(id));
    },
    replace(userId, roleIds) {
      known(roleIds);
      byUser.set(userId, [...new Set(roleIds)]);
    },
    remove(userId, roleId) {
      if (!assigned(userId).includes(roleId)) throw new RequestError('entity.not_found', 404);
      byUser.set(userId, assigned(userId).filter((id) => id !== roleId));
    },
    forget: (userId) => byUser.delete(userId),
  };
}
