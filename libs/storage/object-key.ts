import { CairnError } from '@cairn/contract';

const maxPartBytes = 200;
const maxKeyBytes = 1024;

/**
 * The key, when it is safe: parts parted by single slashes, none of them empty, starting with a dot (the store's own
 * files, `.` and `..`) or with control characters or a backslash in it; at most 1,024 bytes, as S3 has it.
 * @throws CairnError `invalid_path` that names the key and what is wrong with it.
 */
export function objectKey(key: string): string {
  const fault = faultOf(key);
  if (fault !== undefined) throw new CairnError('invalid_path', `The object key ${JSON.stringify(key)} ${fault}.`, { details: { key } });
  return key;
}

function faultOf(key: string): string | undefined {
  if (key === '') return 'is empty';
  if (Buffer.byteLength(key) > maxKeyBytes) return `is longer than ${maxKeyBytes} bytes`;
  if (key.startsWith('/')) return 'is absolute';
  if (key.includes('\\')) return 'has a backslash';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\u0000-\u001f\u007f]/.test(key)) return 'has a control character';
  if (!key.isWellFormed()) return 'is not valid Unicode';
  for (const part of key.split('/')) {
    if (part === '') return 'has an empty part';
    if (part.startsWith('.')) return `has the part ${JSON.stringify(part)}, which starts with a dot`;
    if (Buffer.byteLength(part) > maxPartBytes) return `has a part longer than ${maxPartBytes} bytes`;
  }
  return undefined;
}

/** A folder of keys: the same rules, and '' for the whole store; without a slash at the end. */
export function objectPrefix(prefix: string): string {
  return prefix === '' ? '' : objectKey(prefix);
}
