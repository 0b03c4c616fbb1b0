// Replays recorded exchanges against the stand-in and compares what matters.
//
// The stand-in runs with the recorded applications and the recorded public origin, and requests carry the recorded
// Host, so most bodies can be equal to the byte. What differs from run to run (ids, tokens, times, cookie values) is
// replaced on both sides by its kind, numbered in order of appearance: the same id twice stays the same id twice.

import { readFileSync } from 'node:fs';
import http from 'node:http';
import zlib from 'node:zlib';

export const RECORDED_ORIGIN = 'http://127.0.0.1:3011';
export const SPA = '96vj6wgs7bj7w7zo2ibkt';
export const WEB = 'hh9yqxxm3bfjj1fi3vgg5';
export const M2M = 'wnaj0lam9x0ikz6e1sph3';

export const sample = (name) => JSON.parse(readFileSync(new URL(`../samples/${name}.json`, import.meta.url), 'utf8'));
export const exchangesOf = (name) => {
  const content = sample(name);
  return Array.isArray(content) ? content : content.exchanges ?? [content];
};

/** One request as sent, answer decoded: {status, headers, cookies, text, body}. */
export function send(base, { method = 'GET', url, headers = {}, body, host }) {
  const { hostname, port } = new URL(base);
  const path = url.startsWith('http') ? url.replace(/^https?:\/\/[^/]+/, '') : url;
  const isForm = headers['content-type'] === 'application/x-www-form-urlencoded';
  const payload = body === undefined ? undefined : typeof body === 'string' ? body : isForm ? String(new URLSearchParams(body)) : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const req = http.request({
      hostname, port, method, path,
      headers: {
        accept: '*/*', 'user-agent': 'node', ...(host ? { host } : {}), ...headers,
        ...(payload === undefined ? {} : { 'content-length': Buffer.byteLength(payload) }),
      },
    }, (res) => {
      const chunks = [];
      res.on('data', (chunk) => chunks.push(chunk));
      res.on('error', reject);
      res.on('end', () => {
        let bytes = Buffer.concat(chunks);
        if (res.headers['content-encoding'] === 'gzip') bytes = zlib.gunzipSync(bytes);
        if (res.headers['content-encoding'] === 'br') bytes = zlib.brotliDecompressSync(bytes);
        const text = bytes.toString();
        const isJson = /[/+]json/.test(res.headers['content-type'] ?? '');
        resolve({ status: res.statusCode, headers: res.headers, cookies: res.headers['set-cookie'] ?? [], text, body: isJson && text ? JSON.parse(text) : text });
      });
    });
    req.on('error', reject);
    req.end(payload);
  });
}

/** A flat jar, like the one the exchanges were recorded with. */
export class Jar {
  #values = new Map();
  take(cookies) {
    for (const line of cookies) {
      const [pair] = line.split(';', 1);
      const at = pair.indexOf('=');
      const [name, value] = [pair.slice(0, at), pair.slice(at + 1)];
      if (line.includes('expires=Thu, 01 Jan 1970')) this.#values.delete(name);
      else this.#values.set(name, value);
    }
  }
  get(name) { return this.#values.get(name); }
  set(name, value) { this.#values.set(name, value); }
  get header() { return [...this.#values].map(([name, value]) => `${name}=${value}`).join('; '); }
}

const date = '[A-Z][a-z]{2}, \\d\\d [A-Z][a-z]{2} \\d{4} \\d\\d:\\d\\d:\\d\\d GMT';

// Ids of letters only look like words; they are known by the member or the path they stand in.
const idMembers = new Set(['id', 'sub', 'userId', 'verificationId', 'verificationRecordId', 'roleIds', 'addedRoleIds']);

/** Replaces volatile parts by kind and number. One instance per side and flow. */
export class Normaliser {
  #seen = new Map();
  #fixed;
  constructor(fixed = [SPA, WEB, M2M]) { this.#fixed = new Set(fixed); }
  #name(kind, value) {
    if (this.#fixed.has(value)) return value;
    if (!this.#seen.has(value)) this.#seen.set(value, `<${kind}-${this.#seen.size}>`);
    return this.#seen.get(value);
  }
  text(value) {
    return value
      .replace(/eyJ[\w-]+\.[\w-]+\.[\w-]+/g, (token) => {
        const { kid: _kid, ...header } = JSON.parse(Buffer.from(token.split('.')[0], 'base64url'));
        return `<jwt ${JSON.stringify(header)} ${Object.keys(JSON.parse(Buffer.from(token.split('.')[1], 'base64url')))}>`;
      })
      .replace(/\.sig=[\w-]{27}/g, '.sig=<signature>')
      .replace(new RegExp(`expires=(?!Thu, 01 Jan 1970)${date}`, 'g'), 'expires=<date>')
      .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/g, '<iso>')
      .replace(/(?<![\w-])[\w-]{43}(?![\w-])/g, (token) => this.#name('opaque', token))
      .replace(/(?<![\w-])(?=[\w-]*[0-9A-Z])[\w-]{21}(?![\w-])/g, (token) => this.#name('uid', token))
      .replace(/(?<=\/users\/)[0-9a-z]{12}(?=[/?>])/g, (id) => this.#name('user', id))
      .replace(/(?<![\w.-])[0-9a-z]{12}(?![\w-])/g, (id) => (/\d/.test(id) || this.#seen.has(id) ? this.#name('user', id) : id));
  }
  value(value, member) {
    if (typeof value === 'number') return value > 1e12 ? '<ms>' : value > 1e9 ? '<seconds>' : value;
    if (typeof value === 'string') {
      if (idMembers.has(member) && /^[0-9a-z]{12}$/.test(value)) return this.#name('user', value);
      if (idMembers.has(member) && /^[\w-]{21}$/.test(value)) return this.#name('uid', value);
      return this.text(value);
    }
    if (Array.isArray(value)) return value.map((item) => this.value(item, member));
    if (value === null || typeof value !== 'object') return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, this.value(item, key)]));
  }
}

const compared = [
  'content-type', 'location', 'vary', 'cache-control', 'allow', 'total-number', 'link', 'www-authenticate', 'content-language',
  'logto-static-package', 'access-control-allow-origin', 'access-control-expose-headers', 'access-control-allow-methods',
  'access-control-allow-headers', 'access-control-max-age',
];

/** The comparable form of an answer; key order counts, because the text is compared. */
export function comparable({ status, headers, body }, normaliser, { ignoreBody = false } = {}) {
  const kept = {};
  for (const name of compared) if (headers[name] !== undefined) kept[name] = normaliser.text(String(headers[name]));
  kept['has-etag'] = headers.etag !== undefined;
  kept['has-request-id'] = /^[\w-]{16}$/.test(headers['logto-core-request-id'] ?? '');
  const cookies = (headers['set-cookie'] ?? []).map((line) => normaliser.text(line));
  return JSON.stringify({ status, headers: kept, cookies, body: ignoreBody ? '(ignored)' : normaliser.value(body) }, null, 1);
}
