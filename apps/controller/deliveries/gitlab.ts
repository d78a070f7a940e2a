import { firstOf } from '@cairn/contract';
import { z } from 'zod';
import { askHost, CallFailed, type CodeHostCalls, type CommitStatus } from './code-host.ts';
import type { RepositoryOptions } from './github.ts';

const made = z.object({ id: z.number().int() });
const note = z.object({ id: z.number().int(), body: z.string(), author: made });
const states: Record<CommitStatus['state'], string> = { pending: 'running', success: 'success', failure: 'failed', error: 'failed' };

/** GitLab's REST API: https://docs.gitlab.com/api/commits and https://docs.gitlab.com/api/notes. */
export function gitlabCalls({ url, token, repository, clock, signal }: RepositoryOptions): CodeHostCalls {
  const options = { headers: { 'private-token': token }, clock, signal };
  const api = url.endsWith('/api/v4') ? url : `${url}/api/v4`;
  const base = `${api}/projects/${encodeURIComponent(repository)}`;
  const notes = (pullRequest: number): string => `${base}/merge_requests/${pullRequest}/notes`;
  let self: Promise<{ id: number }> | null = null;

  /** True when the newest status of this name is already as wanted: GitLab refuses to set the same state again. */
  async function hasStatus(commit: string, name: string, wanted: string): Promise<boolean> {
    const path = `${base}/repository/commits/${commit}/statuses?name=${encodeURIComponent(name)}&order_by=id&sort=desc&per_page=1`;
    const answer = z.array(z.object({ status: z.string() }));
    const [newest] = await askHost({ what: 'read the commit status', method: 'GET', url: path, answer }, options);
    return newest?.status === wanted;
  }

  return {
    async setStatus(commit, { state, context, description, url: target }) {
      const wanted = states[state];
      const body = {
        ...{ state: wanted, name: context, description: firstOf(description, 255) },
        ...(target === null ? {} : { target_url: target }),
      };
      try {
        await askHost({ what: 'set the commit status', method: 'POST', url: `${base}/statuses/${commit}`, body, answer: made }, options);
      } catch (error) {
        const isRefused = error instanceof CallFailed && error.tried.status === 400;
        if (!isRefused || !(await hasStatus(commit, context, wanted))) throw error;
      }
    },
    async listComments(pullRequest, page) {
      self ??= askHost({ what: 'read the user of the token', method: 'GET', url: `${api}/user`, answer: made }, options);
      const own = await self;
      const path = `${notes(pullRequest)}?per_page=100&page=${page}&order_by=created_at&sort=asc`;
      const found = await askHost({ what: 'list the comments', method: 'GET', url: path, answer: z.array(note) }, options);
      return found.map(({ id, body, author }) => ({ id, body, isOwn: author.id === own.id, isCertain: true }));
    },
    async addComment(pullRequest, body) {
      const call = { what: 'write the comment', method: 'POST', url: notes(pullRequest), body: { body }, answer: made } as const;
      return (await askHost(call, options)).id;
    },
    async changeComment(pullRequest, id, body) {
      const path = `${notes(pullRequest)}/${id}`;
      await askHost({ what: 'change the comment', method: 'PUT', url: path, body: { body }, answer: made }, options);
    },
    async removeComment(pullRequest, id) {
      await askHost(
        { what: 'remove a second comment', method: 'DELETE', url: `${notes(pullRequest)}/${id}`, answer: z.unknown() },
        options,
      );
    },
  };
}
