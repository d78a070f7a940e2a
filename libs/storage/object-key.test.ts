import { expect, test } from 'vitest';
import { objectKey } from './object-key.ts';

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
