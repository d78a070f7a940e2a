import { verify } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { answerJson, type CloseAfter, type Received, startReceiver } from './receiver.ts';

// Mocks of the parts of two code hosts' APIs that reports use, with the paths, fields and status codes of their documentation. They keep what
// was written, and can be set to fail.

type Author = { id: number; type: string; login?: string };
export type HostComment = { id: number; pullRequest: number; body: string; user: Author };
export type HostStatus = { commit: string; state: string; context: string; description: string; target_url?: string };

/** Answers a request instead of the host, or returns false. It may carry it out by `act` and lose the answer. */
export type Fault = (received: Received, response: ServerResponse, act: () => void) => boolean;

const bot: Author = { id: 7, type: 'User' };

async function startHost(route: (host: HostState, received: Received, response: ServerResponse) => void, closeAfter?: CloseAfter) {
  const host: HostState = { comments: [], statuses: [], fault: null, app: null };
  let next = 1;
  const server = await startReceiver((received, response) => {
    // With a response that goes nowhere, the request is still carried out.
    const act = () => route(host, received, { writeHead: () => ({ end: () => undefined }) } as unknown as ServerResponse);
    if (host.fault?.(received, response, act) === true) return;
    route(host, received, response);
  }, closeAfter);
  return {
    ...{ host, url: server.url, requests: server.requests },
    /** A comment that somebody else or an earlier controller wrote. */
    add: (comment: Omit<HostComment, 'id'>) => host.comments.push({ ...comment, id: 1_000_000 + next++ }),
    writes: () => server.requests.filter(({ method }) => method !== 'GET').map(({ method, path }) => `${method} ${path}`),
  };
}
type HostState = { comments: HostComment[]; statuses: HostStatus[]; fault: Fault | null; app: HostApp | null };

const pageOf = <T>(items: T[], url: URL): T[] => {
  const size = Number(url.searchParams.get('per_page') ?? '30');
  const page = Number(url.searchParams.get('page') ?? '1');
  return items.slice((page - 1) * size, page * size);
};
const idOf = (host: HostState): number => Math.max(0, ...host.comments.map(({ id }) => id)) + 1;

/** An app: its id, its public key in PEM, and the token that its installation gets now. */
export type HostApp = { id: string; publicKey: string; token: string };
const appUser: Author = { id: 99, type: 'Bot', login: 'cairn-reports[bot]' };

/** https://docs.github.com/rest/apps/apps: the calls of an app, which signs in with a token that it signs itself. */
function answerOfApp({ app }: HostState, { path, headers, body }: Received): [status: number, body: object] {
  const [signed = '', signature = ''] = /^Bearer (.+)\.([^.]+)$/.exec(headers.authorization ?? '')?.slice(1) ?? [];
  const claims = signed === '' ? null : JSON.parse(Buffer.from(signed.split('.')[1] ?? '', 'base64url').toString());
  const isSigned = app !== null && verify('RSA-SHA256', Buffer.from(signed), app.publicKey, Buffer.from(signature, 'base64url'));
  if (!isSigned || claims.iss !== app.id || claims.exp - claims.iat > 660)
    return [401, { message: 'A JSON web token could not be decoded' }];
  if (path === '/repos/org/landmarks/installation') return [200, { id: 4711, app_slug: 'cairn-reports' }];
  const isToken = path === '/app/installations/4711/access_tokens' && JSON.parse(body).repositories?.join() === 'landmarks';
  if (!isToken) return [404, { message: 'Not Found' }];
  return [201, { token: app.token, expires_at: new Date(claims.iat * 1000 + 3_660_000).toISOString() }];
}

