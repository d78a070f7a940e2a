import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

/** The AWS SDK, loaded at its first use: most services store in a folder, and an agent starts for every attempt. */
export const aws = (): typeof import('@aws-sdk/client-s3') => require('@aws-sdk/client-s3');
