import { scheduleRequest, triggerRequest } from '@cairn/contract';
import { newId } from '@cairn/runtime';
import type { Page } from 'playwright-core';
import { expect, test, vi } from 'vitest';
import { accessibilityFaults } from '../../testing/accessibility.ts';
import { addReceivers } from '../../testing/add-receivers.ts';
import { openDashboard } from '../../testing/open-dashboard.ts';

vi.setConfig({ testTimeout: 240_000 });

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
  await page.getByText('the schedule nightly, due ').waitFor();
  expect((await client.listRuns({ owner: ['anna'] })).items).toMatchObject([{ origin: { kind: 'schedule', schedule: 'nightly' } }]);
});

test('a trigger tells of each delivery why it started a run or not, and a held one is released by who may', async () => {
  const run = { recipe: 'tiny', dataset: 'toy' };
  const gated = { ...run, gate: { gate: 'mAP@100 >= 55 %', minQueries: 20 } };
  await engine.addTrigger(
    triggerRequest.parse({ name: 'landmarks', provider: 'github', run: gated, filter: { branches: ['main'] } }),
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
        ...{ ...common, id: newId('hookDelivery'), key: 'three', subject: 'pull request 9 was opened', source: held, outcome: 'held' },
        reason: 'pull requests from forks wait for a person',
      },
      {
        ...{ ...common, id: newId('hookDelivery'), key: 'two', event: 'push', subject: 'push to docs', outcome: 'ignored' },
        reason: 'the branch docs matches none of main',
      },
    ],
  });

  const onlooker = await openPage('/', { token: viewer.secret });
  const needs = (page: Page) => page.getByRole('region', { name: 'Needs you' }).getByRole('listitem').filter({ hasText: 'pull request 9' });
  await needs(onlooker).getByText('The trigger landmarks holds a delivery: pull requests from forks').waitFor();
  expect(await needs(onlooker).getByRole('button').count()).toBe(0);
  await onlooker.goto('/triggers');
  expect(await accessibilityFaults(onlooker, [looks[1]])).toEqual([]);
  await onlooker.getByRole('link', { name: 'landmarks' }).click();
  await rowOf(onlooker, 'pull request 8').getByText('Held').waitFor();
  expect(await onlooker.getByRole('button', { name: /Release/ }).count()).toBe(0);
  expect(await onlooker.getByRole('link', { name: 'Webhooks' }).count()).toBe(0);

  const page = await openPage('/', { token: anna.secret });
  await needs(page).getByRole('button', { name: 'Release pull request 9 was opened' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Start its run' }).click();
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  await needs(page).waitFor({ state: 'detached' });
  expect(await prisma.hookDelivery.findFirst({ where: { key: 'three' } })).toMatchObject({ outcome: 'started', releasedBy: 'anna' });
  await page.goto('/triggers/landmarks');
  await page.getByText('events push; branches main').waitFor();
  await page.getByText('mAP@100 >= 55 %; with at least 20 queries').waitFor();
  await rowOf(page, 'push to docs').getByText('the branch docs matches none of main').waitFor();
  expect(await accessibilityFaults(page, looks)).toEqual([]);
  await page.getByLabel('Deliveries of the last week').selectOption('failed');
  await page.getByText('No delivery of the last week is failed.').waitFor();
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
  await addReceivers(client);
  await client.testWebhook('chat');
  const answer = { at: new Date().toISOString(), status: 500, message: 'HTTP 500' };
  await prisma.delivery.updateMany({ data: { state: 'failed', attempts: 9, failures: 9, answer, endedAt: new Date() } });
  const page = await openPage('/webhooks');
  await rowOf(page, 'chat').getByText('Given up').waitFor();
  expect(await accessibilityFaults(page, [looks[1]])).toEqual([]);
  await page.getByRole('link', { name: 'Code hosts' }).click();
  await rowOf(page, 'hub').getByText('nothing sent yet').waitFor();
  expect(await accessibilityFaults(page, [looks[0]])).toEqual([]);
  await page.getByRole('link', { name: 'hub' }).click();
  await page.getByText('Nothing was sent in the last 30 days.').waitFor();
  await page.getByRole('link', { name: 'Webhooks' }).click();
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
  await page.getByRole('button', { name: 'Change' }).click();
  const policy = page.getByRole('dialog');
  await policy.getByLabel('Runs give up their results').fill('90');
  await policy.getByLabel('Labels of runs').fill('team');
  await policy.getByText('use KEY=VALUE, such as team=search').waitFor();
  await policy.getByLabel('Labels of runs').fill('team=search');
  await policy.getByText('cairn retention set --runs-older-than 90d --keep-label team=search --every 24').waitFor();
  expect(await accessibilityFaults(page, [looks[1]])).toEqual([]);
  await policy.getByRole('button', { name: 'Set the policy' }).click();
  await policy.waitFor({ state: 'detached' });
  await page.getByText('Runs give up their results 90 days after they ended').waitFor();
  expect(await client.getRetention()).toMatchObject({ runsOlderThanDays: 90, checkpoints: 0, keepLabels: ['team=search'], everyHours: 24 });
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
