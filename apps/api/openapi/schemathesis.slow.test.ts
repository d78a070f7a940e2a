import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { imageSplits, type TokenRole } from '@cairn/contract';
import { sha256 } from '@cairn/runtime';
import { bareEnvironment, trainerPython } from '@cairn/testing';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { openTestApi } from '../testing/test-api.ts';
import { openApiDocument } from './document.ts';

/** Random calls per operation, in addition to those at the bounds of its schemas, and the time limit per role. */
const examples = 5;
const mostSeconds = 600;
const mostShown = 20_000;
vi.setConfig({ testTimeout: (mostSeconds + 30) * 1000 });

const { api, call, prisma, secrets, harness } = await openTestApi();
const url = await api.listen({ host: '127.0.0.1', port: 0 });
const folder = await mkdtemp(join(tmpdir(), 'cairn-schemathesis-'));
afterAll(() => rm(folder, { recursive: true }));
// Without folders of images, asking for one would be answered as a fault of the storage.
for (const split of imageSplits) await mkdir(join(folder, split, 'a'), { recursive: true });
const source = { kind: 'folder', root: folder, metadata: folder, countries: null };
await prisma.dataset.updateMany({ data: { source } });

// Existing resources: an ended run, a run with running attempts that report, imported weights.
const finished = await harness.submit({ name: 'finished' });
await harness.playAll(finished);
const running = await harness.submit({ name: 'running', noReuse: true });
await harness.play(running, 'prepare', 'again');
const [attempt = ''] = await harness.startAttempts(running, 'first');
await harness.engine.report(attempt, 1, {
  seq: 1,
  at: new Date().toISOString(),
  items: [
    { type: 'log', stream: 'stdout', offset: 0, text: 'epoch 0 \u001b[1mé\ud800\u0000\n' },
    { type: 'metrics', name: 'loss', steps: [1, 2, 3], values: [3, 2, 1], times: [1, 2, 3] },
    { type: 'progress', done: 1, total: 3, unit: 'steps', rate: null, etaSeconds: null, message: '' },
  ],
});
const octets = Buffer.from('tensors');
await call('submitter', 'PUT', '/v1/weights/imported', { octets, query: { backbone: 'resnet18', sha256: sha256(octets) } });

const idsOf = async (rows: Promise<{ id: string }[]>) => (await rows).map(({ id }) => id);
const known: Record<string, string[]> = {
  runs: [finished, running],
  attempts: await idsOf(prisma.attempt.findMany({ select: { id: true } })),
  artifacts: await idsOf(prisma.artifact.findMany({ select: { id: true } })),
  steps: ['prepare', 'first', 'extract_index', 'evaluate'],
  names: ['toy', 'toy@1', 'imported', 'tiny'],
};

/** Most calls use existing resources, the others random ones. */
function configuration(): string {
  const dictionaries = Object.entries(known).map(([name, values]) => `[dictionaries.${name}]\nvalues = ${JSON.stringify(values)}\n`);
  const paths = [
    { regex: '^/v1/runs/', parameters: { 'path.id': 'runs', 'path.name': 'steps' } },
    { regex: '^/v1/attempts/', parameters: { 'path.id': 'attempts' } },
    { regex: '^/v1/artifacts/', parameters: { 'path.id': 'artifacts' } },
    { regex: '^/v1/(datasets|weights|models|recipes)/', parameters: { 'path.name': 'names' } },
  ];
  const operations = paths.flatMap(({ regex, parameters }) => [
    `[[operations]]\ninclude-path-regex = ${JSON.stringify(regex)}\n[operations.parameters]`,
    ...Object.entries(parameters).map(([name, dictionary]) => `"${name}" = { dictionary = "${dictionary}", probability = 0.8 }`),
  ]);
  return [...dictionaries, ...operations, ''].join('\n');
}

/**
 * The checks for every response. The document cannot describe everything that is rejected: cursors, allowed paths, rules between settings.
 */
const checks = [
  'not_a_server_error',
  'status_code_conformance',
  'content_type_conformance',
  'response_schema_conformance',
  'negative_data_rejection',
  'missing_required_header',
  'unsupported_method',
  'ignored_auth',
];

const args = [
  ...['--config-file', join(folder, 'schemathesis.toml'), 'run', `${url}/openapi.json`],
  ...['--checks', checks.join(), '--max-examples', String(examples), '--seed', '1'],
  ...['--suppress-health-check', 'all', '--warnings', 'off', '--no-color', '--output-sanitize', 'false'],
];

beforeAll(() => writeFile(join(folder, 'schemathesis.toml'), configuration()));

/** Only an admin's calls get to every handler: those at the bounds of the schemas, 150 an operation, are made once. */
const phases: Record<TokenRole, string> = { viewer: 'examples,fuzzing', submitter: 'examples,fuzzing', admin: 'examples,coverage,fuzzing' };

// The lowest role first: it changes nothing.
test.each<TokenRole>(['viewer', 'submitter', 'admin'])('calls of a %s get documented responses, and never a 5xx', async (role) => {
  const ofRole = ['--phases', phases[role], '--header', `Authorization: Bearer ${secrets[role]}`];
  const child = spawn(trainerPython(), ['-I', '-m', 'schemathesis.cli', ...args, ...ofRole], {
    cwd: folder,
    env: bareEnvironment(),
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: mostSeconds * 1000,
    killSignal: 'SIGKILL',
  });
  const [said, errors, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  expect(code, (said + errors).slice(-mostShown)).toBe(0);
  expect(said).toContain(
    `Tested: ${Object.values(openApiDocument.parse(api.swagger()).paths).flatMap((methods) => Object.keys(methods)).length}`,
  );
});
