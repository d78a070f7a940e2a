/** A signal that comes again this soon is the same one: sent by the terminal and again by npm. */
const repeatMs = 500;

/**
 * Is aborted at the first Ctrl-C, SIGTERM or SIGHUP (its terminal closed), so that the program ends cleanly; a second one ends it at once, with 130.
 */
export function interruptOf(process: NodeJS.Process): AbortSignal {
  const controller = new AbortController();
  let lastAt = Number.NEGATIVE_INFINITY;
  const stop = (name: NodeJS.Signals): void => {
    const isRepeated = performance.now() - lastAt < repeatMs;
    if (controller.signal.aborted && !isRepeated) process.exit(130);
    lastAt = performance.now();
    controller.abort(new DOMException(`got ${name}`, 'AbortError'));
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  process.on('SIGHUP', stop);
  // `cairn runs | head` closes the pipe early: that is not an error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (controller.signal.aborted) return;
    if (error.code === 'EPIPE') process.exit(0);
    // A closed terminal accepts no more output, which may be noticed before SIGHUP comes; work in progress ends cleanly.
    controller.abort(new DOMException(`nothing can be written any more (${error.code})`, 'AbortError'));
  });
  process.stderr.on('error', () => undefined);
  return controller.signal;
}
