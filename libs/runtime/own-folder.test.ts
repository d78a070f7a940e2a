import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { makeOwnFolder } from './own-folder.ts';
import { identityOf } from './process-record.ts';

test('a folder of a process that was killed is removed by the next one, those of others stay', async () => {
  const base = mkdtempSync(join(tmpdir(), 'own-'));
  onTestFinished(() => rmSync(base, { recursive: true }));
  const program = `import { makeOwnFolder } from ${JSON.stringify(join(import.meta.dirname, 'own-folder.ts'))};
    console.log(await makeOwnFolder('work-', ${JSON.stringify(base)}));
    setInterval(() => undefined, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [text] = (await once(child.stdout, 'data')) as [Buffer];
  const killed = text.toString('utf8').trim();
  mkdirSync(join(base, 'work-of-another-program'));
  // A container that shares the folder has other processes under the same numbers.
  const elsewhere = join(base, 'work-of-another-container');
  mkdirSync(elsewhere);
  const gone = { ...identityOf(process.pid), startTicks: 1 };
  writeFileSync(join(elsewhere, 'owner.json'), JSON.stringify({ process: gone, namespace: 'pid:[1]' }));

  const first = await makeOwnFolder('work-', base);
  expect(existsSync(killed)).toBe(true);
  child.kill('SIGKILL');
  await once(child, 'exit');
  writeFileSync(join(killed, 'large'), 'left');
  await makeOwnFolder('work-', base);
  expect(existsSync(killed)).toBe(false);
  expect([first, join(base, 'work-of-another-program'), elsewhere].map((folder) => existsSync(folder))).toEqual([true, true, true]);
});
