// The hosted page: sign-in, a first password, and consent for someone already signed in. A plain
// form that posts back to the address it came from.

export function signInPage({ application, action, message }) {
  return page(
    `Sign in to ${application.name}`,
    `${message === undefined ? '' : `<p role="alert">${escape(message)}</p>`}
    <form method="post" action="${escape(action)}">
      <label>Email <input name="email" type="email" autocomplete="username" required autofocus></label>
      <label>Password <input name="password" type="password" autocomplete="current-password" required></label>
      <label><input name="remember" type="checkbox" value="on" checked> Remember me</label>
      <button>Sign in</button>
      <button name="forgot" value="on" formnovalidate>Forgot password?</button>
    </form>`,
  );
}

// ASSUMPTION (prompt.mjs): whoever has no password yet sets one here, and whoever forgot theirs.
export function passwordPage({ application, action, email, message, isForgotten = false }) {
  return page(
    `Set a new password for ${application.name}`,
    `<p>${isForgotten ? 'If we know your address, we' : `${escape(application.name)} has moved. We`} have sent a code to ${escape(email)}.</p>
    ${message === undefined ? '' : `<p role="alert">${escape(message)}</p>`}
    <form method="post" action="${escape(action)}">
      <input name="email" type="hidden" value="${escape(email)}">${isForgotten ? '<input name="forgot" type="hidden" value="on">' : ''}
      <label>Code <input name="code" inputmode="numeric" autocomplete="one-time-code" required autofocus></label>
      <label>New password <input name="new_password" type="password" autocomplete="new-password" minlength="8" required></label>
      <label><input name="remember" type="checkbox" value="on" checked> Remember me</label>
      <button>Set password and sign in</button>
    </form>`,
  );
}

export function consentPage({ application, action, user, scopes }) {
  return page(
    `Continue to ${application.name}`,
    `<p>Signed in as ${escape(user.name ?? user.email ?? user.id)}.</p>
    <p>${escape(application.name)} asks for: ${escape(scopes.join(', '))}</p>
    <form method="post" action="${escape(action)}">
      <button name="consent" value="yes">Continue</button>
    </form>`,
  );
}

function page(title, body) {
  return `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <title>${escape(title)}</title>
    <style>body{font:16px sans-serif;max-width:22rem;margin:4rem auto}label{display:block;margin:1rem 0}</style>
  </head>
  <body>
    <h1>${escape(title)}</h1>
    ${body}
  </body>
</html>`;
}

function escape(text) {
  const entities = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
  return text.replaceAll(/[&<>"']/g, (character) => entities[character]);
}
