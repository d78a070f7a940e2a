// `npm run images -- [worker] [control-plane] [--tag TAG] [OPTION OF docker build...]`: builds the images of this checkout, tagged
// cairn-worker:TAG and cairn-control-plane:TAG, and prints their digests. Needs Node and a Docker command line, and no install.
import { execFileSync, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
const images = ['worker', 'control-plane'];
const args = process.argv.slice(2);

/** @param {string} command @param {string[]} args */
const answer = (command, ...args) => execFileSync(command, args, { cwd: root, encoding: 'utf8' }).trim();

/** The commit, and whether the files are the commit's; empty outside a clone. */
function revision() {
  try {
    return answer('git', 'describe', '--always', '--abbrev=40', '--match=', '--dirty');
  } catch {
    return '';
  }
}

function tag() {
  const at = args.indexOf('--tag');
  return at === -1 ? 'dev' : (args.splice(at, 2)[1] ?? '');
}

const chosenTag = tag();
const firstOption = args.findIndex((arg) => arg.startsWith('-'));
const named = firstOption === -1 ? args : args.slice(0, firstOption);
const options = firstOption === -1 ? [] : args.slice(firstOption);
const unknown = named.find((name) => !images.includes(name));
if (unknown !== undefined) {
  console.error(`Unknown image "${unknown}"; the images are ${images.join(' and ')}. Options of \`docker build\` follow the names.`);
  process.exit(2);
}

// A build takes its value from our environment, if it is set there.
const inherited = process.env.PIP_EXTRA_INDEX_URL ? ['--build-arg', 'PIP_EXTRA_INDEX_URL'] : [];
const lines = [];
for (const name of named.length > 0 ? named : images) {
  const reference = `cairn-${name}:${chosenTag}`;
  const startedAt = Date.now();
  const fixed = ['--file', `docker/${name}/Dockerfile`, '--tag', reference, '--build-arg', `REVISION=${revision()}`];
  const forImage = name === 'worker' ? inherited : [];
  const { status, error } = spawnSync('docker', ['build', ...fixed, ...forImage, ...options, '.'], { cwd: root, stdio: 'inherit' });
  if (error) {
    console.error(`docker cannot be started (${error.message}): install the Docker command line, and let DOCKER_HOST name an engine.`);
    process.exit(1);
  }
  if (status !== 0) {
    console.error(`${reference} was not built; docker build says why above.`);
    process.exit(status ?? 1);
  }
  const [id, bytes] = answer('docker', 'image', 'inspect', '--format', '{{.Id}} {{.Size}}', reference).split(' ');
  const seconds = Math.round((Date.now() - startedAt) / 1000);
  lines.push(`${reference}  ${id}  ${(Number(bytes) / 1e6).toFixed(0)} MB  ${seconds} s`);
}
console.log(`\n${lines.join('\n')}`);
