import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);
const limitMs = 300_000;

/** Builds an image with the Docker engine and brings it to the nodes, with the program that CAIRN_TEST_LOAD_IMAGE names. */
export async function buildAndLoad(image: string, folder: string, buildArgs: Record<string, string>): Promise<void> {
  const options = Object.entries(buildArgs).flatMap(([name, value]) => ['--build-arg', `${name}=${value}`]);
  await run('docker', ['build', '--tag', image, ...options, folder], { timeout: limitMs });
  const [program = '', ...args] = (process.env.CAIRN_TEST_LOAD_IMAGE ?? '').split(' ');
  await run(program, [...args, image], { timeout: limitMs });
}

/** Removes an image from the engine; that of the nodes stays. */
export async function removeImage(image: string): Promise<void> {
  await run('docker', ['image', 'rm', '--force', image], { timeout: limitMs });
}
