/** An image that cannot be used. `message` is the reason, in one line, as it goes into the list of rejected images. */
export class UnreadableImage extends Error {
  /** True when the image took too long, which may be the decoder's fault and not the image's. */
  readonly isSlow: boolean;

  constructor(reason: string, { isSlow = false, ...options }: { isSlow?: boolean; cause?: unknown } = {}) {
    super(reason, options);
    this.name = 'UnreadableImage';
    this.isSlow = isSlow;
  }
}

/** The first line of what a decoder said, without its "Error:" and cut to a length that a table can show. */
export function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  const line = message.split('\n').find((part) => part.trim() !== '') ?? 'no reason given';
  return line.trim().slice(0, 200);
}
