import { parseS3Location } from '../s3-location.ts';
import { s3Source } from './s3-source.ts';
import type { Source } from './source.ts';
import { defaultSourceLimits, type SourceLimits, steadySource } from './steady-source.ts';
import { webSource } from './web-source.ts';

/**
 * Opens a source by its URL: `s3://bucket/prefix` with what `parseS3Location` takes, or `https://host/folder`. Sends nothing yet.
 *
 * @throws CairnError `invalid_configuration` for an invalid location
 */
export function openSource(url: string, limits: Partial<SourceLimits> = {}): Source {
  const all = { ...defaultSourceLimits, ...limits };
  const parsed = new URL(url);
  return steadySource(parsed.protocol === 's3:' ? s3Source(parseS3Location(parsed), all) : webSource(parsed), all);
}
