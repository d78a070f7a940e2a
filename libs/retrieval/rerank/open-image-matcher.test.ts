import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { defaultLocalMatching } from '@cairn/contract';
import { afterEach, expect, onTestFinished, test, vi } from 'vitest';
import { temporaryFolder } from '../fixtures/test-files.ts';
import { placeAt } from './local-matching.ts';
import { openImageMatcher } from './open-image-matcher.ts';

afterEach(() => {
  vi.useRealTimers();
});

const minutes = (count: number): number => count * 60_000;
const ready = JSON.stringify({ type: 'ready', matcher: { kind: 'sift', version: 'OpenCV', sha256: null } });

/** A program in the place of Python that is ready and does as the shell's `script` says with the requests. */
async function open(script: string, signal?: AbortSignal) {
  const folder = await temporaryFolder();
  const python = join(folder, 'python');
  await writeFile(python, `#!/bin/sh\nread config\necho '${ready}'\n${script}\n`);
  await chmod(python, 0o755);
  const config = { settings: defaultLocalMatching, matcherPath: null, queryRoot: folder, indexRoot: folder, cache: null, threads: 1 };
  const matcher = await openImageMatcher({ ...config, python, env: { PATH: '/usr/bin:/bin' }, signal });
  onTestFinished(() => matcher.close());
  return matcher;
}
const image = placeAt('a.jpg');

test('a program that does not answer for ten minutes has failed, however long nothing was asked before', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const matcher = await open('exec cat > /dev/null');
  vi.advanceTimersByTime(minutes(120));
  const matched = matcher.match(image, [image]);
  matched.catch(() => undefined);
  vi.advanceTimersByTime(minutes(11));
  await expect(matched).rejects.toMatchObject({
    code: 'program_failed',
    message: expect.stringContaining('gave no answer for 10 minutes'),
  });
  await expect(matcher.match(image, [image])).rejects.toThrow('gave no answer');
});

test.each([
  ['echo lack of memory >&2; exit 3', /ended with exit code 3\. Its last output:\nlack of memory/],
  ['kill -KILL $$', /was killed by SIGKILL/],
  ['echo nonsense; exec cat > /dev/null', /printed a line that is not an answer: nonsense/],
  [`echo '{"type":"failed","code":"dataset_changed","message":"it changed"}'; exec cat > /dev/null`, /^it changed$/],
])('a request is answered with how the program failed: %s', async (end, message) => {
  const matcher = await open(`read request; ${end}`);
  await expect(matcher.match(image, [image])).rejects.toThrow(message);
});

test('an abort ends the program and the wait', async () => {
  const stop = new AbortController();
  const matcher = await open('exec cat > /dev/null', stop.signal);
  const matched = matcher.match(image, [image]);
  stop.abort(new Error('asked to stop'));
  await expect(matched).rejects.toThrow('asked to stop');
});
