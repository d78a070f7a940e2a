import { firstOf } from '@cairn/contract';
import { z } from 'zod';
import { askHost, CallFailed, type CodeHostCalls } from './code-host.ts';

export type RepositoryOptions = {
  url: string;
  token: string;
  repository: string;
  /** The user of the token, where it is known without asking: that of an app. */
  login?: string;
  clock: () => Date;
  signal: AbortSignal;
};

const user = z.object({ id: z.number().int(), type: z.string().optional(), login: z.string().optional() }).nullable();
const comment = z.object({ id: z.number().int(), body: z.string().nullable(), user });
const made = z.object({ id: z.number().int() });

/** GitHub's REST API: https://docs.github.com/rest/commits/statuses and https://docs.github.com/rest/issues/comments. */
export function githubCalls({ url, token, repository, login, clock, signal }: RepositoryOptions): CodeHostCalls {
  const headers = {
    accept: 'application/vnd.github+json',
    authorization: `Bearer ${token}`,
    'x-github-api-version': '2022-11-28',
  };
  const options = { headers, clock, signal };
  const base = `${url}/repos/${repository.split('/').map(encodeURIComponent).join('/')}`;
  let self: Promise<number | null> | null = null;

  /** The user that the token belongs to; null for the token of an app's installation, which may not ask. */
  async function whoAmI(): Promise<number | null> {
    try {
      return (await askHost({ what: 'read the user of the token', method: 'GET', url: `${url}/user`, answer: made }, options)).id;
    } catch (error) {
      if (error instanceof CallFailed && error.tried.status === 403) return null;
      throw error;
    }
  }

  return {
    async setStatus(commit, { state, context, description, url: target }) {
      const body = { state, context, description: firstOf(description, 140), ...(target === null ? {} : { target_url: target }) };
      await askHost({ what: 'set the commit status', method: 'POST', url: `${base}/statuses/${commit}`, body, answer: made }, options);
    },
    async listComments(pullRequest, page) {
      if (login === undefined) self ??= whoAmI();
      const own = await self;
      const path = `${base}/issues/${pullRequest}/comments?per_page=100&page=${page}`;
      const found = await askHost({ what: 'list the comments', method: 'GET', url: path, answer: z.array(comment) }, options);
      return found.map(({ id, body, user: author }) => ({
        id,
        body: body ?? '',
        isOwn: login !== undefined ? author?.login === login : own === null ? author?.type === 'Bot' : author?.id === own,
        isCertain: login !== undefined || own !== null,
      }));
    },
    async addComment(pullRequest, body) {
      const path = `${base}/issues/${pullRequest}/comments`;
      return (await askHost({ what: 'write the comment', method: 'POST', url: path, body: { body }, answer: made }, options)).id;
    },
    async changeComment(_, id, body) {
      const path = `${base}/issues/comments/${id}`;
      await askHost({ what: 'change the comment', method: 'PATCH', url: path, body: { body }, answer: made }, options);
    },
    async removeComment(_, id) {
      const path = `${base}/issues/comments/${id}`;
      await askHost({ what: 'remove a second comment', method: 'DELETE', url: path, answer: z.unknown() }, options);
    },
  };
}
