import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ada } from '@cairn/engine/testing';
import { newId, sha256 } from '@cairn/runtime';
import { bareEnvironment, waitFor } from '@cairn/testing';
import { beforeAll, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { openWeek } from '../week/open-week.ts';

// Walks docs/ci.md from top to bottom: every command on the page is run as it is written, in a local repository, against a real api and a real
// controller. Only names that a reader has to replace are replaced.

const week = await openWeek();
const { prisma, client, harness, receiver, playRun } = week;
const root = join(import.meta.dirname, '..', '..', '..', '..');
const scores = (shift: number) => ({ scores: Array.from({ length: 60 }, (_, at) => 0.2 + at / 120 + shift) });

let repository: string;
let commit: string;
let env: Record<string, string>;
const run = promisify(execFile);

beforeAll(async () => {
  repository = join(week.folder, 'repository');
  const programs = join(week.folder, 'bin');
  for (const folder of [repository, programs]) await mkdir(folder);
  const program = async (name: string, script: string) => {
    await writeFile(join(programs, name), `#!/bin/sh\n${script}\n`);
    await chmod(join(programs, name), 0o755);
  };
  // `npx cairn ...` is that of this checkout, and GitHub's command line notes what it is asked.
  await program('npx', `shift; exec ${process.execPath} ${join(root, 'apps/cli/main.ts')} "$@"`);
  await program('gh', `printf '%s\\n' "$@" > ${join(week.folder, 'gh.txt')}`);
  const model = { ...week.recipe, name: 'landmark', dataset: 'landmarks', register: { model: 'landmark' } };
  await writeFile(join(repository, 'recipe.yaml'), stringify(model));
  await writeFile(join(repository, 'token.txt'), 'a-token-of-a-bot\n');
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  await writeFile(join(repository, 'key.pem'), privateKey.export({ type: 'pkcs1', format: 'pem' }));
  const git = async (...args: string[]) => (await run('git', ['-C', repository, ...args])).stdout.trim();
  await git('init', '--quiet');
  await git('add', 'recipe.yaml');
  await git('-c', 'user.name=a', '-c', 'user.email=a@example.org', 'commit', '--quiet', '-m', 'the recipe');
  commit = await git('rev-parse', 'HEAD');
  const path = `${programs}:${process.env.PATH ?? ''}`;
  env = { ...bareEnvironment(), PATH: path, CAIRN_URL: week.url, CAIRN_TOKEN: week.token, COMMIT: commit };

  const source = { kind: 'folder', root: '/images', metadata: '/metadata', countries: null } as const;
  const digests = { digest: sha256('landmarks'), digestBasis: 'test', files: { metadata: {}, images: {} } };
  await harness.engine.registerDataset({ name: 'landmarks', source, ...digests }, ada);
  const first = await client.submitRun({ name: 'my-run', recipe: model });
  await playRun(first.id, scores(0));
  const { id: _, version: __, ...made } = await prisma.model.findFirstOrThrow({ where: { name: 'landmark' } });
  for (let version = 2; version <= 8; version += 1)
    await prisma.model.create({
      data: { ...made, metrics: made.metrics ?? {}, artifacts: made.artifacts ?? {}, id: newId('model'), version },
    });
}, 400_000);

/** The commands of the page, in order: blocks of its shell, and those within its sentences. */
async function commands(): Promise<string[]> {
  const page = await readFile(join(root, 'docs/ci.md'), 'utf8');
  const found = [...page.matchAll(/^ {4}((?:npx|secret=|gh )(?:.*\\\n)*.*)$|`(npx cairn [^`]+)`/gm)];
  return found.map(([, block, inline]) => block ?? inline ?? '');
}

/** Runs a command of the page as a reader's shell does: its stdout, and all that the reader sees. */
async function bash(command: string): Promise<{ stdout: string; seen: string }> {
  const { stdout, stderr } = await run('bash', ['--noprofile', '--norc', '-eo', 'pipefail', '-c', command], {
    cwd: repository,
    env,
    timeout: 240_000,
  });
  return { stdout, seen: stdout + stderr };
}

test('every command of the page does what the page says', async () => {
  const replaced: [string, string][] = [
    ['recipe show NAME > recipe.yaml', 'recipe show mini > shown.yaml'],
    ['https://hooks.example.org/cairn', `${receiver.url}/hook`],
    ['OWNER/REPOSITORY', 'example/landmarks'],
  ];
  /** What a reader has, or has done, before a command. */
  const before: [RegExp, () => Promise<unknown>][] = [
    [/--if-version 7/, () => client.setAlias('landmark', 'production', { version: 7, reason: 'as the page has it' })],
    // The page shows two ways to add the same trigger, and the same code host.
    [/^secret=/, () => client.removeTrigger('landmark')],
    [/codehost add .* --app/, () => client.removeCodeHost('hub')],
  ];
  let secret = '';
  const walked: string[] = [];
  for (const written of await commands()) {
    let command = replaced.reduce((text, [from, to]) => text.replaceAll(from, to), written);
    for (const [pattern, act] of before) if (pattern.test(command)) await act();
    // The shell of a reader keeps the variable between the two commands.
    if (command.startsWith('secret=')) command = `${command}\necho "$secret"`;
    if (command.startsWith('gh ')) command = `secret=${secret}\n${command}`;
    if (command.includes('webhook resend chat')) {
      const { id } = await prisma.delivery.findFirstOrThrow({ where: { event: 'webhook.test' } });
      command = command.replace('1234', String(id));
    }
    const doing = bash(command);
    if (command.includes('--idempotency-key')) {
      const find = () => prisma.run.findFirst({ where: { idempotencyKey: commit }, select: { id: true } });
      const { id } = await waitFor(find, { timeoutMs: 120_000, message: 'the run of the job' });
      await playRun(id, scores(0.05));
    }
    const { stdout, seen } = await doing;
    if (written.startsWith('secret=')) secret = stdout.trim();
    walked.push(seen);
  }
  expect(walked).toEqual(
    [
      /^cairn_\S+\nToken ci \(submitter, tok_/,
      /landmark@production names version 7\./,
      /^$/,
      /mAP@100 is 44\.58 %, \+0\.00 points/,
      /Gate passed[\s\S]*landmark@production now names version 9[\s\S]*Comment written to comment\.md/,
      /landmark@production names version 8\./,
      /landmark@production names version 7 again\./,
      /^whsec_\S+\nTrigger landmark\./,
      /^whsec_\S+\nTrigger landmark\./,
      /^$/,
      /Code host hub gets reports about runs of org\/\*\./,
      /Code host hub gets reports about runs of org\/\*\./,
      /^whsec_\S+\nWebhook chat gets run\.ended, gate\.judged, alias\.moved\./,
      /delivered: HTTP 204/,
      /^None\./,
      /is sent again\./,
      /^whsec_\S+\n/,
    ].map((pattern) => expect.stringMatching(pattern)),
  );
  expect(await readFile(join(repository, 'shown.yaml'), 'utf8')).toContain('stages:');
  expect(await readFile(join(repository, 'comment.md'), 'utf8')).toContain(': gate passed');
  expect(await readFile(join(repository, 'outputs.env'), 'utf8')).toContain('CAIRN_VERDICT=passed');
  // GitHub's webhook has what the page gives it, so that a push of the repository starts a run.
  const asked = await readFile(join(week.folder, 'gh.txt'), 'utf8');
  expect(asked).toContain(`config[secret]=${secret}\n`);
  expect(asked).toMatch(/^config\[url\]=https:\/\/cairn\.example\.com\/v1\/hooks\/landmark$/m);
  const pushed = { ref: 'refs/heads/main', before: '0'.repeat(40), after: commit, head_commit: { id: commit }, commits: [] };
  const body = { ...pushed, repository: { full_name: 'example/landmarks' } };
  const trigger = { path: '/v1/hooks/landmark', secret };
  expect(await week.deliver(trigger, { event: 'push', id: 'walked', body })).toMatchObject({ outcome: 'started' });
}, 900_000);
