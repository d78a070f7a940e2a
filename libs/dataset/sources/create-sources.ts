import { CairnError, datasetUrlFault, isDatasetUrl } from '@cairn/contract';
import type { Source, SourceLimits } from '@cairn/storage';

/** A place in a source. */
export type Remote = { source: Source; path: string };

/**
 * The sources that dataset addresses may be in, each opened at its first use. An allowed address covers itself and everything below it; what
 * follows its `?` says how its storage is reached, and dataset addresses have none of that.
 *
 * @param places null: any address, reached as the environment says
 */
export function createSources(places: readonly string[] | null, limits: Partial<SourceLimits>) {
  const allowed = places?.filter(isDatasetUrl).map((place) => {
    const [url = '', query] = place.split('?');
    return { url: url.replace(/\/+$/, ''), query };
  });
  const opened = new Map<string, Source>();

  return {
    async of(address: string): Promise<Remote | null> {
      if (!isDatasetUrl(address)) return null;
      const fault = datasetUrlFault(address);
      if (fault !== null) throw new CairnError('invalid_path', `The address ${JSON.stringify(address)} ${fault}`, { details: { address } });
      const url = address.replace(/\/+$/, '');
      const root = allowed === undefined ? { url: bucketOf(url), query: undefined } : nearest(url, allowed);
      if (root === null) throw notAllowed(address, allowed?.map((one) => one.url) ?? []);
      const key = root.query === undefined ? root.url : `${root.url}?${root.query}`;
      // Most collections are in folders: the client of S3 is loaded only for those that are not.
      const { openSource } = await import('@cairn/storage');
      const source = opened.get(key) ?? openSource(key, limits);
      opened.set(key, source);
      return { source, path: url.slice(root.url.length + 1) };
    },
    close(): void {
      for (const source of opened.values()) source.close();
      opened.clear();
    },
  };
}

type Allowed = { url: string; query: string | undefined };

/** The most specific one. */
function nearest(url: string, allowed: readonly Allowed[]): Allowed | null {
  const found = allowed.filter((root) => url === root.url || url.startsWith(`${root.url}/`));
  return found.toSorted((a, b) => b.url.length - a.url.length)[0] ?? null;
}

/** `s3://bucket/a/b` -> `s3://bucket`. */
function bucketOf(url: string): string {
  return url.split('/').slice(0, 3).join('/');
}

function notAllowed(address: string, allowed: readonly string[]): CairnError {
  const where = allowed.length === 0 ? 'none is allowed' : `allowed are ${allowed.join(', ')} and what is below`;
  return new CairnError('folder_not_allowed', `${address} is not an allowed dataset address; ${where}`, { details: { address } });
}
