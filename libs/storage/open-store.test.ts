import { expect, test } from 'vitest';
import { openStore } from './open-store.ts';

test.each(['gs://bucket', 'ftp://host/x', '/var/lib/cairn', '', 'file://host/share'])('%j is refused, naming what is supported', (url) => {
  expect(() => openStore(url)).toThrow(
    expect.objectContaining({ code: 'invalid_configuration', message: expect.stringContaining('file://') }),
  );
});

test('an absolute file URL is opened without touching the disk', () => {
  expect(openStore('file:///nowhere/at%20all').url).toBe('file:///nowhere/at%20all');
});
