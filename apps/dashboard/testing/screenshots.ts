import { mkdir, readFile, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createClient } from '@cairn/client';
import { findChromium, launchChromium } from './chromium.ts';

// `npm run screenshots`: the pictures of README.md and docs/dashboard.md, from a demo that is running (`npm run demo -- --keep`).

const folder = join(import.meta.dirname, '..', '..', '..', 'docs', 'images');
const maxBytes = 250_000;
const pageLimitMs = 30_000;
const size = { width: 1280, height: 800 };

const { values } = parseArgs({
  options: {
    url: { type: 'string', default: 'http://127.0.0.1:8080' },
    home: { type: 'string', default: join(homedir(), '.local', 'share', 'cairn', 'demo') },
    run: { type: 'string' },
  },
});
const token = await readFile(join(values.home, 'admin.token'), 'utf8').catch((cause: unknown) => {
  throw new Error(`No token in ${values.home}: start the demo with \`npm run demo -- --keep\`, or name its folder with --home`, { cause });
});
const client = createClient({ url: values.url, token: token.trim() });
const { items } = await client.listRuns({
  state: ['succeeded'],
  sort: '-createdAt',
  ...(values.run === undefined ? {} : { q: values.run }),
});
const [newest, before] = items;
// Of two, the earlier reused nothing, and the later is compared with it.
const [run, other] = [before ?? newest, before === undefined ? undefined : newest];
if (run === undefined)
  throw new Error(`${values.url} has no run that succeeded${values.run === undefined ? '' : ` and matches ${values.run}`}`);
const { stepViews } = await client.getRun(run.id);
const last = stepViews.at(-1)?.name ?? '';
const stage = stepViews.findLast(({ kind }) => kind === 'train')?.name;
const changed = stage === undefined ? null : encodeURIComponent(`stages.${stage}.epochs=2`);

const pictures = [
  { name: 'runs', path: '/runs', shows: `text=${run.name}` },
  // The graph is loaded last.
  { name: 'run', path: `/runs/${run.id}`, shows: `[aria-label="Graph of the steps"] >> text=${last}` },
  { name: 'training', path: `/runs/${run.id}?tab=training`, shows: 'figure >> canvas' },
  { name: 'evaluation', path: `/evaluation?of=${run.id}`, shows: '[aria-label="Queries with their results"] >> li >> nth=10' },
  // What a change would run again.
  { name: 'submit', path: `/submit?from=${run.id}${changed === null ? '' : `&set=${changed}`}`, shows: '[aria-label="Plan"] >> li' },
  ...(other === undefined
    ? []
    : [{ name: 'compare', path: `/compare?runs=${run.id},${other.id}`, shows: '[aria-label="Steps"] >> text=mAP@100' }]),
];

await mkdir(folder, { recursive: true });
const browser = await launchChromium(await findChromium(process.env));
try {
  for (const colorScheme of ['light', 'dark'] as const) {
    const context = await browser.newContext({ baseURL: values.url, colorScheme, viewport: size, reducedMotion: 'reduce' });
    context.setDefaultTimeout(pageLimitMs);
    await context.request.post('/v1/session', { data: { token: token.trim() }, headers: { origin: new URL(values.url).origin } });
    for (const { name, path, shows } of pictures) {
      const page = await context.newPage();
      await page.goto(path);
      await page.locator(shows).first().waitFor();
      await page.getByText('Live', { exact: true }).waitFor();
      await page.waitForFunction(
        () =>
          !/(Loading|Planning) …/.test(document.body.innerText) &&
          [...document.images].every((one) => one.getBoundingClientRect().top > window.innerHeight || one.naturalWidth > 0),
      );
      const file = join(folder, `${name}-${colorScheme}.png`);
      await page.screenshot({ path: file });
      const { size: bytes } = await stat(file);
      if (bytes > maxBytes)
        throw new Error(`${file} has ${bytes} bytes, more than the ${maxBytes} that a picture of the documents may have`);
      process.stdout.write(`${file} ${bytes} bytes\n`);
      await page.close();
    }
    await context.close();
  }
} finally {
  await browser.close();
}
