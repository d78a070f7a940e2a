import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { type IdKind, idPrefixes } from '@cairn/contract';

/** Crockford's base 32 in lower case: no i, l, o, u. */
const alphabet = '0123456789abcdefghjkmnpqrstvwxyz';

type IdSourceOptions = {
  /** Milliseconds since the epoch. */
  now?: () => number;
  /** `size` random bytes. */
  random?: (size: number) => Uint8Array;
};

/**
 * Creates a source of ids: prefix, underscore, and a ULID (https://github.com/ulid/spec: 48 bits of time, 80 random bits)
 * in lower case. Ids of one source sort in the order of their creation: within a millisecond, and while the clock
 * steps back, the random part is incremented instead.
 */
export function createIdSource({ now = Date.now, random = randomBytes }: IdSourceOptions = {}): (kind: IdKind) => string {
  let lastTime = -1;
  let lastRandom = 0n;
  return (kind) => {
    const time = now();
    if (time > lastTime) {
      lastTime = time;
      lastRandom = toBigInt(random(10));
    } else {
      lastRandom += 1n;
      if (lastRandom >> 80n) {
        // The 2^80 ids of this millisecond are exhausted: borrow the next one.
        lastTime += 1;
        lastRandom = toBigInt(random(10));
      }
    }
    return `${idPrefixes[kind]}_${encode(BigInt(lastTime), 10)}${encode(lastRandom, 16)}`;
  };
}

/** A new id, e.g. `run_01k9zj...`, ascending within the process (this module's only state). */
export const newId = createIdSource();

function toBigInt(bytes: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(bytes).toString('hex')}`);
}

function encode(value: bigint, characters: number): string {
  let text = '';
  for (let shift = 5 * (characters - 1); shift >= 0; shift -= 5) text += alphabet.charAt(Number((value >> BigInt(shift)) & 31n));
  return text;
}

/**
 * The token of one generation of an attempt: recomputable after a crash from the server key, never stored. A superseded
 * generation has a different token, so a zombie's is refused.
 */
export function attemptToken(serverKey: string, attemptId: string, generation: number): string {
  return `cat_${createHmac('sha256', serverKey).update(`${attemptId}.${generation}`).digest('base64url')}`;
}

/** True when `token` is the token of the attempt's generation; compared in constant time. */
export function isAttemptToken(token: string, serverKey: string, attemptId: string, generation: number): boolean {
  const expected = Buffer.from(attemptToken(serverKey, attemptId, generation));
  const given = Buffer.from(token);
  return given.length === expected.length && timingSafeEqual(given, expected);
}
