import { CairnError, objectKeyFault } from '@cairn/contract';

/**
 * The key, when it is safe ({@link objectKeyFault}).
 * @throws CairnError `invalid_path` that names the key and what is wrong with it.
 */
export function objectKey(key: string): string {
  const fault = objectKeyFault(key);
  if (fault !== null) throw new CairnError('invalid_path', `The object key ${JSON.stringify(key)} ${fault}.`, { details: { key } });
  return key;
}

/** A folder of keys: the same rules, and '' for the whole store; without a slash at the end. */
export function objectPrefix(prefix: string): string {
  return prefix === '' ? '' : objectKey(prefix);
}
