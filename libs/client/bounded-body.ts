import type { CairnError } from '@cairn/contract';

/**
 * The bytes of an answer's body, at most `mostBytes`: a server that never stops sending must fill neither memory nor disk. Reading by
 * `getReader` works in every browser.
 *
 * @param tooLong creates the error for a longer body
 */
export async function* boundedBody(
  { body }: Pick<Response, 'body'>,
  mostBytes: number,
  tooLong: () => CairnError,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
  const reader = body?.getReader();
  try {
    for (let bytes = 0; ; ) {
      const { done = true, value } = (await reader?.read()) ?? {};
      if (done || value === undefined) return;
      bytes += value.byteLength;
      if (bytes > mostBytes) throw tooLong();
      yield value;
    }
  } finally {
    // The stream may have failed already; that error was thrown above.
    await reader?.cancel().catch(() => undefined);
  }
}
