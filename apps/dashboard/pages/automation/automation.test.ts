import { scheduleRequest, triggerRequest } from '@cairn/contract';
import { newId } from '@cairn/runtime';
import type { Page } from 'playwright-core';
import { expect, test, vi } from 'vitest';
import { accessibilityFaults } from '../../testing/accessibility.ts';
import { openDashboard } from '../../testing/open-dashboard.ts';

vi.setConfig({ testTimeout: 90_000 });

const dashboard = await openDashboard();
const { harness, client, openPage } = dashboard;
const { prisma, engine } = harness;
const anna = await client.createToken({ name: 'anna', role: 'submitter' });
const viewer = await client.createToken({ name: 'onlooker', role: 'viewer' });
const actor = (name: string) => ({ name, projectId: 'default', tokenId: null, address: null });

/** Light and wide, dark and narrow. */
const looks = [
  { colorScheme: 'light', width: 1280 },
  { colorScheme: 'dark', width: 400 },
] as const;
const rowOf = (page: Page, name: string | RegExp) => page.getByRole('row').filter({ hasText: name });

test('schedules tell when they start next and what became of the last time; they are run, paused and resumed', async () => {
  const run = { recipe: 'tiny', dataset: 'toy' };
  for (const [name, owner] of [
    ['nightly', 'anna'],
    ['hers', 'eve'],
  ] as const)
    await engine.addSchedule(scheduleRequest.parse({ name, cron: '0 3 * * *', zone: 'Europe/Zurich', run }), actor(owner));
  const at = new Date().toISOString();
  const message = 'The setting stages.384.epochs is unknown';
  const last = { at, outcome: 'refused', due: at, runId: null, code: 'unknown_setting', message };
  await prisma.schedule.updateMany({ where: { name: 'hers' }, data: { last } });

  const page = await openPage('/schedules', { token: anna.secret });
  await rowOf(page, 'hers').getByText(message).waitFor();
  await rowOf(page, 'nightly').getByText('0 3 * * * (Europe/Zurich)').waitFor();
  await rowOf(page, 'nightly')
    .getByText(/^in \d+ (h|min|s)$/)
    .waitFor();
  const others = rowOf(page, 'hers').getByRole('button', { name: 'Pause' });
  expect(await others.getAttribute('title')).toBe(
    'Not with your token: it belongs to eve; it takes the token eve, or one of the role admin',
  );
  await others.click({ force: true });
  expect(await page.getByRole('dialog').count()).toBe(0);
  expect(await accessibilityFaults(page, looks)).toEqual([]);

  await rowOf(page, 'nightly').getByRole('button', { name: 'Pause' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Pause' }).click();
  await rowOf(page, 'nightly').getByText('Paused').waitFor();
  await rowOf(page, 'nightly').getByRole('button', { name: 'Resume' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Resume' }).click();
  await rowOf(page, 'nightly').getByRole('button', { name: 'Pause' }).waitFor();
  await rowOf(page, 'nightly').getByRole('button', { name: 'Run now' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Start the run' }).click();
  await page.getByText('the schedule nightly, due at').waitFor();
  expect((await client.listRuns({ owner: ['anna'] })).items).toMatchObject([{ origin: { kind: 'schedule', schedule: 'nightly' } }]);
});

test('a trigger tells of each delivery why it started a run or not, and a held one is released by who may', async () => {
  const run = { recipe: 'tiny', dataset: 'toy' };
  await engine.addTrigger(
    triggerRequest.parse({ name: 'landmarks', provider: 'github', run, filter: { branches: ['main'] } }),
    actor('anna'),
  );
  const trigger = await prisma.trigger.findFirstOrThrow({ where: { name: 'landmarks' } });
  const source = { provider: 'github', repository: 'team/landmarks', commit: 'b'.repeat(40), ref: 'main', pullRequest: 8 };
  const held = { ...source, url: 'https://code.example.com/team/landmarks/pull/8' };
  const common = { triggerId: trigger.id, event: 'pull_request', digest: 'd', address: '192.0.2.7', request: run };
  await prisma.hookDelivery.createMany({
    data: [
      {
        ...{ ...common, id: newId('hookDelivery'), key: 'one', subject: 'pull request 8 was opened', source: held, outcome: 'held' },
        reason: 'pull requests from forks wait for a person',
      },
      {
        ...{ ...common, id: newId('hookDelivery'), key: 'two', event: 'push', subject: 'push to docs', outcome: 'ignored' },
        reason: 'the branch docs matches none of main',
      },
    ],
  });

  const onlooker = await openPage('/triggers', { token: viewer.secret });
  await onlooker.getByRole('link', { name: 'landmarks' }).click();
  await rowOf(onlooker, 'pull request 8').getByText('Held').waitFor();
  expect(await onlooker.getByRole('button', { name: /Release/ }).count()).toBe(0);
  expect(await onlooker.getByRole('link', { name: 'Webhooks' }).count()).toBe(0);

  const page = await openPage('/triggers/landmarks', { token: anna.secret });
  await page.getByText('events push; branches main').waitFor();
  await rowOf(page, 'push to docs').getByText('the branch docs matches none of main').waitFor();
  expect(await accessibilityFaults(page, looks)).toEqual([]);
  await page.getByLabel('Deliveries of the last week').selectOption('held');
  await rowOf(page, 'push to docs').waitFor({ state: 'detached' });
  expect(new URL(page.url()).search).toBe('?outcome=held');
  await page.getByRole('button', { name: /^Release/ }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByRole('link', { name: 'bbbbbbbbbbbb of team/landmarks, main' }).waitFor();
  await dialog.getByRole('button', { name: 'Start its run' }).click();
  await dialog.waitFor({ state: 'detached' });
  await page.getByLabel('Deliveries of the last week').selectOption('');
  await rowOf(page, 'pull request 8').getByText('Started').waitFor();
  await rowOf(page, 'pull request 8').getByText('Released by anna.').waitFor();
  expect(await rowOf(page, 'pull request 8').getByRole('link', { name: /^run / }).count()).toBe(1);
});

test('an admin sees what was sent to a webhook and sends it again, what a collection would remove, and the keys of secrets', async () => {
  await client.addWebhook({ name: 'chat', url: 'https://chat.example.org/hook', events: ['run.ended'] });
  await client.testWebhook('chat');
  const answer = { at: new Date().toISOString(), status: 500, message: 'HTTP 500' };
  await prisma.delivery.updateMany({ data: { state: 'failed', attempts: 9, failures: 9, answer, endedAt: new Date() } });
  const page = await openPage('/webhooks');
  await rowOf(page, 'chat').getByText('Given up').waitFor();
  await page.getByRole('link', { name: 'chat' }).click();
  await rowOf(page, 'webhook.test').getByText('HTTP 500').waitFor();
  expect(await accessibilityFaults(page, looks)).toEqual([]);
  await page.getByRole('button', { name: /^Send again/ }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Send it again' }).click();
  await rowOf(page, 'webhook.test').getByText('Waits').waitFor();
  expect(await prisma.delivery.findFirst()).toMatchObject({ state: 'pending', failures: 0 });

  const runId = await harness.submit({ name: 'keeper', noReuse: true });
  await harness.playAll(runId);
  await page.getByRole('button', { name: /^Account and display/ }).click();
  await page.getByRole('link', { name: 'Retention' }).click();
  await page.getByText('No policy is set: runs keep their results').waitFor();
  await page.getByRole('button', { name: 'Look' }).click();
  await page.getByText(/^Nothing would go\. .* artifacts of .* would stay\.$/).waitFor();
  await page
    .getByRole('region', { name: 'Table of what would stay' })
    .getByRole('row', { name: /checkpoint/ })
    .first()
    .waitFor();
  expect(await page.locator('tbody tr').count()).toBeLessThanOrEqual(60);
  expect(await accessibilityFaults(page, looks)).toEqual([]);

  await page.goto('/secrets');
  await rowOf(page, 'k1').getByText('Seals new secrets').waitFor();
  expect(await page.getByRole('button', { name: 'Seal all' }).getAttribute('title')).toMatch(/every secret is sealed with the newest key/);
  expect(await accessibilityFaults(page, [looks[1]])).toEqual([]);
});
