import { CairnError } from '@cairn/contract';
import { useProxies } from '@cairn/runtime';
import { Command, CommanderError } from 'commander';
import { type Cli, type Registrar, sessionOf } from './cli.ts';
import { addAudit, addSecrets, addTokens } from './commands/access.ts';
import { addAttention } from './commands/attention.ts';
import { addAliasCommands, addCatalogueCommands } from './commands/catalogue.ts';
import { addCheckpoints } from './commands/checkpoints.ts';
import { addCodeHosts } from './commands/codehost.ts';
import { addCompare, addDiff } from './commands/compare.ts';
import { addCompletion } from './commands/completion.ts';
import { addCosts } from './commands/costs.ts';
import { addDatasets } from './commands/datasets.ts';
import { addEvaluate } from './commands/evaluate.ts';
import { addExtract } from './commands/extract.ts';
import { addFeatures } from './commands/features.ts';
import { addImport, addWeights } from './commands/import.ts';
import { addLists } from './commands/lists.ts';
import { addLogs, addTensorBoard } from './commands/logs.ts';
import { addMini } from './commands/mini.ts';
import { addQueries } from './commands/queries.ts';
import { addRetention } from './commands/retention.ts';
import { addRunCommands } from './commands/runs.ts';
import { addScheduleCommands } from './commands/schedule.ts';
import { addScores } from './commands/scores.ts';
import { addSearch } from './commands/search.ts';
import { addServiceCommands } from './commands/service.ts';
import { addLineage, addShow } from './commands/show.ts';
import { addSubmit } from './commands/submit.ts';
import { addTars } from './commands/tars.ts';
import { addTimeline } from './commands/timeline.ts';
import { addTriggers } from './commands/triggers.ts';
import { addGate } from './commands/try-gate.ts';
import { addUp } from './commands/up.ts';
import { addViews } from './commands/views.ts';
import { addWebhooks } from './commands/webhook.ts';
import { exitCodeOfError, exitCodes, exitCodesHelp, printError } from './exit-codes.ts';

/** The whole of `cairn` as commander's tree. `finish` gets the exit code of the command that ran. */
export function buildProgram(cli: Cli, finish: (code: number) => void): Command {
  const program = new Command('cairn');
  program
    .description('Trains landmark-retrieval models and extracts features: submit runs, watch them, inspect their results.')
    .option(
      '--json',
      'machine-readable output: one JSON document on stdout (JSON lines for watch and logs), errors as problem documents on stderr',
    )
    .option('--no-color', 'no colour (also: NO_COLOR, or output that is not a terminal)')
    .option('--home <folder>', 'the home folder of `cairn up` (default: $CAIRN_HOME, else ~/.local/share/cairn)')
    .option('--url <address>', "the service's address (default: $CAIRN_URL, else the one that `cairn up` stored in the home folder)")
    .option('-V, --version', 'prints the version, as `cairn version` does')
    .on('option:version', () => {
      throw new VersionRequested();
    })
    .helpOption('-h, --help', 'shows this help')
    .addHelpCommand(new Command('help').argument('[command]').description('shows the help of a command').helpGroup('More:'))
    .configureHelp({ showGlobalOptions: true, sortSubcommands: false })
    .configureOutput({
      writeOut: (text) => cli.stdout.write(text),
      // runCli prints errors, in one format.
      writeErr: () => undefined,
      getOutHelpWidth: () => Math.min(120, cli.stdout.columns ?? 100),
      getOutHasColors: () => false,
    })
    .exitOverride()
    .showSuggestionAfterError(true)
    .addHelpText('after', exitCodesHelp())
    .addHelpText('after', 'The token comes from $CAIRN_TOKEN, else from the home folder. `cairn help COMMAND` says more.');

  const registrar: Registrar = {
    program,
    action: (run) =>
      async function (this: Command, ...args) {
        const code = await run(sessionOf(cli, this), ...args);
        finish(code ?? exitCodes.ok.code);
      },
  };

  program.commandsGroup('Runs:');
  addSubmit(registrar);
  addRunCommands(registrar);
  addShow(registrar);
  addViews(registrar);
  addLogs(registrar);
  addTimeline(registrar);
  addCheckpoints(registrar);
  addTensorBoard(registrar);
  addScheduleCommands(registrar);
  addTriggers(registrar);
  program.commandsGroup('Inputs and results of runs:');
  addCatalogueCommands(registrar);
  addAliasCommands(registrar);
  addGate(registrar);
  addWeights(registrar);
  addImport(registrar);
  addDatasets(registrar);
  addLists(registrar);
  addTars(registrar);
  addExtract(registrar);
  addFeatures(registrar);
  addEvaluate(registrar);
  addSearch(registrar);
  addScores(registrar);
  addCompare(registrar);
  addQueries(registrar);
  addDiff(registrar);
  addLineage(registrar);
  addMini(registrar);
  program.commandsGroup('The service:');
  addUp(registrar);
  addAttention(registrar);
  addServiceCommands(registrar);
  addRetention(registrar);
  addCosts(registrar);
  addTokens(registrar);
  addSecrets(registrar);
  addWebhooks(registrar);
  addCodeHosts(registrar);
  addAudit(registrar);
  program.commandsGroup('More:');
  addCompletion(registrar);
  return program;
}

