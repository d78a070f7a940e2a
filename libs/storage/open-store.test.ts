import { expect, test } from 'vitest';
import { isStorageVariable, openStore } from './open-store.ts';

test.each(['gs://bucket', 'ftp://host/x', '/var/lib/cairn', '', 'file://host/share'])(
  '%j is refused, naming the supported schemes',
  (url) => {
    expect(() => openStore(url)).toThrow(
      expect.objectContaining({ code: 'invalid_configuration', message: expect.stringContaining('file://') }),
    );
  },
);

test.each(['file:///team#1/storage', 'file:///what?x/storage'])('%s is refused: the rest of its path would be lost', (url) => {
  expect(() => openStore(url)).toThrow(expect.objectContaining({ code: 'invalid_configuration', message: expect.stringContaining('%23') }));
  expect(openStore(url.replace('#', '%23').replace('?', '%3F')).url).not.toMatch(/[#?]/);
});

test('an absolute file URL is opened without touching the disk', () => {
  expect(openStore('file:///nowhere/at%20all').url).toBe('file:///nowhere/at%20all');
});

test('variables that a store needs are passed on, those of the control plane are not', () => {
  const names = ['AWS_ACCESS_KEY_ID', 'AWS_ENDPOINT_URL_S3', 'AWS_WEB_IDENTITY_TOKEN_FILE', 'NODE_EXTRA_CA_CERTS'];
  expect([...names, 'CAIRN_DATABASE_URL', 'CAIRN_SERVER_KEY', 'PATH'].filter(isStorageVariable)).toEqual(names);
});
