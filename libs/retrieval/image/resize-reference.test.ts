import { sha256 } from '@cairn/runtime';
import { expect, test } from 'vitest';
import { formulaPicture, picture } from '../fixtures/pictures.ts';
import { resizeReference } from './resize-reference.ts';

// What OpenCV 5.0 gives: cv2.resize(picture, (4, 4)).
const opencv = {
  shrunk: [
    89, 166, 111, 75, 136, 173, 126, 123, 160, 113, 210, 71, 35, 100, 169, 161, 106, 183, 90, 103, 180, 220, 89, 186, 169, 210, 107, 138,
    83, 180, 143, 156, 101, 131, 224, 97, 75, 152, 165, 107, 68, 165, 123, 84, 121, 123, 116, 201,
  ],
  grown: [
    0, 97, 194, 23, 120, 217, 51, 148, 149, 74, 171, 12, 15, 112, 209, 40, 137, 194, 70, 143, 128, 96, 129, 34, 46, 143, 240, 75, 172, 149,
    110, 135, 88, 139, 44, 77, 61, 158, 255, 92, 189, 126, 130, 131, 68, 161, 2, 99,
  ],
  both: [
    23, 120, 217, 106, 203, 44, 189, 31, 127, 17, 114, 211, 66, 163, 160, 168, 105, 106, 109, 110, 187, 115, 152, 149, 118, 155, 116, 157,
    83, 179, 109, 110, 187, 136, 173, 134, 161, 98, 99, 79, 144, 241, 189, 30, 127, 75, 171, 173,
  ],
};

test.each([
  ['shrinks', 13, 9, opencv.shrunk],
  ['grows', 3, 2, opencv.grown],
  ['shrinks one axis and grows the other', 9, 3, opencv.both],
])('it %s a picture to the very bytes of OpenCV', (_, width, height, expected) => {
  expect([...resizeReference(formulaPicture(width, height), 4)]).toEqual(expected);
});

// sha256 of the bytes that OpenCV gives.
test.each([
  [400, 300, 64, 'ebb7d68d38ab22af24a930038fb987583281e6af7421f23ca45e07e71ea2ba25'],
  [61, 47, 96, 'b4828cf342e59131c7c02b2f7b22cd45449aa50c2e16ca1a07c2b3b9a7311935'],
])('a larger picture too: %i x %i to %i px', (width, height, size, digest) => {
  expect(sha256(resizeReference(formulaPicture(width, height), size))).toBe(digest);
});

test('a picture of the right size stays as it is', () => {
  const image = picture(16, 16);
  expect(resizeReference(image, 16)).toEqual(image.pixels);
});

test('half the size is the mean of four pixels', () => {
  const quarters = { pixels: Uint8Array.from([10, 20, 30, 50, 60, 70, 90, 100, 110, 130, 140, 150]), width: 2, height: 2 };
  expect([...resizeReference(quarters, 1)]).toEqual([70, 80, 90]);
});