/** Ends the parsing at `--version`: another command, or none, may be given with it. */
class VersionRequested extends Error {}

/** Runs `cairn` with its arguments (without node and script) and returns its exit code. Prints every error, throws none. */
export async function runCli(args: readonly string[], cli: Cli): Promise<number> {
  let code: number = exitCodes.ok.code;
  const program = buildProgram(cli, (given) => {
    code = given;
  });
  try {
    useProxies(cli.env);
    await program.parseAsync(helpOf(args), { from: 'user' });
    return code;
  } catch (error) {
    if (cli.signal.aborted && (error === cli.signal.reason || isAbort(error))) {
      if (!args.includes('--json')) cli.stderr.write('\n');
      return exitCodes.interrupted.code;
    }
    if (error instanceof VersionRequested) return runCli(['version', ...args.filter((arg) => arg === '--json')], cli);
    // Help was requested.
    if (error instanceof CommanderError && error.exitCode === 0) return exitCodes.ok.code;
    const shown = error instanceof CommanderError ? usageError(error, program, args) : error;
    printError(shown, {
      stderr: cli.stderr,
      isJson: args.includes('--json'),
      isColoured: cli.stderr.isTTY === true && !cli.env.NO_COLOR && !args.includes('--no-color'),
      isDebug: Boolean(cli.env.CAIRN_DEBUG),
    });
    return exitCodeOfError(shown);
  }
}

/** `help dataset add` as `dataset add --help`: Commander's own command takes one name. */
const helpOf = ([first, ...names]: readonly string[]): string[] =>
  first === 'help' && names.length > 1 ? [...names, '--help'] : first === undefined ? [] : [first, ...names];

function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError';
}

/** Commander's message as one of ours. It may have a suggestion on a separate line. */
function usageError(error: CommanderError, program: Command, args: readonly string[]): CairnError {
  let command = program;
  const names = args.filter((arg) => {
    const found = command.commands.find((other) => other.name() === arg);
    command = found ?? command;
    return found !== undefined;
  });
  const help = names.length === 0 ? '`cairn --help` lists the commands.' : `\`cairn ${names.join(' ')} --help\` shows its options.`;
  if (error.code === 'commander.help') return new CairnError('invalid_request', 'no command is given', { details: { remedy: help } });
  const [message = '', suggestion] = error.message.replace(/^error: /, '').split('\n');
  const remedy = suggestion === undefined ? help : `${suggestion.replace(/^\(|\)$/g, '')} ${help}`;
  return new CairnError('invalid_request', message, { details: { remedy } });
}
