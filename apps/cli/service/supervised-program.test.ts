import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { identityOf } from '@cairn/runtime';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { logTail, type ProgramSpec, runToEnd, type SupervisedProgram, stopAgents, supervise } from './supervised-program.ts';

let folder: string;
let program: SupervisedProgram | null;
let messages: string[];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'program-'));
  program = null;
  messages = [];
});
afterEach(async () => {
  await program?.stop(0);
  await rm(folder, { recursive: true });
});

const logPath = () => join(folder, 'x.log');
const logText = () => readFile(logPath(), 'utf8').catch(() => '');
async function specOf(code: string): Promise<ProgramSpec> {
  const file = join(folder, 'x.mjs');
  await writeFile(file, code);
  return { name: 'x', args: [file, 'argument'], env: { PATH: process.env.PATH ?? '', NAME: 'value' }, logFile: logPath() };
}
const keep = async (code: string): Promise<SupervisedProgram> => {
  program = supervise(await specOf(code), (line) => messages.push(line));
  return program;
};
const until = (condition: () => unknown) => expect.poll(condition, { interval: 10, timeout: 45_000 }).toBeTruthy();

test('a program gets only its own arguments and environment, and its output goes to its log', async () => {
  await keep("console.log(process.argv[2], process.env.NAME, process.env.HOME); console.error('to stderr'); setInterval(() => {}, 1000);");
  await expect.poll(logText, { timeout: 45_000 }).toBe('argument value undefined\nto stderr\n');
});

test('a program that ends is started again, and the message says where its log is', async () => {
  const supervised = await keep("import { writeFileSync } from 'node:fs'; writeFileSync(1, 'up\\n'); setInterval(() => {}, 1000);");
  supervised.started();
  await expect.poll(logText, { timeout: 45_000 }).toBe('up\n');
  process.kill(supervised.pid() ?? 0, 'SIGKILL');
  await expect.poll(logText, { timeout: 45_000 }).toBe('up\nup\n');
  expect(messages).toEqual([`x was killed by SIGKILL; starting it again (log: ${join(folder, 'x.log')})`]);
});

test('stopping sends SIGTERM first, then kills, and starts nothing again', async () => {
  const supervised = await keep("process.on('SIGTERM', () => { console.log('asked'); }); console.log('up'); setInterval(() => {}, 1000);");
  await expect.poll(logText, { timeout: 45_000 }).toBe('up\n');
  const pid = supervised.pid() ?? 0;
  await supervised.stop(100);
  expect(await logText()).toBe('up\nasked\n');
  expect(identityOf(pid)).toBeNull();
  expect(supervised.pid()).toBeNull();
  expect(messages).toEqual([]);
});

test('a wrong configuration at the start is not retried; the end of the log is in the error', async () => {
  const supervised = await keep("console.error('error: CAIRN_X is missing'); process.exit(2);");
  await expect(supervised.failed).rejects.toMatchObject({
    code: 'program_failed',
    message: 'x ended with exit code 2 while the service started',
    details: { frame: 'error: CAIRN_X is missing' },
  });
  expect(messages).toEqual([]);
});

test('a program that keeps ending while the service starts is given up', async () => {
  const supervised = await keep("console.log('again'); process.exit(1);");
  await expect(supervised.failed).rejects.toMatchObject({ details: { frame: 'again' } });
});

test('a program ends when its supervisor is killed', async () => {
  const spec = await specOf(
    "import { writeFileSync } from 'node:fs'; writeFileSync(process.env.PID_FILE, String(process.pid)); setInterval(() => {}, 1000);",
  );
  const pidFile = join(folder, 'pid');
  const keeper = join(folder, 'keeper.ts');
  const source = `import { supervise } from '${join(import.meta.dirname, 'supervised-program.ts')}';
supervise(${JSON.stringify({ ...spec, env: { ...spec.env, PID_FILE: pidFile } })}, () => undefined);`;
  await writeFile(keeper, source);
  const parent = spawn(process.execPath, [keeper], { stdio: 'inherit' });
  await until(() => existsSync(pidFile));
  const pid = Number(await readFile(pidFile, 'utf8'));
  parent.kill('SIGKILL');
  await until(() => identityOf(pid) === null);
});

