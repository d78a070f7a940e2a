import { randomBytes } from 'node:crypto';
import { sha256 } from '@cairn/runtime';

/** A new bearer token: 256 random bits. It is shown once; only its hash is kept. */
export const newSecret = (): string => `cairn_${randomBytes(32).toString('base64url')}`;

/**
 * What is kept of a token. A plain SHA-256 is enough for 256 random bits, and looking the hash up tells nothing by its time:
 * who guesses does not choose the hash.
 */
export const hashSecret = (secret: string): string => sha256(secret);
