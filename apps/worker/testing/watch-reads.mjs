// Loaded into the children of an extraction by NODE_OPTIONS: names the images that they open in the file CAIRN_TEST_READS, and ends the process
// at those whose paths have a word of CAIRN_TEST_POISON, or once, at the one of CAIRN_TEST_CRASH, which must be a file name below the reads.
import { appendFileSync, existsSync, writeFileSync } from 'node:fs';
import promises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';

const { CAIRN_TEST_READS: reads, CAIRN_TEST_POISON: poison = '', CAIRN_TEST_CRASH: crash = '' } = process.env;
const { open } = promises;

promises.open = (path, ...rest) => {
  const text = String(path);
  if (reads !== undefined && /\/(train|index|test)\/.*\.jpg$/.test(text)) {
    appendFileSync(reads, `${text.split('/').at(-1)?.replace('.jpg', '')}\n`);
    if (poison.split(',').some((id) => id !== '' && text.includes(id))) process.kill(process.pid, 'SIGKILL');
    if (crash !== '' && text.includes(crash) && !existsSync(`${reads}.crashed`)) {
      writeFileSync(`${reads}.crashed`, '');
      process.kill(process.pid, 'SIGKILL');
    }
  }
  return open(path, ...rest);
};
syncBuiltinESMExports();
