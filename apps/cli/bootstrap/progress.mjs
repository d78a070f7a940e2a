/** Between two plain lines of one step, so that a log of minutes stays short and still shows progress. */
const plainIntervalMs = 20_000;
const frames = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/**
 * Shows one step of the preparation on standard error: a spinner on a terminal, plain lines elsewhere.
 * @param {string} title such as `npm packages`
 * @param {string} expectation how much and how long, printed once at the start
 */
export function startProgress(title, expectation) {
  const stream = process.stderr;
  const plain = !stream.isTTY || process.env.CI !== undefined || process.env.TERM === 'dumb';
  const startedAt = Date.now();
  const seconds = () => Math.round((Date.now() - startedAt) / 1000);
  let detail = '';
  let frame = 0;

  const draw = () => {
    frame += 1;
    const text = `${frames[frame % frames.length]} ${title}: ${detail === '' ? 'working' : detail} (${seconds()} s)`;
    stream.write(`\r\x1b[2K${text.slice(0, Math.max(20, (stream.columns ?? 80) - 1))}`);
  };
  const print = () => stream.write(`cairn: ${title}: ${detail === '' ? 'working' : detail} (${seconds()} s)\n`);

  stream.write(`cairn: ${title}: ${expectation}\n`);
  const timer = setInterval(plain ? print : draw, plain ? plainIntervalMs : 100);
  timer.unref();
  const end = (/** @type {string} */ line) => {
    clearInterval(timer);
    stream.write(`${plain ? '' : '\r\x1b[2K'}cairn: ${line}\n`);
  };

  return {
    /** @param {string} text what is being done now */
    update(text) {
      detail = text;
    },
    /** @param {string} text what was done */
    done(text) {
      end(`${text} (${seconds()} s)`);
    },
    fail() {
      end(`${title}: failed (${seconds()} s)`);
    },
  };
}