/** https://docs.github.com/rest/commits/statuses, https://docs.github.com/rest/issues/comments */
export const startGitHub = (token: string, closeAfter?: CloseAfter) =>
  startHost((host, { method, path, headers, body }, response) => {
    const url = new URL(path, 'http://host');
    if (path.startsWith('/app/') || path.endsWith('/installation'))
      return answerJson(response, ...answerOfApp(host, { method, path, headers, body }));
    const isApp = host.app !== null && headers.authorization === `Bearer ${host.app.token}`;
    if (!isApp && headers.authorization !== `Bearer ${token}`) return answerJson(response, 401, { message: 'Bad credentials' });
    if (isApp && path === '/user') return answerJson(response, 403, { message: 'Resource not accessible by integration' });
    if (path === '/user') return answerJson(response, 200, bot);
    const commit = /^\/repos\/org\/landmarks\/statuses\/(\w+)$/.exec(url.pathname)?.[1];
    if (commit !== undefined) {
      const status: HostStatus = { commit, ...JSON.parse(body) };
      if (status.description.length > 140) return answerJson(response, 422, { message: 'Validation Failed' });
      host.statuses.push(status);
      return answerJson(response, 201, { id: host.statuses.length, ...status });
    }
    const pullRequest = Number(/^\/repos\/org\/landmarks\/issues\/(\d+)\/comments$/.exec(url.pathname)?.[1]);
    if (pullRequest > 0 && method === 'GET') {
      const found = host.comments.filter((comment) => comment.pullRequest === pullRequest).sort((a, b) => a.id - b.id);
      return answerJson(response, 200, pageOf(found, url));
    }
    if (pullRequest > 0) {
      const comment = { id: idOf(host), pullRequest, body: JSON.parse(body).body, user: isApp ? appUser : bot };
      host.comments.push(comment);
      return answerJson(response, 201, comment);
    }
    const id = Number(/^\/repos\/org\/landmarks\/issues\/comments\/(\d+)$/.exec(url.pathname)?.[1]);
    const comment = host.comments.find((other) => other.id === id);
    if (comment === undefined) return answerJson(response, 404, { message: 'Not Found' });
    if (method === 'DELETE') {
      host.comments = host.comments.filter((other) => other !== comment);
      response.writeHead(204).end();
      return;
    }
    comment.body = JSON.parse(body).body;
    answerJson(response, 200, comment);
  }, closeAfter);

/** https://docs.gitlab.com/api/commits, https://docs.gitlab.com/api/notes */
export const startGitLab = (token: string, closeAfter?: CloseAfter) =>
  startHost((host, { method, path, headers, body }, response) => {
    const url = new URL(path, 'http://host');
    const base = '/api/v4/projects/group%2Fsub%2Flandmarks';
    if (headers['private-token'] !== token) return answerJson(response, 401, { message: '401 Unauthorized' });
    if (url.pathname === '/api/v4/user') return answerJson(response, 200, bot);
    if (!url.pathname.startsWith(base)) return answerJson(response, 404, { message: '404 Project Not Found' });
    const rest = url.pathname.slice(base.length);
    const posted = /^\/statuses\/(\w+)$/.exec(rest)?.[1];
    if (posted !== undefined) {
      const { name, ...given } = JSON.parse(body);
      const before = host.statuses.findLast((status) => status.commit === posted && status.context === name);
      if (before?.state === given.state)
        return answerJson(response, 400, { message: `Cannot transition status via :run from :${given.state}` });
      host.statuses.push({ commit: posted, context: name, ...given });
      return answerJson(response, 201, { id: host.statuses.length, status: given.state, name });
    }
    const read = /^\/repository\/commits\/(\w+)\/statuses$/.exec(rest)?.[1];
    if (read !== undefined) {
      const found = host.statuses.filter(({ commit, context }) => commit === read && context === url.searchParams.get('name'));
      return answerJson(
        response,
        200,
        pageOf(
          found.reverse().map(({ state }, id) => ({ id, status: state })),
          url,
        ),
      );
    }
    const [, number, noteId] = /^\/merge_requests\/(\d+)\/notes(?:\/(\d+))?$/.exec(rest) ?? [];
    const pullRequest = Number(number);
    const own = host.comments.filter((comment) => comment.pullRequest === pullRequest);
    const noteOf = ({ user: author, ...comment }: HostComment) => ({ ...comment, author: { id: author.id } });
    if (method === 'GET')
      return answerJson(
        response,
        200,
        pageOf(
          own.sort((a, b) => a.id - b.id),
          url,
        ).map(noteOf),
      );
    if (method === 'POST') {
      const comment = { id: idOf(host), pullRequest, body: JSON.parse(body).body, user: bot };
      host.comments.push(comment);
      return answerJson(response, 201, noteOf(comment));
    }
    const comment = own.find(({ id }) => id === Number(noteId));
    if (comment === undefined) return answerJson(response, 404, { message: '404 Not found' });
    if (method === 'DELETE') {
      host.comments = host.comments.filter((other) => other !== comment);
      response.writeHead(204).end();
      return;
    }
    comment.body = JSON.parse(body).body;
    answerJson(response, 200, noteOf(comment));
  }, closeAfter);
