import { type AdmissionSource, type AdmissionView, loadAdmission, type PrismaClient } from '@cairn/db';

/** A look that took less than this is not worth keeping. */
const cheapMs = 25;
/** At most this share of the time goes into looking. */
const share = 0.1;
const longestMs = 2_000;

/**
 * Shares a look at everything that waits between requests: callers of one moment get one, and one that was dear, because
 * thousands of steps wait, serves for ten times as long as it took.
 */
export function createAdmissionCache(prisma: PrismaClient): AdmissionSource {
  let kept: { view: AdmissionView; until: number } | null = null;
  let pending: Promise<AdmissionView> | null = null;

  async function look(): Promise<AdmissionView> {
    const begin = performance.now();
    try {
      const view = await loadAdmission(prisma);
      const tookMs = performance.now() - begin;
      kept = tookMs < cheapMs ? null : { view, until: performance.now() + Math.min(longestMs, tookMs / share) };
      return view;
    } finally {
      pending = null;
    }
  }

  return () => {
    if (kept !== null && performance.now() < kept.until) return Promise.resolve(kept.view);
    pending ??= look();
    return pending;
  };
}
