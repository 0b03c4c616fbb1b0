// The client's request as it goes on to Logto, in one crossing from wasm: a crossing
// for each header would cost more than all the rest of the proxy.
//
// `facts`: URL, public host, scheme, shared secret (may be empty), a line each. Without a
// host it goes to mgPass: no cookie goes along, they are Logto's, and nothing is stated.
// `held`: the body, where it was read whole, or rejoined; else the client's stream goes on.
//
// What the client says of forwarding is dropped and stated anew; `x-proxy-*` is ours.
export function outbound(request, facts, held) {
  const [url, host, scheme, secret] = facts.split('\n');
  const outbound = held === undefined
    ? new Request(url, request)
    : new Request(url, { method: request.method, headers: request.headers, redirect: 'manual', body: held });
  const { headers } = outbound;
  const isDropped = (name) => name === 'forwarded' || name.startsWith('x-forwarded-') || name.startsWith('x-proxy-');
  let dropped;
  for (const name of headers.keys()) if (isDropped(name)) (dropped ??= []).push(name);
  if (dropped !== undefined) for (const name of dropped) headers.delete(name);
  if (host === '') headers.delete('cookie');
  else {
    headers.set('x-forwarded-host', host);
    headers.set('x-forwarded-proto', scheme);
  }
  const address = headers.get('cf-connecting-ip');
  if (address !== null) headers.set('x-forwarded-for', address);
  if (secret !== '') headers.set('x-proxy-secret', secret);
  return outbound;
}

export function withCookie(response, line) {
  const answer = new Response(response.body, response);
  answer.headers.append('set-cookie', line);
  return answer;
}

// mgPass's cookies are not for this host.
export function withoutCookies(response) {
  if (!response.headers.has('set-cookie')) return response;
  const answer = new Response(response.body, response);
  answer.headers.delete('set-cookie');
  return answer;
}

// A body that proved too long to be held: what was read of it, and then the rest.
export function rejoined(chunks, reader) {
  return new ReadableStream({
    async pull(controller) {
      if (chunks.length > 0) return controller.enqueue(chunks.shift());
      const { done, value } = await reader.read();
      return done ? controller.close() : controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  }, { highWaterMark: 0 });
}

// Sends it and hands the answer on as it is. `told` hears how it went (a status, or 0
// for no answer) and has the answer to give in the second case.
export function passOn(request, facts, env, context, beganMs, told) {
  return fetch(outbound(request, facts)).then(
    (response) => {
      try {
        told(request, env, context, beganMs, response.status);
      } catch (error) {
        // A fault in what only notes the request takes no answer from the client.
        reportError(error);
      }
      return response;
    },
    () => told(request, env, context, beganMs, 0),
  );
}
