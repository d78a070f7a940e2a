import { sha256 } from '@cairn/runtime';
import { expect, test } from 'vitest';
import { formulaPicture, picture } from '../fixtures/pictures.ts';
import { resampleTriangle } from './resample-triangle.ts';

// What Pillow 13 gives: Image.fromarray(picture).resize((4, 4), Image.BILINEAR).
const pillow = {
  shrunk: [
    105, 128, 133, 124, 129, 137, 129, 131, 145, 130, 165, 117, 132, 116, 122, 139, 131, 140, 123, 122, 136, 139, 119, 132, 149, 135, 125,
    132, 115, 145, 122, 134, 135, 141, 130, 139, 120, 114, 140, 105, 94, 167, 117, 103, 145, 144, 113, 136,
  ],
  grown: [
    0, 97, 194, 23, 120, 217, 51, 148, 149, 74, 171, 12, 15, 112, 209, 40, 137, 194, 71, 144, 129, 96, 129, 34, 46, 143, 240, 75, 172, 149,
    110, 135, 88, 139, 44, 77, 61, 158, 255, 92, 189, 126, 130, 131, 68, 161, 2, 99,
  ],
  both: [
    31, 128, 173, 106, 196, 62, 172, 94, 128, 61, 106, 203, 75, 141, 150, 128, 113, 112, 108, 135, 154, 125, 143, 140, 129, 134, 127, 138,
    91, 155, 107, 135, 156, 145, 163, 124, 174, 110, 112, 133, 137, 177, 171, 94, 134, 113, 159, 161,
  ],
};

test.each([
  ['shrinks', 13, 9, pillow.shrunk],
  ['grows', 3, 2, pillow.grown],
  ['shrinks one axis and grows the other', 9, 3, pillow.both],
])('it %s a picture to the very bytes of Pillow', (_, width, height, expected) => {
  expect([...resampleTriangle(formulaPicture(width, height), 4)]).toEqual(expected);
});

// sha256 of the bytes that Pillow gives.
test.each([
  [400, 300, 64, '2b4e836876423b2b15f39406c458041cac5cbb6d5cc2afc41f0d11866c6496fd'],
  [61, 47, 96, '0ad1d9ba7b73067579dce3df0a691015002ec4027cee5909f9407661e40a0295'],
])('a larger picture too: %i x %i to %i px', (width, height, size, digest) => {
  expect(sha256(resampleTriangle(formulaPicture(width, height), size))).toBe(digest);
});

test('a picture of the right size stays as it is', () => {
  const image = picture(16, 16);
  expect(resampleTriangle(image, 16)).toEqual(image.pixels);
});

test('a plain picture stays plain, also when white', () => {
  const white = { pixels: new Uint8Array(50 * 7 * 3).fill(255), width: 50, height: 7 };
  expect(new Set(resampleTriangle(white, 11))).toEqual(new Set([255]));
});
