import { expect, test } from 'vitest';
import { runTabs } from './pages/run/run-search.ts';
import { accessibilityFaults, everyLook } from './testing/accessibility.ts';
import { failStage } from './testing/fail-stage.ts';
import { openDashboard } from './testing/open-dashboard.ts';
import { openTab } from './testing/open-tab.ts';

const limitMs = 300_000;
const { harness, openPage } = await openDashboard();

test(
  'the sign-in, the home page, the runs, the ledger and every tab of a run pass axe in both themes at three widths',
  async () => {
    const faults: string[] = [];
    const signIn = await openPage('/sign-in', { token: null });
    await signIn.getByRole('heading', { name: 'Sign in to Cairn' }).waitFor();
    faults.push(...(await accessibilityFaults(signIn, everyLook)));

    const { runId } = await failStage(harness, 'looked-at');
    const page = await openPage(`/runs/${runId}?step=first`);
    for (const name of runTabs) {
      await openTab(page, name);
      faults.push(...(await accessibilityFaults(page, everyLook)));
    }
    await page.goto('/');
    await page.getByRole('region', { name: 'Needs you' }).getByRole('listitem').first().waitFor();
    faults.push(...(await accessibilityFaults(page, everyLook)));
    await page.goto('/runs');
    await page.getByRole('checkbox', { name: 'Select looked-at' }).check();
    faults.push(...(await accessibilityFaults(page, everyLook)));
    await page.goto('/ledger');
    await page.getByRole('row', { name: /^ada / }).waitFor();
    faults.push(...(await accessibilityFaults(page, everyLook)));
    expect(faults).toEqual([]);
  },
  limitMs,
);
