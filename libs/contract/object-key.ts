import { z } from 'zod';

/** The name of the manifest under an artifact's prefix; written last, it proves that all other files exist. */
export const manifestName = 'manifest.json';

const maxPartBytes = 200;
const maxKeyBytes = 1024;

/**
 * What is wrong with a key of the object storage, or null. Its parts are separated by single slashes; none is empty, starts with a dot (the
 * store's own files, `.` and `..`) or contains control characters or a backslash. At most 1,024 bytes, as in S3.
 */
export function objectKeyFault(key: string): string | null {
  if (key === '') return 'is empty';
  if (bytesOf(key) > maxKeyBytes) return `is longer than ${maxKeyBytes} bytes`;
  if (key.startsWith('/')) return 'is absolute';
  if (key.includes('\\')) return 'contains a backslash';
  if (/\p{Cc}/u.test(key)) return 'contains a control character';
  if (/\p{Cs}/u.test(key)) return 'is not valid Unicode';
  for (const part of key.split('/')) {
    if (part === '') return 'contains an empty part';
    if (part.startsWith('.')) return `contains the part ${JSON.stringify(part)}, which starts with a dot`;
    if (bytesOf(part) > maxPartBytes) return `contains a part longer than ${maxPartBytes} bytes`;
  }
  return null;
}

/** The full key of an object. */
export const objectKeyText = z.string().check((context) => {
  const fault = objectKeyFault(context.value);
  if (fault !== null) context.issues.push({ code: 'custom', message: `the key ${fault}`, input: context.value });
});

/** The name of a file within its artifact: a relative path, other than the manifest. */
export const artifactFileName = objectKeyText.refine((name) => name !== manifestName, `${manifestName} is written by the control plane`);

const bytesOf = (text: string): number => new TextEncoder().encode(text).length;
