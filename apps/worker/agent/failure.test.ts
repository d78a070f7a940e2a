import { CairnError } from '@cairn/contract';
import { expect, test } from 'vitest';
import { failureOf, failureOfProgram } from './failure.ts';

test.each([
  [new CairnError('bad_row', 'train.csv line 3'), 'data', 'bad_row'],
  [new CairnError('model_mismatch', 'keys differ'), 'user', 'model_mismatch'],
  [new CairnError('corrupt_artifact', 'sha256 differs'), 'infrastructure', 'corrupt_artifact'],
  [new CairnError('storage_full', 'no space'), 'infrastructure', 'storage_full'],
  [Object.assign(new Error('write failed'), { code: 'ENOSPC' }), 'infrastructure', 'storage_full'],
  [new TypeError('x is undefined'), 'infrastructure', 'internal'],
  ['a string', 'infrastructure', 'internal'],
])('%s has the cause %s and the code %s', (error, cause, code) => {
  expect(failureOf(error)).toMatchObject({ outcome: 'failed', cause, code });
});

test.each([
  ['too_many_bad_images', 'data'],
  ['training_diverged', 'user'],
  ['invalid_configuration', 'user'],
  ['unsafe_file', 'user'],
  ['unreadable_file', 'user'],
  ['program_failed', 'infrastructure'],
  ['a_code_of_the_future', 'infrastructure'],
])("a program's failure %s has the cause %s", (code, cause) => {
  expect(failureOfProgram(code, 'why')).toEqual({ outcome: 'failed', cause, code, message: 'why' });
});
