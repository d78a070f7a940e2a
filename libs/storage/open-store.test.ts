import { expect, test } from 'vitest';
import { objectKey } from './object-store.ts';
import { isStorageVariable, openStore } from './open-store.ts';
import { parseS3Location } from './s3-bucket.ts';

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

test.each([
  ['s3://bucket', { bucket: 'bucket', prefix: '', endpoint: undefined, region: undefined, forcePathStyle: false }],
  ['s3://my.bucket-1/team%20a/cairn/', { bucket: 'my.bucket-1', prefix: 'team a/cairn/' }],
  ['s3://bucket?endpoint=http://minio:9000/', { endpoint: 'http://minio:9000', forcePathStyle: true }],
  ['s3://bucket?endpoint=https://s3.example.org&forcePathStyle=false', { endpoint: 'https://s3.example.org', forcePathStyle: false }],
  ['s3://bucket/a?region=eu-central-1', { prefix: 'a/', region: 'eu-central-1' }],
])('%s is parsed', (url, location) => {
  expect(parseS3Location(new URL(url))).toMatchObject({ url, ...location });
});

test.each([
  ['s3://KEY:hidden@bucket', 'has credentials before the bucket: URLs end up in logs'],
  ['s3://bucket?accessKeyId=hidden', 'has the parameter "accessKeyId": credentials come from the environment'],
  ['s3://bucket?secret=hidden', 'credentials come from the environment'],
  ['s3://bucket?endpoint=http://user:hidden@host', 'has credentials in its endpoint'],
  ['s3://bucket?endpoint=minio:9000', 'has an endpoint that is not an http:// or https:// address'],
  ['s3://bucket?endpoint=http://host/?x=1', 'has an endpoint with a query'],
  ['s3://bucket?style=path', 'has the parameter "style": the parameters are endpoint, region, profile, forcePathStyle'],
  ['s3://bucket?region=a&region=b', 'has the parameter region more than once'],
  ['s3://bucket?region=Frankfurt', 'has the region "Frankfurt"'],
  ['s3://bucket?forcePathStyle=yes', 'has forcePathStyle="yes": it must be true or false'],
  ['s3://bucket:9000/x', 'has a port after the bucket: name the server with ?endpoint=http://host:9000'],
  ['s3://Bucket_1', 'names the bucket "Bucket_1": a bucket name has 3 to 63 of a-z, 0-9, dot and dash'],
  ['s3:///prefix', 'names the bucket ""'],
  ['s3://bucket/.hidden', 'has the path "/.hidden", which is not valid before a key'],
  ['s3://bucket//x', 'has the path "//x"'],
  ['s3://bucket/%zz', 'has the path "/%zz"'],
  ['s3://bucket/a#b', 'contains #'],
])('%s is refused with the reason', (url, message) => {
  const refused = expect.objectContaining({ code: 'invalid_configuration', message: expect.stringContaining(message) });
  expect(() => openStore(url)).toThrow(refused);
  expect(() => openStore(url)).not.toThrow('hidden@');
  expect(() => openStore(url)).not.toThrow('=hidden');
});

test('the error for a URL that cannot be parsed leaves out possible secrets', () => {
  expect(() => openStore('s3://KEY:se/hidden@bucket')).toThrow('"s3://...@bucket" is not a storage URL');
});

test.each(['a', 'models/mdl_01/model.fp16.onnx', 'features/x/img_emb/img_emb_00042.npy', 'a b/ä'])('%s is a key', (key) => {
  expect(objectKey(key)).toBe(key);
});

test.each([
  ['', 'is empty'],
  ['/etc/passwd', 'is absolute'],
  ['a/../b', 'contains the part ".."'],
  ['..', 'contains the part ".."'],
  ['a/./b', 'contains the part "."'],
  ['.unfinished/x', 'starts with a dot'],
  ['a//b', 'contains an empty part'],
  ['a/', 'contains an empty part'],
  ['a\\b', 'contains a backslash'],
  ['a\0b', 'contains a control character'],
  ['a\nb', 'contains a control character'],
  ['\ud800', 'is not valid Unicode'],
  ['x'.repeat(201), 'contains a part longer than 200 bytes'],
  ['ab/'.repeat(400), 'is longer than 1024 bytes'],
])('%j is refused with its reason', (key, reason) => {
  expect(() => objectKey(key)).toThrow(expect.objectContaining({ code: 'invalid_path', message: expect.stringContaining(reason) }));
});
