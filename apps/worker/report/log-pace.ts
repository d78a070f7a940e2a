/** Bytes a second that are taken of one attempt's log, on average, and how many at once after a quiet time. */
const bytesPerSecond = 1024 * 1024;
const burstBytes = 16 * 1024 * 1024;
/** Of what is left out, so much of its end is kept back: it may be the last that the program says. */
const tailBytes = 64 * 1024;

/**
 * Lets a stream of output through at a pace that the control plane can keep up with. A program that writes faster for long loses the middle
 * of what it writes, never its end; a line says how much.
 */
export function createLogPace({ now = () => performance.now() }: { now?: () => number } = {}) {
  let allowance = burstBytes;
  let at = now();
  let tail: Buffer[] = [];
  let held = 0;
  let leftOut = 0;

  function holdBack(data: Buffer): void {
    tail.push(data);
    held += data.length;
    for (let first = tail[0]; first !== undefined && held - first.length >= tailBytes; first = tail[0]) {
      tail.shift();
      held -= first.length;
      leftOut += first.length;
    }
  }

  /** What is held back, after a line for what is not there. */
  function flush(): Buffer[] {
    const note =
      leftOut === 0 ? [] : [Buffer.from(`\n[${leftOut} bytes were left out here: the program wrote faster than 1 MiB a second]\n`)];
    const pieces = [...note, ...tail];
    tail = [];
    held = 0;
    leftOut = 0;
    return pieces;
  }

  return {
    /** The pieces of the log that may go on now, in their order. */
    take(data: Buffer): Buffer[] {
      allowance = Math.min(burstBytes, allowance + ((now() - at) / 1000) * bytesPerSecond);
      at = now();
      if (data.length + held > allowance) {
        holdBack(data);
        return [];
      }
      allowance -= data.length + held;
      return [...flush(), data];
    },
    /** The last pieces: the program says no more. */
    end: flush,
  };
}
