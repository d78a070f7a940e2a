import type { SubmitRequestInput } from '@cairn/contract';
import { expect, test, vi } from 'vitest';
import { accessibilityFaults } from '../../testing/accessibility.ts';
import { openDashboard } from '../../testing/open-dashboard.ts';
import { playStage } from '../../testing/play-stage.ts';

vi.setConfig({ testTimeout: 240_000 });

const dashboard = await openDashboard();
const { harness, client, openPage } = dashboard;

/** A run with a curve in its first stage. */
async function aRun(name: string, set: SubmitRequestInput['set'], loss: number): Promise<string> {
  const runId = await harness.submit({ name, ...(set === undefined ? {} : { set }) });
  const { stepViews } = await client.getRun(runId);
  if (stepViews[0]?.state !== 'reused') await harness.play(runId, 'prepare');
  const stage = await playStage(harness, runId, 'first');
  const steps = Array.from({ length: 20 }, (_, index) => (index + 1) * 10);
  await stage.report({ type: 'metrics', name: 'loss', steps, values: steps.map((step) => loss / step), times: steps.map((step) => step) });
  await stage.report({ type: 'evaluation', when: 'end', step: 200, mapAt100: loss / 10 });
  await stage.succeed();
  await harness.playAll(runId);
  return runId;
}

test('selected runs are compared: settings that differ, scores, reuse and curves, with the first of them', async () => {
  await aRun('base', {}, 3);
  await aRun('wider', { 'model.embeddingDim': 64, 'stages.second.learningRate': 0.2 }, 5);
  // The evaluations of the harness have no scores by query.
  const page = await openPage('/runs', { expected: [/status of 404/] });
  await page.getByRole('checkbox', { name: 'Select base' }).check();
  const compare = page.getByRole('button', { name: 'Compare' });
  expect(await compare.getAttribute('title')).toBe('Select at least two runs.');
  await page.getByRole('checkbox', { name: 'Select wider' }).check();
  await compare.click();

  const differences = page.getByRole('region', { name: 'Settings that differ' });
  await differences.getByRole('row', { name: /first, second, export\s*model\.embeddingDim 512 64/ }).waitFor();
  await differences.getByRole('row', { name: /second\s*learningRate 0\.1 0\.2/ }).waitFor();
  expect(await differences.getByRole('row').count()).toBe(1 + 2);
  const steps = page.getByRole('region', { name: 'Steps', exact: true });
  const first = steps.getByRole('row', { name: /^first/ });
  await first.getByText('30.0 %').waitFor();
  await first.getByText('50.0 %').waitFor();
  await steps
    .getByRole('row', { name: /^prepare/ })
    .getByRole('link', { name: 'base' })
    .waitFor();

  await page.getByLabel('Stage').selectOption('first');
  const loss = page.getByRole('figure', { name: 'Loss' });
  await loss.getByText('A base: 0.015').waitFor();
  await loss.getByText('B wider: 0.025').waitFor();
  // It is drawn when it is in sight.
  await loss.scrollIntoViewIfNeeded();
  await loss.locator('canvas').waitFor();

  await page.getByRole('button', { name: 'Make first' }).click();
  await loss.getByText('A wider: 0.025').waitFor();
  expect(
    await accessibilityFaults(page, [
      { colorScheme: 'light', width: 400 },
      { colorScheme: 'dark', width: 1280 },
    ]),
  ).toEqual([]);
  await page.getByRole('button', { name: 'Leave out base' }).click();
  await page.getByText('Select two to eight runs').waitFor();
});
