import { expect, test } from 'vitest';
import { localAgentEnvironment } from './local-agent-environment.ts';

test('an agent gets only the variables that any process needs and those that are named', () => {
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