test('a program that runs to its end reports its failure with the log', async () => {
  const { signal } = new AbortController();
  await runToEnd(await specOf('process.exit(0)'), signal);
  await expect(runToEnd(await specOf("console.log('no such table'); process.exit(3)"), signal)).rejects.toMatchObject({
    message: 'x ended with exit code 3 while the service started',
    details: { frame: 'no such table' },
  });
  const interrupt = new AbortController();
  const running = runToEnd(await specOf("console.log('migrating'); setInterval(() => {}, 1000)"), interrupt.signal);
  const ended = expect(running).rejects.toThrow('Ctrl-C');
  await expect.poll(logText, { timeout: 45_000 }).toContain('migrating');
  interrupt.abort(new Error('Ctrl-C'));
  await ended;
});

test('the last lines are returned, only of one start where its beginning is known', async () => {
  await writeFile(logPath(), 'earlier\none\ntwo\nthree\n');
  expect(await logTail(logPath(), { lines: 2 })).toBe('two\nthree');
  expect(await logTail(logPath(), { from: 'earlier\n'.length })).toBe('one\ntwo\nthree');
  expect(await logTail(join(folder, 'none.log'))).toBe('');
});

test('a line of JSON is shown as level, message and error; a long line is cut', async () => {
  const err = { type: 'Error', message: '\nInvalid `findUnique()`:\n\nThe server is gone', stack: 'at x' };
  const line = { level: 'warn', time: '2026-01-02T03:04:05Z', pid: 1, name: 'api', err, msg: 'no answer yet' };
  await writeFile(logPath(), `${JSON.stringify(line)}\n{"level":"info","msg":"up"}\n{"other":1}\n${'x'.repeat(1000)}\n`);
  expect((await logTail(logPath())).split('\n')).toEqual([
    'warn: no answer yet: The server is gone',
    'info: up',
    '{"other":1}',
    `${'x'.repeat(239)}…`,
  ]);
});

let home: string;
const children: ChildProcess[] = [];
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'agents-'));
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await rm(home, { recursive: true });
});

/** A process that looks like an agent of the home, and creates a file when it is up. */
async function startAgent(name: string, state: string, code: string): Promise<ChildProcess> {
  const workDir = join(home, state, `att_${name}`, 'work');
  await mkdir(workDir, { recursive: true });
  const up = `require('node:fs').writeFileSync(process.env.CAIRN_WORK_DIR + '/up', '');`;
  const child = spawn(process.execPath, ['-e', `${code};${up} setInterval(() => {}, 1000)`], {
    env: { PATH: process.env.PATH, CAIRN_ATTEMPT_ID: `att_${process.pid}_${name}`, CAIRN_WORK_DIR: workDir },
    stdio: 'ignore',
  });
  children.push(child);
  await expect.poll(() => existsSync(join(workDir, 'up')), { timeout: 45_000 }).toBe(true);
  return child;
}
const endOf = async (child: ChildProcess): Promise<unknown> => {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  return child.signalCode ?? child.exitCode;
};

test('agents are asked first; one that does not end in time is killed with its children; others are left alone', async () => {
  const polite = await startAgent('polite', 'pool', "process.on('SIGTERM', () => process.exit(75))");
  const grandchild = `require('node:child_process').spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore', detached: true }).unref()`;
  const deaf = await startAgent('deaf', 'tasks', `process.on('SIGTERM', () => {}); ${grandchild}`);
  const unrelated = await startAgent('unrelated', 'pool-of-another', '');
  const states = [join(home, 'pool'), join(home, 'tasks')];
  await stopAgents(states, 500);
  expect(await endOf(polite)).toBe(75);
  expect(await endOf(deaf)).toBe('SIGKILL');
  expect(unrelated.exitCode ?? unrelated.signalCode).toBeNull();
  // Nothing of the home is left, so there is nothing to wait for.
  const began = performance.now();
  await stopAgents(states, 60_000);
  expect(performance.now() - began).toBeLessThan(10_000);
});
