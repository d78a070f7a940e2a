import type { Page } from 'playwright-core';
import type { RunTab } from '../pages/run/run-search.ts';

/** What a tab shows when it is complete, of a run whose training stage `first` has failed. */
const shownIn = {
  steps: 'Open the log there',
  timeline: 'waits for room',
  training: 'Loss',
  extraction: 'The shards are not planned yet.',
  logs: 'FloatingPointError',
  events: 'first is active',
  settings: 'learningRate',
  lineage: 'dataset toy@1',
} as const satisfies Record<RunTab, string>;

/** Opens a tab on the page of a failed run, and waits until it shows its content. */
export async function openTab(page: Page, name: RunTab): Promise<void> {
  if (name !== 'steps') await page.locator(`nav a[href*="tab=${name}"]`).first().click();
  await page.getByText(shownIn[name]).first().waitFor();
}
