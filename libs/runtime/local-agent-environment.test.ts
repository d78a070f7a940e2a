import { expect, test } from 'vitest';
import { localAgentEnvironment } from './local-agent-environment.ts';

test('only what any process needs, and what is named, reaches an agent', () => {
  const env = {
    PATH: '/bin',
    HOME: '/root',
    PGPASSWORD: 'secret',
    CAIRN_SERVER_KEY: 'secret',
    REDIS_URL: 'secret',
    AWS_REGION: 'here',
    TMPDIR: undefined,
  };
  expect(localAgentEnvironment(env, (name) => name.startsWith('AWS_'))).toEqual({ PATH: '/bin', HOME: '/root', AWS_REGION: 'here' });
});
