import { inject } from 'vitest';

/** What global-setup.ts provides to every test file. */
export type Provided = {
  /** For an administrator of a PostgreSQL: tests create their own databases with `createDatabase`. */
  postgresUrl: string;
  /** Of a Redis or Valkey that all test files share: each uses its own key prefix. */
  redisUrl: string;
  /** The valkey-server program, for tests that stop and start their own; empty when there is none. */
  valkeyServer: string;
  /** The S3 server's program, for test files that start one with `startS3`; empty when there is none. */
  s3Server: string;
};

declare module 'vitest' {
  interface ProvidedContext extends Provided {}
}

/** @throws Error when vitest runs without global-setup.ts, or with servers from the environment that do not provide it. */
export function provided<Key extends keyof Provided>(key: Key): Provided[Key] {
  const value = inject(key);
  if (!value) throw new Error(`no ${key}: run vitest from the repository's root, whose configuration has the global setup of libs/testing`);
  return value;
}
