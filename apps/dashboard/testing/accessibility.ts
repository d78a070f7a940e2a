import { AxeBuilder } from '@axe-core/playwright';
import type { Page } from 'playwright-core';

type Look = { colorScheme: 'light' | 'dark'; width: number };

/** Both themes, the wide and the narrow layout; a look is a second of processor time. */
export const looks: readonly Look[] = [
  { colorScheme: 'light', width: 1280 },
  { colorScheme: 'dark', width: 400 },
];
export const everyLook: readonly Look[] = (['light', 'dark'] as const).flatMap((colorScheme) =>
  [400, 1280, 2560].map((width) => ({ colorScheme, width })),
);
const bad = new Set(['serious', 'critical']);

/** What axe calls serious or worse in these looks: theme, width, rule, element. Also what is wider than the window. */
export async function accessibilityFaults(page: Page, inLooks: readonly Look[] = looks): Promise<string[]> {
  const faults: string[] = [];
  for (const { colorScheme, width } of inLooks) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 900 });
    await page.locator(`html[data-mantine-color-scheme="${colorScheme}"]`).waitFor({ state: 'attached' });
    const where = `${colorScheme} at ${width} px`;
    const { violations } = await new AxeBuilder({ page })
      .options({ resultTypes: ['violations'] })
      .setLegacyMode()
      .analyze();
    for (const { id, impact, nodes } of violations) {
      if (!bad.has(impact ?? '')) continue;
      faults.push(...nodes.map((node) => `${where}: ${id}: ${node.html}\n  ${node.failureSummary ?? ''}`));
    }
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (overflow > 0) faults.push(`${where}: the page is ${overflow} px wider than the window: ${await tooWide(page)}`);
  }
  return faults;
}

/** The innermost elements that reach beyond the window, for the message. */
const tooWide = (page: Page): Promise<string> =>
  page.evaluate(() => {
    const reaching = [...document.querySelectorAll('body *')].filter((one) => one.getBoundingClientRect().right > window.innerWidth + 1);
    const innermost = reaching.filter((one) => !reaching.some((other) => other !== one && one.contains(other)));
    return innermost
      .slice(0, 3)
      .map((one) => one.outerHTML.slice(0, 200))
      .join('; ');
  });
