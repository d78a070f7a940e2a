import { readFileSync } from 'node:fs';

// Loaded by `node --import` before a program: its clock is that of this machine plus the seconds in the file that the address names, which may
// change while the program runs. Timers and the database keep their own time.

const file = new URL(import.meta.url).searchParams.get('file') ?? '';
const Machine = Date;
let aheadMs = 0;

function readFile(): void {
  aheadMs = Number(readFileSync(file, 'utf8')) * 1000;
}
readFile();
setInterval(readFile, 20).unref();

globalThis.Date = new Proxy(Machine, {
  construct: (target, given: unknown[], made) => Reflect.construct(target, given.length === 0 ? [Machine.now() + aheadMs] : given, made),
  get: (target, key) => (key === 'now' ? () => Machine.now() + aheadMs : Reflect.get(target, key)),
});
