import { problem } from '@cairn/contract';

const problemContent = { 'application/problem+json': { schema: problem } } as const;

/** The answers that every route may give besides its own: problem documents. */
export const problems = {
  '4xx': { description: 'The caller can mend it: `code`, `detail` and `remedy` say how.', content: problemContent },
  '5xx': { description: 'Cairn or a part it needs failed; `retry` says whether the same call may succeed later.', content: problemContent },
} as const;
