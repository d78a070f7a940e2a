import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { TrainerConfig, TrainerEvent } from '@cairn/contract';

/**
 * Replaces the trainer where a test needs an exact sequence of events: trains nothing, yet reads the same configuration,
 * writes the same events and files, and behaves as STUB_BEHAVIOUR says.
 */
const configPath = process.argv[process.argv.indexOf('--config') + 1] ?? '';
const config: TrainerConfig = JSON.parse(readFileSync(configPath, 'utf8'));
const behaviour = process.env.STUB_BEHAVIOUR ?? 'train';
const steps = Number(process.env.STUB_STEPS ?? 4);
const time = Date.now() / 1000;
const scored = { queries: 3, index: 9, galleryDigest: 'ab'.repeat(32) };

type Untimed = TrainerEvent extends infer E ? (E extends TrainerEvent ? Omit<E, 'time'> : never) : never;
const emit = (event: Untimed) => appendFileSync(config.eventsPath, `${JSON.stringify({ ...event, time })}\n`);

function save(step: number, final: boolean): void {
  const path = join(config.outputDir, `checkpoint-${String(step).padStart(6, '0')}.pt`);
  const content = `weights of step ${step}, from ${config.resume === null ? 'the start' : readFileSync(config.resume.path, 'utf8')}`;
  writeFileSync(path, content);
  const written = behaviour === 'spoil' ? 'what the disk made of it' : content;
  const sha256 = createHash('sha256').update(written).digest('hex');
  emit({ event: 'checkpoint', path, sha256, bytes: Buffer.byteLength(content), step, epoch: step / 2, final, optimizer: true });
}

process.on('SIGTERM', () => undefined);
if (behaviour === 'environment') process.stdout.write(`${JSON.stringify(process.env)}\n`);
process.stdout.write('training ä\n');
const board = join(dirname(config.eventsPath), 'tensorboard');
mkdirSync(board, { recursive: true });
writeFileSync(join(board, 'events.out.tfevents.1.2'), 'curves');
emit({
  event: 'started',
  worldSize: config.settings.ranks,
  device: 'cpu',
  parameters: 1,
  images: config.list.rows,
  stepsPerEpoch: 2,
  totalSteps: steps,
  startStep: 0,
});
if (behaviour === 'fail') {
  emit({ event: 'failed', code: process.env.STUB_CODE ?? 'training_diverged', message: 'The loss of step 1 is not finite' });
  emit({ event: 'failed', code: 'internal', message: 'a consequence' });
  process.exit(65);
}
if (behaviour === 'lastOutput') {
  process.stderr.write(`${'\u{1f680}'.repeat(5000)}!bad record \0\n`);
  process.exit(1);
}
if (behaviour === 'vanish') {
  process.stderr.write('RuntimeError: out of memory\n');
  process.kill(process.pid, 'SIGKILL');
}
if (behaviour === 'hang' || behaviour === 'stubborn') {
  // A rank in its own session that dumps its stack when asked, as Python's faulthandler does.
  const rank = `process.on('SIGTERM', () => {}); process.on('SIGABRT', () => { process.stderr.write('Fatal Python error: Aborted\\n'); process.exit(1); }); setInterval(() => {}, 1000); process.stdout.write('rank\\n');`;
  spawn(process.execPath, ['-e', rank], { detached: true, stdio: ['ignore', 'inherit', 'inherit'] }).unref();
  if (behaviour === 'stubborn') setInterval(() => process.stdout.write('.'), 50);
  await delay(600_000);
}
emit({ event: 'badImage', imageId: 'abc', path: 'train/a/b/c/abc.jpg', reason: 'truncated' });
appendFileSync(config.eventsPath, 'no event at all\n{"event":"of the future","time":1}\n');
if (config.settings.evaluate === 'every_epoch') emit({ event: 'evaluation', when: 'epoch', step: 1, mapAt100: 0.5, ...scored });
if (config.settings.evaluate === 'start_and_end') emit({ event: 'evaluation', when: 'start', step: 0, mapAt100: 0.25, ...scored });
for (let step = 1; step <= steps; step += 1) {
  if (existsSync(config.stopPath)) {
    save(step - 1, false);
    emit({ event: 'preempted', step: step - 1 });
    process.exit(75);
  }
  emit({
    event: 'step',
    step,
    epoch: step / 2,
    loss: 4 / step,
    accuracy: 0.5,
    learningRate: 0.01,
    imagesPerSecond: 20,
    dataWaitShare: 0.1,
    gpuMemoryBytes: 0,
    etaSeconds: steps - step,
  });
  if (step < steps && step % 2 === 0) save(step, false);
  await delay(Number(process.env.STUB_STEP_MS ?? 10));
}
save(steps, true);
if (config.settings.evaluate !== 'none') emit({ event: 'evaluation', when: 'end', step: steps, mapAt100: 0.75, ...scored });
emit({ event: 'finished', step: steps, badImages: 1 });
