import type { Readable } from 'node:stream';
import type { CairnClient } from '@cairn/client';
import { createClient } from '@cairn/client';
import type { Command } from 'commander';
import { type FoundConnection, findConnection } from './connection.ts';
import { createUi, type TextOutput, type Ui } from './output/ui.ts';
import { visibleText } from './output/visible-text.ts';

/** The program's inputs: `main.ts` takes them from the process, tests create their own. */
export type Cli = {
  env: Readonly<Record<string, string | undefined>>;
  stdin: Readable;
  stdout: TextOutput;
  stderr: TextOutput;
  /** Aborted at Ctrl-C. */
  signal: AbortSignal;
  now: () => Date;
};

/** The options of every command. */
export type GlobalOptions = { json?: boolean; color: boolean; home?: string; url?: string };

/** The context of a command. */
export type Session = {
  cli: Cli;
  ui: Ui;
  signal: AbortSignal;
  /** Opens the client of the service given by the options, the environment or `cairn up`. */
  client: () => Promise<CairnClient>;
  /** The address of that service. */
  connection: () => Promise<FoundConnection>;
  globals: GlobalOptions;
};

export function sessionOf(cli: Cli, command: Command): Session {
  const globals = command.optsWithGlobals<GlobalOptions>();
  const ui = createUi({
    stdout: cli.stdout,
    stderr: cli.stderr,
    env: cli.env,
    isJson: globals.json === true,
    isColourWanted: globals.color,
  });
  const connection = () => findConnection(cli.env, globals);
  // Others wrote the texts that a service sends: none of them may control the terminal, and --json is for programs.
  const reading = ui.isJson ? {} : { readText: visibleText };
  const client = async () => createClient({ ...(await connection()), ...reading });
  return { cli, ui, signal: cli.signal, client, connection, globals };
}

/** An exit code other than 0 that is not an error: the command has already printed everything. */
export type ExitCode = number | undefined;

/** What commands are added to. */
export type Registrar = {
  program: Command;
  /**
   * Creates an action for commander: `run` gets its session, then the command's arguments and options; it resolves to
   * the exit code, `undefined` meaning 0. (Commander passes the command after them, which `run` may ignore.)
   */
  action: <Args extends readonly unknown[]>(
    run: (session: Session, ...args: Args) => Promise<ExitCode>,
  ) => (this: Command, ...args: Args) => Promise<void>;
};
