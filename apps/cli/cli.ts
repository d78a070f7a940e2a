import type { CairnClient } from '@cairn/client';
import { createClient } from '@cairn/client';
import type { Command } from 'commander';
import { type FoundConnection, findConnection } from './connection.ts';
import { createUi, type TextOutput, type Ui } from './output/ui.ts';
import { visibleText } from './output/visible-text.ts';

/** What the program is given from outside: `main.ts` takes it from the process, tests make their own. */
export type Cli = {
  env: Readonly<Record<string, string | undefined>>;
  stdin: NodeJS.ReadableStream;
  stdout: TextOutput;
  stderr: TextOutput;
  /** Aborted at Ctrl-C. */
  signal: AbortSignal;
  now: () => Date;
};

/** The options that every command takes. */
export type GlobalOptions = { json?: boolean; color: boolean; home?: string; url?: string };

/** What a command works with. */
export type Session = {
  cli: Cli;
  ui: Ui;
  signal: AbortSignal;
  /** Opens the client of the service that the options, the environment or `cairn up` name. */
  client: () => Promise<CairnClient>;
  /** Where that service is. */
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
  // What a service tells was written by others: on a terminal none of it may act, and --json is for programs.
  const reading = ui.isJson ? {} : { readText: visibleText };
  const client = async () => createClient({ ...(await connection()), ...reading });
  return { cli, ui, signal: cli.signal, client, connection, globals };
}

/** An exit code other than 0 that is no error: the command has said all there is to say. */
export type ExitCode = number | undefined;

/** What commands are added to. */
export type Registrar = {
  program: Command;
  /**
   * Makes an action for commander: `run` gets its session, then the command's arguments and options; what it resolves to is
   * the exit code, `undefined` being 0. (Commander passes the command after them, which `run` need not take.)
   */
  action: <Args extends readonly unknown[]>(
    run: (session: Session, ...args: Args) => Promise<ExitCode>,
  ) => (this: Command, ...args: Args) => Promise<void>;
};
