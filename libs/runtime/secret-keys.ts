import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { CairnError } from '@cairn/contract';
import { z } from 'zod';

/** A sealed text, as it is stored: which key opens it, and its bytes (version, nonce, ciphertext, tag). */
export type SealedText = { keyId: string; sealed: Uint8Array };

/** The keys of {@link secretKeysVariable}. The first seals; all of them open, so that keys can be rotated. */
export type SecretKeys = {
  /** Id of the key that seals. */
  newest: string;
  has(keyId: string): boolean;
  /** Seals a text for the row of `identity`: under another identity it cannot be opened. */
  seal(text: string, identity: string): SealedText;
  /** @throws CairnError `invalid_configuration` where the key is missing, is another one, or the bytes or the identity were changed */
  open(sealed: SealedText, identity: string): string;
};

const formatVersion = 1;
const nonceBytes = 12;
const tagBytes = 16;
const maxKeys = 16;

/**
 * AES-256-GCM with random nonces, which is safe for 2^32 texts of one key (NIST SP 800-38D, 8.3). Each configured key is stretched by HKDF:
 * it may be any random text, such as the output of `openssl rand -hex 32`.
 */
export function createSecretKeys(keys: readonly { id: string; key: string }[]): SecretKeys {
  const [first] = keys;
  if (first === undefined) throw new CairnError('invalid_configuration', 'CAIRN_SECRETS_KEYS has no key');
  const newest = first.id;
  const derived = new Map(keys.map(({ id, key }) => [id, Buffer.from(hkdfSync('sha256', key, '', 'cairn sealed secrets', 32))]));
  const keyOf = (keyId: string): Buffer => {
    const key = derived.get(keyId);
    if (key !== undefined) return key;
    throw new CairnError('invalid_configuration', `A secret is sealed with the key "${keyId}", which CAIRN_SECRETS_KEYS does not have`, {
      details: {
        keyId,
        remedy: 'Add the key to CAIRN_SECRETS_KEYS again, or replace the secret, for a trigger with `cairn trigger rotate`.',
      },
    });
  };
  return {
    newest,
    has: (keyId) => derived.has(keyId),
    seal(text, identity) {
      const nonce = randomBytes(nonceBytes);
      const cipher = createCipheriv('aes-256-gcm', keyOf(newest), nonce).setAAD(Buffer.from(identity));
      const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
      return { keyId: newest, sealed: new Uint8Array(Buffer.concat([Buffer.of(formatVersion), nonce, body, cipher.getAuthTag()])) };
    },
    open({ keyId, sealed }, identity) {
      const bytes = Buffer.from(sealed);
      const key = keyOf(keyId);
      const bodyAt = 1 + nonceBytes;
      try {
        if (bytes[0] !== formatVersion || bytes.length < bodyAt + tagBytes) throw new Error('it is not a sealed text of this version');
        const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(1, bodyAt), { authTagLength: tagBytes })
          .setAAD(Buffer.from(identity))
          .setAuthTag(bytes.subarray(-tagBytes));
        return Buffer.concat([decipher.update(bytes.subarray(bodyAt, -tagBytes)), decipher.final()]).toString('utf8');
      } catch (cause) {
        throw new CairnError(
          'invalid_configuration',
          `A secret cannot be opened with the key "${keyId}": it was sealed with another key, or changed`,
          {
            details: {
              keyId,
              remedy: 'Give the id its former key in CAIRN_SECRETS_KEYS, or replace the secret, for a trigger with `cairn trigger rotate`.',
            },
            cause,
          },
        );
      }
    },
  };
}

/** The variable of every program that seals or opens secrets. Its messages never quote a key. */
export const secretKeysVariable = z
  .string()
  .transform((text, { addIssue }): SecretKeys => {
    const faults: string[] = [];
    const keys = text
      .split(/[\s,]+/)
      .filter((part) => part !== '')
      .map((part, index) => {
        const [, id = '', key = ''] = /^([A-Za-z0-9][A-Za-z0-9._-]{0,31}):([\x21-\x7e]+)$/.exec(part) ?? [];
        if (id === '') faults.push(`key ${index + 1} is not ID:KEY with an id of letters, digits, dot, dash and underscore`);
        else if (key.length < 32) faults.push(`the key "${id}" has ${key.length} characters, at least 32 are needed`);
        return { id, key };
      });
    if (keys.length === 0 || keys.length > maxKeys) faults.push(`it has ${keys.length} keys; give 1 to ${maxKeys}`);
    if (new Set(keys.map(({ id }) => id)).size < keys.length) faults.push('two keys have the same id');
    for (const message of faults) addIssue({ code: 'custom', message });
    return faults.length > 0 ? z.NEVER : createSecretKeys(keys);
  })
  .describe('the keys that seal stored secrets, ID:KEY separated by commas: the first seals, all open')
  .meta({ example: 'k1:$(openssl rand -hex 32)', secret: true });
