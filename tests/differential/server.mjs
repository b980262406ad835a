// A keys service for tests/differential.rs on Node's own HTTP: `server.mjs once|url|loose`.
//
// `once` decodes the target's path once, as Starlette does; `url` asks WHATWG's URL for the path
// and decodes that, as many a handler does. `loose` has the habits of many routers at once: case does
// not matter, nor do a trailing slash, `;` and what follows it, an extension; it decodes twice, and
// believes headers and a parameter that name another method or target. Prints what server.py prints.

import http from 'node:http';

const row = { agent_id: 'a1', created_at: '2020-01-01T00:00:00Z', api_key_type: 'external' };
// A row is there until it was deleted.
const deleted = new Set();
const routes = [
  ['POST', /^\/agent_api_keys$/, 'create_key', (id) => ({ ...row, id, name: 'n', api_key: 's' })],
  ['POST', /^\/agent_api_keys\/webhook-trigger$/, 'create_webhook_key', (id) => ({ key_id: id })],
  ['GET', /^\/agent_api_keys$/, 'list_keys', (_, __, query) => {
    const name = query.get('name');
    return name ? [{ ...row, id: `gone-${name}`, name }] : [];
  }],
  ['GET', /^\/agent_api_keys\/([^/]+)$/, 'get_key', (_, id) =>
    !id.startsWith('gone-') && !deleted.has(id) && { ...row, id }],
  ['DELETE', /^\/agent_api_keys\/name\/([^/]+)$/, 'delete_key_by_name', () => 'deleted'],
  ['DELETE', /^\/agent_api_keys\/([^/]+)$/, 'delete_key', (_, id) => deleted.add(id) && 'deleted'],
  ['GET', /^\/agents\/name\/([^/]+)$/, 'get_agent', (_, name) => ({ id: name })],
  ['POST', /^\/early$/, 'early', () => ({})],
];

// What a caller may be known by: the same as in tests/differential/judge.rs.
const credentials = ['x-user-id', 'authorization', 'cookie', 'x-auth-token'];

// Percent-decodes bytes: what is no escape stays, what is no UTF-8 becomes U+FFFD.
function decodeOnce(text) {
  const bytes = Buffer.from(text, 'latin1').toString('latin1')
    .replace(/%([0-9a-fA-F]{2})/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

const loose = process.argv[2] === 'loose';

function decodeAgain(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// Parameters and what looks like a query go first, then dot segments: `/..;/x` is one of these.
function loosely(target) {
  const decoded = decodeAgain(decodeOnce(new URL(target, 'http://keys').pathname));
  const bare = decoded.split(/[?#]/)[0].split('/').map((one) => one.split(';')[0]).join('/');
  const segments = decodeOnce(new URL(`http://keys${bare.replace(/^[^/]/, '/$&')}`).pathname).split('/');
  while (segments.length > 2 && segments.at(-1) === '') segments.pop();
  segments.push(segments.pop().replace(/(?<=.)\.[^.]+$/, ''));
  return segments.join('/').replace(/\/{2,}/g, '/');
}

function methodOf(request) {
  const { headers, url, method } = request;
  const named = headers['x-http-method-override'] ?? headers['x-method-override']
    ?? new URL(url, 'http://keys').searchParams.get('_method');
  return named ? named.toUpperCase() : method;
}

function pathOf(target) {
  if (process.argv[2] === 'url') return decodeURIComponent(new URL(target, 'http://keys').pathname);
  const origin = target.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i, '');
  return decodeOnce(origin.split(/[?#]/)[0]);
}

// The agent that a body names; none where it is no JSON, or names none.
function agentOf(body) {
  try {
    const { agent_name: agent } = JSON.parse(body.toString('utf8'));
    return typeof agent === 'string' ? agent : undefined;
  } catch {
    return undefined;
  }
}

function print(line) {
  process.stdout.write(JSON.stringify(line) + '\n');
}

const server = http.createServer((request, response) => {
  const note = {
    kind: 'http', method: request.method, path: request.url,
    case: request.headers['x-case'] ?? '', encodings: request.headers['accept-encoding'] ?? '',
    caller: credentials.map((name) => (request.headers[name] ?? '').trim()).join('|'),
  };
  let answer;
  let status = 404;
  const finish = (body) => {
    if (note.handler === 'create_webhook_key') {
      const agent = agentOf(body);
      if (agent) note.parent = agent;
      else [answer, status, note.handler] = [{ detail: 'the body is not valid' }, 422, undefined];
    }
    const text = JSON.stringify(answer ?? { message: 'not found' });
    if (note.handler) note.body = body.toString('latin1');
    response.writeHead(status, {
      'content-type': 'application/json', 'content-length': Buffer.byteLength(text), 'x-case': note.case,
    });
    response.end(request.method === 'HEAD' ? undefined : text);
    print(note);
  };
  try {
    const { headers } = request;
    const target = headers['x-original-url'] ?? headers['x-rewrite-url'] ?? request.url;
    note.path = loose ? loosely(target) : pathOf(request.url);
    if (loose) note.method = methodOf(request);
    const query = new URLSearchParams(request.url.split('?').slice(1).join('?'));
    for (const [method, pattern, handler, run] of routes) {
      const router = loose ? new RegExp(pattern, 'iu') : pattern;
      const found = method === note.method && router.exec(note.path);
      if (!found) continue;
      // All rows are of this type; the real service refuses what is none.
      if (handler === 'delete_key_by_name' && (query.get('api_key_type') ?? 'external') !== 'external') {
        status = 422;
        break;
      }
      answer = run(note.case, found[1], query);
      status = answer ? 200 : 404;
      Object.assign(note, { handler, argument: found[1] ?? '' });
      break;
    }
  } catch {
    status = 400;
  }
  if (note.handler === 'early') return finish('');
  const body = [];
  request.on('data', (data) => body.push(data));
  request.on('end', () => finish(Buffer.concat(body)));
});
server.keepAliveTimeout = 5000;
server.listen(0, '127.0.0.1', () => print({ listening: `127.0.0.1:${server.address().port}` }));
process.stdin.resume().on('end', () => process.exit(0));
