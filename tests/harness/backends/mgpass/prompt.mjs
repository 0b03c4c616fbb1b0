// Road 1: somebody whom an import brought without a password is asked to set one at their
// first sign-in. ASSUMPTION, all of it: mgPass's migration guide names the prompt and says
// nothing of how it works. Here the address is proved by a code in a mail, which stays in a
// mailbox of the stand-in (control route /mails), and only a verified address gets one.
// A forgotten password goes the same way: that a reset is entered as `user.password_reset` is
// assumed, too.

import { auditEntry, userParty } from './audit.mjs';
import { hashPassword, sha256 } from './crypto.mjs';

const CODE_SECONDS = 600;
const MAX_TRIES = 5;

const hasMailbox = (user) => user !== null && user.email_verified === 1 && !user.is_suspended;

export const isPrompted = (user) => hasMailbox(user) && user.password_hash === null;

/** Whoever says so, has a password, and can be written to. */
export const isForgetful = (user, form) => form.forgot === 'on' && hasMailbox(user) && user.password_hash !== null;

// Sends a code, and takes the earlier one's place.
export async function prompt(context, user, template = 'set_password') {
  const code = String(crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000).padStart(6, '0');
  await context.db.batch([
    context.db
      .prepare(
        `INSERT INTO password_prompts (user_id, code_hash, expires_at) VALUES (?1, ?2, unixepoch() + ?3)
         ON CONFLICT (user_id) DO UPDATE SET code_hash = excluded.code_hash, expires_at = excluded.expires_at, n_tries = 0`,
      )
      .bind(user.id, await sha256(code), CODE_SECONDS),
    context.db
      .prepare('INSERT INTO mails (user_id, subject, code, sent_at) VALUES (?, ?, ?, unixepoch())')
      .bind(user.id, 'Set a new password', code),
    auditEntry(context, 'user.email_sent', { target: userParty(user), metadata: { template } }),
  ]);
}

// Why the password was not set, or nothing. A code is good once, for ten minutes and five tries.
export async function setPrompted(context, user, { code = '', new_password: password = '' }, entry = 'user.password_set') {
  if (password.length < 8) return 'The password needs at least 8 characters';
  const { results } = await context.db
    .prepare(
      `UPDATE password_prompts SET n_tries = n_tries + 1
       WHERE user_id = ? AND expires_at > unixepoch() AND n_tries < ? RETURNING code_hash`,
    )
    .bind(user.id, MAX_TRIES)
    .all();
  if (results[0]?.code_hash !== (await sha256(code))) return 'Wrong or expired code';
  await context.db.batch([
    context.db.prepare('DELETE FROM password_prompts WHERE user_id = ?').bind(user.id),
    context.db
      .prepare('UPDATE users SET password_hash = ? WHERE id = ? AND password_hash IS ?')
      .bind(await hashPassword(password), user.id, user.password_hash),
    auditEntry(context, entry, { actor: userParty(user), target: userParty(user) }),
  ]);
  return undefined;
}
