import { execFile } from 'node:child_process';
import { access, chmod, constants, mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { type Browser, chromium } from 'playwright-core';

const run = promisify(execFile);
const installLimitMs = 5 * 60_000;
const startLimitMs = 60_000;

/** The headless shell is Chromium without its own user interface, which in `chromium` takes a fifth of the tests' processor time. */
const names = ['chromium-headless-shell', 'chromium', 'chromium-browser', 'google-chrome'];
/** Chromium has no fonts of its own. */
const packages = ['chromium-headless-shell', 'fonts-dejavu-core'];
const aptOptions = ['-y', '-q', '--no-install-recommends', '-o', 'DPkg::Lock::Timeout=280'];

/**
 * The path of a Chromium: that of CAIRN_CHROMIUM, one on PATH, or one that is installed now from Debian's packages: for all users as
 * root, otherwise unpacked in the cache folder.
 *
 * @throws Error that says what to do when there is none and none can be installed
 */
export async function findChromium(env: NodeJS.ProcessEnv): Promise<string> {
  if (env.CAIRN_CHROMIUM) {
    if (await isProgram(env.CAIRN_CHROMIUM)) return env.CAIRN_CHROMIUM;
    throw new Error(`CAIRN_CHROMIUM is ${env.CAIRN_CHROMIUM}, which is not a program: set it to the path of a Chromium, or unset it`);
  }
  const cacheDir = join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'cairn', 'chromium');
  const unpacked = join(cacheDir, 'chromium');
  const found = (await onPath(env.PATH ?? '')) ?? ((await isProgram(unpacked)) ? unpacked : null);
  if (found !== null) return found;
  try {
    await mkdir(join(cacheDir, '..'), { recursive: true });
    if (process.getuid?.() !== 0) return await unpackPackages(cacheDir, env);
    // One at a time: other test files look for a Chromium at the same moment, and apt-get does not wait for the lock of its lists.
    const lock = ['-w', String(installLimitMs / 1000), `${cacheDir}.lock`, 'apt-get'];
    await command('flock', [...lock, 'update', '-q'], env);
    await command('flock', [...lock, 'install', ...aptOptions, ...packages], env);
  } catch (cause) {
    throw new Error(
      'The tests of the dashboard need a Chromium, and none could be installed with apt-get: install one with the package manager of ' +
        'your system so that `chromium` is on PATH, or set CAIRN_CHROMIUM to its program.',
      { cause },
    );
  }
  const installed = await onPath(env.PATH ?? '');
  if (installed === null)
    throw new Error(`apt-get installed Chromium, but no \`${names[0]}\` is on PATH: set CAIRN_CHROMIUM to its program.`);
  return installed;
}

async function onPath(path: string): Promise<string | null> {
  for (const name of names) {
    for (const folder of path.split(delimiter)) {
      if (folder !== '' && (await isProgram(join(folder, name)))) return join(folder, name);
    }
  }
  return null;
}

const isProgram = (path: string): Promise<boolean> =>
  access(path, constants.X_OK).then(
    () => true,
    () => false,
  );

const command = (program: string, args: readonly string[], env: NodeJS.ProcessEnv, cwd?: string) =>
  run(program, [...args], {
    env: { ...env, DEBIAN_FRONTEND: 'noninteractive' },
    timeout: installLimitMs,
    maxBuffer: 2 ** 26,
    ...(cwd === undefined ? {} : { cwd }),
  });

/** Downloads the packages and those that they need and that are not installed, and unpacks them: apt-get does this without root. */
async function unpackPackages(cacheDir: string, env: NodeJS.ProcessEnv): Promise<string> {
  // Renamed when it is complete: another process may do the same at the same time.
  const folder = await mkdtemp(`${cacheDir}-`);
  try {
    const { stdout } = await command('apt-get', ['install', ...aptOptions, '--print-uris', ...packages], env);
    // A line is 'URI' NAME_VERSION_ARCHITECTURE.deb BYTES DIGEST.
    const needed = [...stdout.matchAll(/^'[^']*' ([^_ ]+)_\S+\.deb /gm)].map((match) => match[1] ?? '');
    await command('apt-get', ['download', '-q', ...needed], env, folder);
    for (const file of (await readdir(folder)).filter((name) => name.endsWith('.deb'))) {
      await run('dpkg-deb', ['-x', join(folder, file), folder], { timeout: installLimitMs });
      await rm(join(folder, file));
    }
    const libraries = [`usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`, 'usr/lib/chromium']
      .map((path) => `"$here/${path}"`)
      .join(':');
    const script = [
      '#!/bin/sh',
      'here=$(dirname "$0")',
      // Fonts and their configuration may be among what was unpacked.
      'export XDG_DATA_HOME="$here/usr/share"',
      '[ -d /etc/fonts ] || export FONTCONFIG_PATH="$here/etc/fonts"',
      `LD_LIBRARY_PATH=${libraries} exec "$here/usr/lib/chromium/chromium-headless-shell" "$@"`,
    ];
    await writeFile(join(folder, 'chromium'), `${script.join('\n')}\n`);
    await chmod(join(folder, 'chromium'), 0o755);
    await rm(cacheDir, { recursive: true, force: true });
    await rename(folder, cacheDir);
    return join(cacheDir, 'chromium');
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

/** Chromium that reaches nothing but this machine. */
export function launchChromium(executablePath: string): Promise<Browser> {
  return chromium.launch({
    executablePath,
    timeout: startLimitMs,
    chromiumSandbox: process.getuid?.() !== 0,
    args: [
      '--disable-dev-shm-usage',
      '--disable-gpu',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-domain-reliability',
      '--disable-sync',
      '--no-pings',
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
    ],
  });
}
