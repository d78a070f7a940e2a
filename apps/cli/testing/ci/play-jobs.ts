import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { bareEnvironment } from '@cairn/testing';
import { parse, parseAllDocuments } from 'yaml';
import { z } from 'zod';

// Runs the definitions of docs/ci as their CI systems do: with the environment, the files and the shell options that these document.

export type PlayedJob = { code: number; output: string; folder: string };
type Variables = Record<string, string>;

const shell = promisify(execFile);

async function bash(args: string[], options: { cwd: string; env: Variables }): Promise<{ code: number; output: string }> {
  const env = { ...bareEnvironment(), PATH: process.env.PATH ?? '', ...options.env };
  try {
    const { stdout, stderr } = await shell('bash', args, { cwd: options.cwd, env, timeout: 60_000 });
    return { code: 0, output: stdout + stderr };
  } catch (error) {
    const failed = z.object({ code: z.number(), stdout: z.string(), stderr: z.string() }).parse(error);
    return { code: failed.code, output: failed.stdout + failed.stderr };
  }
}

const input = z.object({ description: z.string(), required: z.boolean().optional(), default: z.string().optional() });
const actionFile = z.object({
  inputs: z.record(z.string(), input),
  outputs: z.record(z.string(), z.object({ description: z.string(), value: z.string() })),
  runs: z.object({
    using: z.literal('composite'),
    steps: z.array(
      z.object({
        name: z.string(),
        id: z.string().optional(),
        shell: z.literal('bash'),
        env: z.record(z.string(), z.string()),
        run: z.string(),
      }),
    ),
  }),
});

/**
 * Runs a composite action up to its first step that fails. Expressions are those of inputs, `runner.temp` and outputs of steps.
 * https://docs.github.com/en/actions/reference/workflows-and-actions/metadata-syntax
 */
export async function playAction(file: string, given: Variables, env: Variables, folder: string) {
  const action = actionFile.parse(parse(await readFile(file, 'utf8')));
  const unknown = Object.keys(given).filter((name) => !Object.hasOwn(action.inputs, name));
  const missing = Object.entries(action.inputs).filter(([name, { required }]) => required && given[name] === undefined);
  if (unknown.length + missing.length > 0) throw new Error(`unknown inputs ${unknown}, missing ${missing.map(([name]) => name)}`);
  const temp = await mkdtemp(join(folder, 'runner-'));
  const summaryFile = join(temp, 'summary.md');
  await writeFile(summaryFile, '');
  const context: Variables = { 'runner.temp': temp };
  for (const [name, { default: usual = '' }] of Object.entries(action.inputs)) context[`inputs.${name}`] = given[name] ?? usual;
  const evaluate = (text: string): string =>
    text.replace(/\$\{\{ ([a-z.A-Z_-]+) \}\}/g, (_, name: string) => {
      if (context[name] === undefined && !name.startsWith('steps.')) throw new Error(`unknown expression ${name}`);
      return context[name] ?? '';
    });
  let output = '';
  let code = 0;
  for (const [at, step] of action.runs.steps.entries()) {
    const [script, outputFile] = [join(temp, `step-${at}.sh`), join(temp, `output-${at}`)];
    await writeFile(script, step.run);
    await writeFile(outputFile, '');
    const own = Object.fromEntries(Object.entries(step.env).map(([name, value]) => [name, evaluate(value)]));
    const github = { GITHUB_ACTIONS: 'true', GITHUB_OUTPUT: outputFile, GITHUB_STEP_SUMMARY: summaryFile };
    const ran = await bash(['--noprofile', '--norc', '-eo', 'pipefail', script], { cwd: folder, env: { ...env, ...github, ...own } });
    output += ran.output;
    for (const line of (await readFile(outputFile, 'utf8')).split('\n').filter((text) => text !== '')) {
      const [name = '', ...value] = line.split('=');
      context[`steps.${step.id}.outputs.${name}`] = value.join('=');
    }
    code = ran.code;
    if (code !== 0) break;
  }
  const outputs = Object.fromEntries(Object.entries(action.outputs).map(([name, { value }]) => [name, evaluate(value)]));
  return { code, output, outputs, summary: await readFile(summaryFile, 'utf8') };
}

const gitlabInput = z.object({ description: z.string(), default: z.string().optional() });
const gitlabJob = z.object({
  stage: z.string(),
  image: z.string(),
  variables: z.record(z.string(), z.string()),
  script: z.array(z.string()),
  artifacts: z.object({ paths: z.array(z.string()), reports: z.object({ dotenv: z.string() }) }).loose(),
  allow_failure: z.object({ exit_codes: z.array(z.number()) }),
});

/**
 * Runs the one job of a component: inputs are replaced in its keys and texts, variables expand in each other, and the lines of the script are one
 * script of bash. https://docs.gitlab.com/ci/yaml/
 */
export async function playComponent(file: string, given: Variables, env: Variables, folder: string) {
  const [header, body] = parseAllDocuments(await readFile(file, 'utf8')).map((document) => document.toString());
  const { inputs } = z.object({ spec: z.object({ inputs: z.record(z.string(), gitlabInput) }) }).parse(parse(header ?? '')).spec;
  const inputOf = (name: string): string => {
    const value = given[name] ?? inputs[name]?.default;
    if (value === undefined) throw new Error(`the input ${name} is missing`);
    return value;
  };
  const unknown = Object.keys(given).filter((name) => !Object.hasOwn(inputs, name));
  if (unknown.length > 0) throw new Error(`unknown inputs ${unknown}`);
  const fill = (text: string): string => text.replace(/\$\[\[ inputs\.([a-z-]+) \]\]/g, (_, name: string) => inputOf(name));
  const [job] = Object.values(z.record(z.string(), gitlabJob).parse(withTexts(parse(body ?? ''), fill)));
  if (job === undefined) throw new Error('the component has no job');
  await mkdir(folder, { recursive: true });
  const expand = (text: string): string => text.replace(/\$([A-Z_]+)/g, (_, name: string) => env[name] ?? '');
  const variables = Object.fromEntries(Object.entries(job.variables).map(([name, value]) => [name, expand(value)]));
  const script = join(folder, '..', 'job.sh');
  await writeFile(script, ['set -eo pipefail', ...job.script].join('\n'));
  const ran = await bash([script], { cwd: folder, env: { ...env, GITLAB_CI: 'true', ...variables } });
  const dotenv = await readFile(join(folder, job.artifacts.reports.dotenv), 'utf8').catch(() => '');
  return { ...ran, dotenv, isAllowed: job.allow_failure.exit_codes.includes(ran.code) };
}

/** A parsed document with its keys and texts changed. */
function withTexts(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === 'string') return change(value);
  if (Array.isArray(value)) return value.map((item) => withTexts(item, change));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [change(name), withTexts(item, change)]));
}
