import { idOf, problem, safeName } from '@cairn/contract';
import { z } from 'zod';

const problemContent = { 'application/problem+json': { schema: problem } } as const;

/** The answers that every route may give besides its own: problem documents. */
export const problems = {
  '4xx': { description: 'The caller can mend it: `code`, `detail` and `remedy` say how.', content: problemContent },
  '5xx': { description: 'Cairn or a part it needs failed; `retry` says whether the same call may succeed later.', content: problemContent },
} as const;

/** Names and ids in paths: none can leave its folder, and none ever touches a file. */
export const runParams = z.object({ id: idOf('run') });
export const stepParams = z.object({ id: idOf('run'), name: safeName });
export const attemptParams = z.object({ id: idOf('attempt') });
export const nameParams = z.object({ name: safeName });
