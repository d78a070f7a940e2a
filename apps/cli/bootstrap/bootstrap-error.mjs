/**
 * An error that the user can fix: `message` says what happened to which thing, `remedy` what to do, `log` is the file with the whole
 * output of the failed program, and `tail` its last lines.
 */
export class BootstrapError extends Error {
  /**
   * @param {string} message
   * @param {{ remedy: string, log?: string | undefined, tail?: string[], cause?: unknown }} particulars
   */
  constructor(message, particulars) {
    super(message, particulars.cause === undefined ? undefined : { cause: particulars.cause });
    this.name = 'BootstrapError';
    this.remedy = particulars.remedy;
    this.log = particulars.log;
    this.tail = particulars.tail ?? [];
  }
}

/**
 * The text for a terminal.
 * @param {BootstrapError} error
 */
export function describeFailure(error) {
  const lines = [`cairn: ${error.message}`];
  if (error.tail.length > 0)
    lines.push(`  Last lines${error.log === undefined ? '' : ` of ${error.log}`}:`, ...error.tail.map((line) => `    ${line}`));
  lines.push(`  What to do: ${error.remedy}`);
  return lines.join('\n');
}
