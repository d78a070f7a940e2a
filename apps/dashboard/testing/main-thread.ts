import { appendFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Page } from 'playwright-core';

const folder = join(import.meta.dirname, '..', '..', '..', 'out', 'dashboard');

/**
 * Measures the processor time of a page's main thread from now on, over its next navigations. What is returned notes it as a line of
 * out/dashboard/main-thread.jsonl: for docs/benchmarks.md, never a gate.
 */
export async function measureMainThread(page: Page): Promise<(what: string) => Promise<void>> {
  const session = await page.context().newCDPSession(page);
  await session.send('Performance.enable', { timeDomain: 'threadTicks' });
  return async (what) => {
    const { metrics } = await session.send('Performance.getMetrics');
    const milliseconds = (name: string): number => Math.round((metrics.find((one) => one.name === name)?.value ?? 0) * 1000);
    const line = { what, tasksMs: milliseconds('TaskDuration'), scriptMs: milliseconds('ScriptDuration') };
    await mkdir(folder, { recursive: true });
    await appendFile(join(folder, 'main-thread.jsonl'), `${JSON.stringify(line)}\n`);
  };
}
