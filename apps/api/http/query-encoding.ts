import { CairnError } from '@cairn/contract';
import type { App } from './app.ts';

/** Refuses a query whose percent signs encode nothing, or no UTF-8: its parser would take them as they stand. */
export function refuseBrokenQueries(app: App): void {
  app.addHook('onRequest', async (request) => {
    const at = request.url.indexOf('?');
    if (at < 0) return;
    try {
      decodeURIComponent(request.url.slice(at + 1));
    } catch (cause) {
      const message = 'it has a percent sign without two hexadecimal digits, or bytes that are not UTF-8';
      throw new CairnError('invalid_request', `The query of the request does not fit: ${message}`, {
        details: { part: 'query', errors: [{ path: '', message }] },
        cause,
      });
    }
  });
}
