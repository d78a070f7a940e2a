import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ada } from '@cairn/engine/testing';
import { waitFor } from '@cairn/testing';
import { beforeAll, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { openPlayedService } from '../start-test-service.ts';
import { playAction, playComponent } from './play-jobs.ts';

const { harness, url, token, playRun, makeFolder, recipe } = await openPlayedService();
const root = join(import.meta.dirname, '..', '..', '..', '..');
const scoresOf = (shift: number) => Array.from({ length: 60 }, (_, at) => 0.2 + at / 120 + shift);

let source: string;
let commit: string;
beforeAll(async () => {
  await playRun(await harness.submit({ until: ['register'] }), scoresOf(0));
  await harness.engine.setAlias({ model: 'toy', alias: 'production' }, { version: 1, reason: 'the first' }, ada);
  // A repository with the command line, as the definitions fetch it; it starts that of this checkout.
  source = await makeFolder('source');
  const bootstrap = join(source, 'apps', 'cli', 'bootstrap');
  await mkdir(bootstrap, { recursive: true });
  const main = JSON.stringify([process.execPath, join(root, 'apps', 'cli', 'main.ts')]);
  const start = `const [node, main] = ${main};
    const { status } = (await import('node:child_process')).spawnSync(node, [main, ...process.argv.slice(2)], { stdio: 'inherit' });
    process.exit(status ?? 1);`;
  await writeFile(join(bootstrap, 'cairn.mjs'), start);
  const git = async (...args: string[]) => (await promisify(execFile)('git', ['-C', source, ...args])).stdout.trim();
  await git('init', '--quiet');
  await git('add', '.');
  await git('-c', 'user.name=a', '-c', 'user.email=a@example.org', 'commit', '--quiet', '-m', 'the command line');
  commit = await git('rev-parse', 'HEAD');
});

/** The folder of a job: a repository with the recipe that the page names. */
async function checkout(name: string): Promise<string> {
  const folder = await makeFolder(`${name}/repository`);
  await writeFile(join(folder, 'recipe.yaml'), stringify(recipe));
  return folder;
}

/** The YAML examples of docs/ci.md, in order. */
async function examples(): Promise<unknown[]> {
  const page = await readFile(join(root, 'docs', 'ci.md'), 'utf8');
  return [...page.matchAll(/^```yaml\n(.+?)^```$/gms)].map(([, text = '']) => parse(text));
}

/** Plays the run that a job submits while the job waits for it. */
async function playSubmitted(key: string, shift: number): Promise<string> {
  const find = () => harness.prisma.run.findFirst({ where: { idempotencyKey: key }, select: { id: true } });
  const { id } = await waitFor(find, { message: `the run ${key}`, timeoutMs: 30_000 });
  await playRun(id, scoresOf(shift));
  return id;
}

test('the action of the page fails the job for a worse model, with outputs, annotation, summary and comment', {
  timeout: 120_000,
}, async () => {
  const workflow = z.object({
    jobs: z.object({ retrain: z.object({ steps: z.array(z.object({ with: z.record(z.string(), z.string()).optional() })) }) }),
  });
  const [github] = await examples();
  const step = workflow.parse(github).jobs.retrain.steps.find((one) => one.with !== undefined);
  const values: Record<string, string> = {
    'secrets.CAIRN_URL': url,
    'secrets.CAIRN_TOKEN': token,
    'vars.CAIRN_SOURCE': source,
    'vars.CAIRN_COMMIT': commit,
  };
  const given = Object.fromEntries(
    Object.entries(step?.with ?? {}).map(([name, text]) => [name, text.replace(/\$\{\{ (.+?) \}\}/, (_, of: string) => values[of] ?? '')]),
  );
  const folder = await checkout('github');
  const env = { GITHUB_REPOSITORY: 'ada/landmarks', GITHUB_SHA: 'c0ffee' };
  // As a person would write several: one a line.
  const set = 'stages.first.seed=5\nstages.second.seed=6\n';
  const [job, runId] = await Promise.all([
    playAction(join(root, 'docs/ci/github/action.yml'), { ...given, set }, env, folder),
    playSubmitted('ada/landmarks c0ffee recipe.yaml', -0.05),
  ]);
  expect(job.code).toBe(4);
  const { name, gate } = await harness.run(runId);
  expect(gate).toMatchObject({ gate: 'mAP@100 >= production - 0.2 points', promote: { alias: 'production' } });
  expect(job.outputs).toEqual({ run: name, 'run-id': runId, state: 'succeeded', verdict: 'failed' });
  expect(job.output).toContain('::error title=Quality gate failed%3A mAP@100 >= production - 0.2 points::mAP@100 is');
  expect(job.summary).toContain(`### [${name.replaceAll('_', '\\_')}](${url}/runs/${runId}): gate failed\n`);
  expect(await readFile(join(folder, 'cairn-comment.md'), 'utf8')).toBe(job.summary);
  expect(await harness.prisma.aliasMove.count()).toBe(1);

  // The commit is what is trusted: another one is not run.
  const other = await playAction(
    join(root, 'docs/ci/github/action.yml'),
    { ...given, commit: 'f'.repeat(40) },
    env,
    await checkout('other'),
  );
  expect(other).toMatchObject({ code: 128, outputs: { run: '' } });
});

test('the component of the page promotes a better model, and hands what became of it to later jobs', { timeout: 120_000 }, async () => {
  const [, gitlab] = await examples();
  const { include } = z.object({ include: z.array(z.object({ inputs: z.record(z.string(), z.string()) })) }).parse(gitlab);
  const variables = { CAIRN_URL: url, CAIRN_TOKEN: token, CAIRN_SOURCE: source, CAIRN_COMMIT: commit, CAIRN_RUNNER_IMAGE: 'unused' };
  const env = { ...variables, CI_PROJECT_PATH: 'ada/landmarks', CI_COMMIT_SHA: 'beef' };
  const folder = await checkout('gitlab');
  const [job, runId] = await Promise.all([
    playComponent(join(root, 'docs/ci/gitlab/template.yml'), include[0]?.inputs ?? {}, env, folder),
    playSubmitted('ada/landmarks beef recipe.yaml', 0.05),
  ]);
  expect(job).toMatchObject({ code: 0, output: expect.stringContaining('toy@production now names version') });
  const { name } = await harness.run(runId);
  expect(job.dotenv).toBe(`CAIRN_RUN=${name}\nCAIRN_RUN_ID=${runId}\nCAIRN_STATE=succeeded\nCAIRN_VERDICT=passed\n`);
  expect(await readFile(join(folder, 'cairn-comment.md'), 'utf8')).toContain('now names version');
  // A repeated job waits for the same run: it is over.
  expect(await playComponent(join(root, 'docs/ci/gitlab/template.yml'), include[0]?.inputs ?? {}, env, folder)).toMatchObject({ code: 0 });
});
