// What a test may change while the stand-in runs. Kept in the isolate: the
// control entrypoint shares it with the public one, and a restart brings the
// variables of wrangler.toml back.

const settings = {};

const VARIABLES = {
  read_cache_ms: 'READ_CACHE_MS',
  users_limit_per_minute: 'USERS_LIMIT_PER_MINUTE',
  refresh_grace_ms: 'REFRESH_GRACE_MS',
};

export function getSettings(env) {
  for (const [name, variable] of Object.entries(VARIABLES)) settings[name] ??= Number(env[variable]);
  return settings;
}

// Returns the names that are unknown or not a number of at least 0, and then changes nothing.
export function changeSettings(env, changes) {
  const current = getSettings(env);
  const wrong = Object.entries(changes)
    .filter(([name, value]) => !(name in VARIABLES) || !Number.isFinite(value) || value < 0)
    .map(([name]) => name);
  if (wrong.length === 0) Object.assign(current, changes);
  return wrong;
}
