import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { bareEnvironment, trainerPython } from '@cairn/testing';
import { expect, onTestFinished, test } from 'vitest';
import { checkReport } from './check-report.ts';

/** The phases that use most programs: what the others share with them, the tests of the trainer have too. */
const phases = 'machine,extract,search';

test('a dry check exports, extracts and searches with the programs that a GPU will run, and says what it found', {
  timeout: 600_000,
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-gpu-dry-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const out = join(folder, 'report.json');
  const args = ['check', '--dry', '--phases', phases, '--limit-s', '1800', '--out', out];
  await promisify(execFile)(process.execPath, [join(import.meta.dirname, 'main.ts'), ...args], {
    env: { ...bareEnvironment(), CAIRN_PYTHON: trainerPython() },
  });
  const report = checkReport.parse(JSON.parse(await readFile(out, 'utf8')));
  expect(report.phases.map(({ name, outcome }) => [name, outcome])).toEqual([
    ['machine', 'done'],
    ['extract', 'done'],
    ['search', 'done'],
  ]);
  const figures = Object.assign({}, ...report.phases.map((phase) => phase.figures));
  expect(figures).toMatchObject({
    raw: { places: { CPUExecutionProvider: expect.any(Number) } },
    tars: { rows: 24 },
    torch: { differentSets: 0 },
  });
});
