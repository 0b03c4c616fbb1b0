// Answers and request bodies. Errors are flat: { error, message }. OAuth
// endpoints add error_description, which OAuth clients read (ASSUMPTION: the
// documents show now the one, now the other).

export class ApiError extends Error {
  constructor(status, code, message, headers = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }

  toResponse() {
    return json({ error: this.code, message: this.message }, this.status, this.headers);
  }
}

export class OAuthError extends ApiError {
  toResponse() {
    const body = { error: this.code, error_description: this.message, message: this.message };
    return json(body, this.status, { 'cache-control': 'no-store', ...this.headers });
  }
}

export function json(body, status = 200, headers = {}) {
  return Response.json(body, { status, headers });
}

export function html(body, status = 200, headers = {}) {
  const policy = "default-src 'none'; style-src 'unsafe-inline'";
  return new Response(body, {
    status,
    headers: {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': policy,
      'cache-control': 'no-store',
      ...headers,
    },
  });
}

export function invalidRequest(message, status = 400) {
  return new ApiError(status, 'invalid_request', message);
}

// A JSON object. With `optional`, no body at all is an empty object.
export async function readJson(request, { optional = false } = {}) {
  const text = await request.text();
  if (optional && text.trim() === '') return {};
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    throw invalidRequest('The body must be JSON');
  }
  if (body === null || typeof body !== 'object' || Array.isArray(body)) {
    throw invalidRequest('The body must be a JSON object');
  }
  return body;
}

export async function readForm(request) {
  const type = request.headers.get('content-type') ?? '';
  if (!type.startsWith('application/x-www-form-urlencoded')) return {};
  return Object.fromEntries(new URLSearchParams(await request.text()));
}

// A whole number from a query, held between 1 and max; the default when absent or nonsense.
export function readLimit(query, fallback, max) {
  const value = Number.parseInt(query.get('limit') ?? '', 10);
  return Number.isNaN(value) ? fallback : Math.min(Math.max(value, 1), max);
}

export function readCookie(request, name) {
  const cookies = (request.headers.get('cookie') ?? '').split(';');
  const found = cookies.map((cookie) => cookie.trim()).find((cookie) => cookie.startsWith(`${name}=`));
  return found?.slice(name.length + 1);
}
