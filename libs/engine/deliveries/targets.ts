import { CairnError } from '@cairn/contract';

const mostTargets = 100;

/** @throws CairnError `quota_exceeded` when a project has as many as it may */
export function requireRoom(what: 'webhooks' | 'code hosts', count: number): void {
  if (count < mostTargets) return;
  throw new CairnError('quota_exceeded', `The project has ${count} ${what}, the maximum`, {
    details: { most: mostTargets, remedy: 'Remove one that is not needed.' },
  });
}

/** An address without its query, which may have a secret: for the audit log. */
export function shownUrl(text: string): string {
  const url = new URL(text);
  return url.search === '' ? text : `${url.origin}${url.pathname}?...`;
}
