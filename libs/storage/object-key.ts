import { CairnError, objectKeyFault } from '@cairn/contract';

/**
 * The key, if it is safe ({@link objectKeyFault}).
 * @throws CairnError `invalid_path` that names the key and the problem.
 */
export function objectKey(key: string): string {
  const fault = objectKeyFault(key);
  if (fault !== null) throw new CairnError('invalid_path', `The object key ${JSON.stringify(key)} ${fault}.`, { details: { key } });
  return key;
}

/** A folder of keys: the same rules, and '' for the whole store; without a trailing slash. */
export function objectPrefix(prefix: string): string {
  return prefix === '' ? '' : objectKey(prefix);
}
