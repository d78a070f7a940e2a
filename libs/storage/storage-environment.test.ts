import { expect, test } from 'vitest';
import { isStorageVariable } from './storage-environment.ts';

test('what a store needs of the environment is passed on, what the control plane keeps for itself is not', () => {
  const names = ['AWS_ACCESS_KEY_ID', 'AWS_ENDPOINT_URL_S3', 'AWS_WEB_IDENTITY_TOKEN_FILE', 'NODE_EXTRA_CA_CERTS'];
  expect([...names, 'CAIRN_DATABASE_URL', 'CAIRN_SERVER_KEY', 'PATH'].filter(isStorageVariable)).toEqual(names);
});
