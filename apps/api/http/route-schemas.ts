import { idOf, problem, safeName, writtenText } from '@cairn/contract';
import { z } from 'zod';

const problemContent = { 'application/problem+json': { schema: problem } } as const;

/** The error responses of every route: problem documents. */
export const problems = {
  '4xx': { description: 'The caller can fix it: `code`, `detail` and `remedy` say how.', content: problemContent },
  '5xx': {
    description: 'Cairn or one of its dependencies failed; `retry` says whether the same call may succeed later.',
    content: problemContent,
  },
} as const;

/** The header of calls that create a run. Keys that code of the service derives begin with the kind of the run's origin. */
export const idempotencyHeaders = z.looseObject({
  'idempotency-key': writtenText(200, { least: 1 })
    .refine(
      (key) => !/^(trigger|schedule|dataset|gate):/.test(key),
      'keys that begin with trigger:, schedule:, dataset: or gate: are for the service',
    )
    .optional()
    .describe('Repeating a request with the same key returns the run that the first one created, for example after a lost response.'),
});

/** Names and ids in paths: none can escape a folder, and none is ever used as a file path. */
export const runParams = z.object({ id: idOf('run') });
export const stepParams = z.object({ id: idOf('run'), name: safeName });
export const attemptParams = z.object({ id: idOf('attempt') });
export const nameParams = z.object({ name: safeName });
