import { StringDecoder } from 'node:string_decoder';
import { lastOf } from '@cairn/contract';

/** The last `most` characters of what a process writes; none is cut in two, neither at the beginning nor between two pieces. */
export function keepLastWords(most: number) {
  const decoder = new StringDecoder('utf8');
  let kept = '';
  return {
    add(data: Buffer): void {
      kept = lastOf(kept + decoder.write(data), most);
    },
    /** Without blank space around. */
    text: () => kept.trim(),
  };
}
