import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { waitFor } from '@cairn/testing';
import { expect, test } from 'vitest';
import { identityOf } from './process-record.ts';

async function parentOf(argument: string) {
  const parent = spawn(process.execPath, [new URL('./fixtures/parent.ts', import.meta.url).pathname, argument]);
  const [output]: unknown[] = await once(parent.stdout, 'data');
  return { parent, pid: Number(String(output)) };
}

test('the process ends when its parent is killed', async () => {
  const { parent, pid } = await parentOf('');
  expect(identityOf(pid)).not.toBeNull();
  parent.kill('SIGKILL');
  await waitFor(() => identityOf(pid) === null, { message: 'the process to end with its parent' });
});

test('a cancelled watcher leaves the process alone', async () => {
  const { parent, pid } = await parentOf('cancel');
  parent.kill('SIGKILL');
  await once(parent, 'exit');
  expect(identityOf(pid)).not.toBeNull();
  process.kill(pid, 'SIGKILL');
});
