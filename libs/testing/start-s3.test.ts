import { GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { expect, test } from 'vitest';
import { findS3Server, startS3 } from './start-s3.ts';

test('a server comes back after a crash on its port with its data', async () => {
  const server = await startS3();
  const object = { Bucket: server.bucket, Key: 'key' };
  await server.client.send(new PutObjectCommand({ ...object, Body: 'value' }));
  await server.end();
  await expect(server.client.send(new GetObjectCommand(object))).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  await server.start();
  const { Body: body } = await server.client.send(new GetObjectCommand(object));
  expect(await body?.transformToString()).toBe('value');
  await server.stop();
});

test('without the program the error says how to get it', async () => {
  await expect(findS3Server({ python: '/nowhere/bin/python', cacheDir: '/nowhere' })).rejects.toThrow(
    'no S3 server (weed) in the Python environment of CAIRN_PYTHON=/nowhere/bin/python: run `npm test`, which prepares it',
  );
});
