import { expect, test } from 'vitest';
import { runTabs } from './pages/run/run-search.ts';
import { accessibilityFaults, everyLook } from './testing/accessibility.ts';
import { failStage } from './testing/fail-stage.ts';
import { openDashboard } from './testing/open-dashboard.ts';
import { openTab } from './testing/open-tab.ts';

const limitMs = 300_000;
const { harness, client, openPage } = await openDashboard();
const { prisma, engine } = harness;
const { runId, attemptId } = await failStage(harness, 'looked-at');

test(
  'the sign-in, the home page, the runs and the ledger pass axe in both themes at three widths',
  async () => {
    const signIn = await openPage('/sign-in', { token: null });
    await signIn.getByRole('heading', { name: 'Sign in to Cairn' }).waitFor();
    expect(await accessibilityFaults(signIn, everyLook)).toEqual([]);

    await prisma.$executeRaw`
      update attempt set created_at = m, started_at = m, kept_at = m + interval '1 hour', ended_at = m + interval '2 hours', slots = 1
        from (select date_trunc('month', now(), 'UTC') as m) month where id = ${attemptId}`;
    const ada = { name: 'ada', projectId: 'default', tokenId: null, address: null };
    await engine.setBudget('owner:ada', { gpuHours: 1, per: 'month', warnPercent: 80 }, ada);
    const page = await openPage('/');
    await page.getByRole('region', { name: 'Needs you' }).getByRole('listitem').first().waitFor();
    expect(await accessibilityFaults(page, everyLook)).toEqual([]);
    await page.goto('/runs');
    await page.getByRole('checkbox', { name: 'Select looked-at' }).check();
    expect(await accessibilityFaults(page, everyLook)).toEqual([]);
    await page.goto('/ledger');
    await page.getByRole('row', { name: /^ada / }).waitFor();
    expect(await accessibilityFaults(page, everyLook)).toEqual([]);
  },
  limitMs,
);

test(
  'every tab of a run passes axe, light and wide as well as dark and narrow',
  async () => {
    const page = await openPage(`/runs/${runId}?step=first`);
    const faults: string[] = [];
    for (const name of runTabs) {
      await openTab(page, name);
      faults.push(...(await accessibilityFaults(page)).map((fault) => `${name}: ${fault}`));
    }
    expect(faults).toEqual([]);
  },
  limitMs,
);

test(
  'the other pages pass axe at three widths, in both themes by turns',
  async () => {
    await client.addSchedule({ name: 'nightly', cron: '0 3 * * *', zone: 'Europe/Zurich', run: { recipe: 'tiny', dataset: 'toy' } });
    await client.addTrigger({ name: 'landmarks', provider: 'github', run: { recipe: 'tiny', dataset: 'toy' } });
    await client.addWebhook({ name: 'chat', url: 'https://chat.example.org/hook', events: ['run.ended'] });
    await client.testWebhook('chat');
    const page = await openPage('/models');
    const faults: string[] = [];
    const paths = [
      ...['/models', '/datasets', '/datasets/toy', '/fleet', '/try', '/submit?recipe=tiny&dataset=toy', `/submit?from=${runId}`],
      ...['/schedules', '/triggers', '/triggers/landmarks', '/webhooks', '/webhooks/chat', '/code-hosts'],
      ...['/retention', '/secrets', '/tokens', '/audit', '/nowhere'],
    ];
    for (const [index, path] of paths.entries()) {
      // Half of the looks each: both themes at every width over two pages.
      const inLooks = everyLook.filter((_, at) => at % 2 === index % 2);
      await page.goto(path);
      await page.getByRole('heading', { level: 1 }).waitFor();
      await page.waitForFunction(() => !/(Loading|Planning) …/.test(document.body.innerText));
      faults.push(...(await accessibilityFaults(page, inLooks)).map((fault) => `${path}: ${fault}`));
    }
    expect(faults).toEqual([]);
  },
  2 * limitMs,
);
