import { createHmac, timingSafeEqual } from 'node:crypto';

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
