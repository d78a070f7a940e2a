import { AxeBuilder } from '@axe-core/playwright';
import type { Page } from 'playwright-core';

const themes = ['light', 'dark'] as const;
const widths = [400, 1280, 2560];
const bad = new Set(['serious', 'critical']);

/** What axe finds in both themes at three widths and calls serious or worse: theme, width, rule, element. Also text that is cut off the page. */
export async function accessibilityFaults(page: Page): Promise<string[]> {
  const faults: string[] = [];
  for (const colorScheme of themes) {
    for (const width of widths) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 900 });
      await page.locator(`html[data-mantine-color-scheme="${colorScheme}"]`).waitFor({ state: 'attached' });
      const where = `${colorScheme} at ${width} px`;
      const { violations } = await new AxeBuilder({ page }).analyze();
      for (const { id, impact, nodes } of violations) {
        if (!bad.has(impact ?? '')) continue;
        faults.push(...nodes.map((node) => `${where}: ${id}: ${node.html}\n  ${node.failureSummary ?? ''}`));
      }
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      if (overflow > 0) faults.push(`${where}: the page is ${overflow} px wider than the window`);
    }
  }
  return faults;
}
