import { CairnError } from '@cairn/contract';
import { expect, test } from 'vitest';
import { createLogger, type LoggerOptions } from './logger.ts';

function capture(options: Partial<LoggerOptions> = {}) {
  const lines: string[] = [];
  const log = createLogger({ name: 'api', destination: { write: (line) => lines.push(line) }, ...options });
  return { log, lines, last: (): unknown => JSON.parse(lines.at(-1) ?? 'null') };
}

test('a line is a JSON object with the program, the level by name and the time in ISO 8601', () => {
  const { log, last } = capture();
  log.info({ runId: 'run_1' }, 'run submitted');
  expect(last()).toMatchObject({ name: 'api', level: 'info', msg: 'run submitted', runId: 'run_1', pid: process.pid });
  expect(last()).toHaveProperty('time', expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/));
});

test.each([
  { token: 'cat_secret' },
  { authorization: 'Bearer secret' },
  { req: { headers: { authorization: 'Bearer secret' } } },
  { attempt: { token: 'cat_secret' } },
])('secrets are removed (%#)', (object) => {
  const { log, lines } = capture();
  log.info(object, 'request');
  expect(lines.at(-1)).not.toContain('secret');
  expect(lines.at(-1)).toContain('[redacted]');
});

test('an error is logged with its code, its details and its causes', () => {
  const { log, last } = capture();
  const cause = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
  log.error({ err: new CairnError('unavailable', 'the queue does not answer', { cause, details: { part: 'queue' } }) }, 'failed');
  expect(last()).toMatchObject({
    err: {
      code: 'unavailable',
      message: 'the queue does not answer',
      details: { part: 'queue' },
      cause: { code: 'ECONNREFUSED' },
    },
  });
});

test('lines below the level are not written', () => {
  const { log, lines } = capture({ level: 'warn' });
  log.info('quiet');
  expect(lines).toEqual([]);
});
