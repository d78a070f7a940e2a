/** An image that cannot be used. `message` is the one-line reason for the list of rejected images. */
export class UnreadableImage extends Error {
  /** True if the image took too long, which may be the decoder's fault. */
  readonly isSlow: boolean;

  constructor(reason: string, { isSlow = false, ...options }: { isSlow?: boolean; cause?: unknown } = {}) {
    super(reason, options);
    this.name = 'UnreadableImage';
    this.isSlow = isSlow;
  }
}

/** The first line of a decoder's message, without "Error:" and truncated to fit into a table. */
export function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  const line = message.split('\n').find((part) => part.trim() !== '') ?? 'no reason given';
  return line.trim().slice(0, 200);
}
