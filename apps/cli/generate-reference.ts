import { readFile, writeFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { exitCodes } from './exit-codes.ts';
import { buildProgram } from './program.ts';

/** docs/cli.md, which this file generates from the commands themselves. */
export const referencePath = fileURLToPath(new URL('../../docs/cli.md', import.meta.url));

/** The page's text: how to reach a service, exit codes, machine-readable output, every command with its options. */
export function referencePage(): string {
  const silent = { write: () => undefined, on: () => undefined, off: () => undefined };
  const { signal } = new AbortController();
  const cli = { env: {}, stdin: Readable.from([]), stdout: silent, stderr: silent, signal, now: () => new Date() };
  const program = buildProgram(cli, () => undefined);
  const codes = Object.values(exitCodes).map(({ code, meaning }) => `| ${code} | ${escaped(meaning)} |`);
  return `${[
    '# The command line',
    '',
    '<!-- Generated from apps/cli by `npx node apps/cli/generate-reference.ts`; `npm run check` compares. -->',
    '',
    '`npx cairn COMMAND` in a clone runs it. A command finds its service by `--url` or `CAIRN_URL` with the token in `CAIRN_TOKEN`, else by',
    '`client.json` in the home folder, which `cairn up` writes there: `--home`, else `CAIRN_HOME`, else `~/.local/share/cairn`. A token is never',
    'passed on the command line, where every user of the machine could read it.',
    '',
    'A RUN is given by its name, its id, or the beginning of its id if only one run matches.',
    '',
    '## Exit codes',
    '',
    '| code | meaning |',
    '| ---: | --- |',
    ...codes,
    '',
    '## Machine-readable output',
    '',
    'With `--json` stdout has one JSON document and nothing else, with the same schema as the answer of the API. `watch`, `submit --wait` and',
    '`logs` write JSON lines: `{"type":"run"}` at the beginning and the end, `{"type":"event"}` for each event of the run in order and without',
    'gaps, `{"type":"step"}` for a step that changed; for logs `attemptId`, `ordinal`, `stream`, `offset` and `text`, and with `--search` the',
    'number of the `line`. An error is one problem document (RFC 9457) on stderr; its `code` is one of [errors.md](errors.md). There is no',
    'colour in a pipe, with `NO_COLOR` or with `--no-color`.',
    '',
    '## Text from others',
    '',
    'Text that people and programs wrote (names, reasons, messages, log lines) is shown with control characters escaped: an escape is `\\x1b`, a',
    'change of direction `\\u{202e}`. `logs` keeps the colours of its lines on a terminal, and shows the last state of a line that was overwritten,',
    'such as a progress bar. With `--json` the text is complete, with JSON escapes.',
    '',
    '## Settings',
    '',
    '`--set PATH=VALUE` sets a setting by its path, such as `stages.384.epochs=2`; the value is YAML. A name that contains a dot is put in double',
    'quotes, protected from the shell: `--set \'stages."v1.5".epochs=2\'`. An optional setting that the recipe leaves out, such as',
    '`export.scales`, can be set too; stages, steps and models cannot be added.',
    '',
    '## Global options',
    '',
    ...optionTable(program),
    ...commandsBelow(program, 'cairn'),
  ]
    .join('\n')
    .trimEnd()}\n`;
}

function commandsBelow(parent: Command, path: string): string[] {
  const help = parent.createHelp();
  return help
    .visibleCommands(parent)
    .filter((command) => command.name() !== 'help')
    .flatMap((command) => {
      const name = `${path} ${command.name()}`;
      const words = command.registeredArguments
        .map((argument) => (argument.required ? ` <${argument.name()}>` : ` [${argument.name()}]`))
        .join('');
      const below = commandsBelow(command, name);
      // A group of commands has no text of its own.
      if (below.length > 0) return below;
      return [`## ${name}`, '', `\`${name}${words}\`: ${command.description()}.`, '', ...optionTable(command)];
    });
}

function optionTable(command: Command): string[] {
  const help = command.createHelp();
  const options = help.visibleOptions(command).filter((option) => option.long !== '--help');
  if (options.length === 0) return [];
  return [
    '| option | meaning |',
    '| --- | --- |',
    ...options.map((option) => `| \`${escaped(option.flags)}\` | ${escaped(help.optionDescription(option))} |`),
    '',
  ];
}

function escaped(text: string): string {
  return text.replaceAll('|', '\\|');
}

if (import.meta.main) {
  const page = referencePage();
  if (process.argv.includes('--check')) {
    if ((await readFile(referencePath, 'utf8')) !== page) {
      console.error('docs/cli.md differs from what apps/cli/generate-reference.ts generates.');
      process.exitCode = 1;
    }
  } else {
    await writeFile(referencePath, page);
  }
}
