import type { Command, Option } from 'commander';

export type CompletionOption = {
  /** Such as `--recipe`. */
  name: string;
  short: string | null;
  description: string;
  takesValue: boolean;
  choices: readonly string[];
  /** The kind of names that the service can list: see {@link nameKinds}. */
  names: NameKind | null;
};

export type CompletionNode = {
  /** Words after the program's name: `['dataset', 'add']`; empty for the program. */
  path: readonly string[];
  description: string;
  commands: readonly { name: string; description: string }[];
  options: readonly CompletionOption[];
  /** Choices of the first argument. */
  choices: readonly string[];
  /** The kind of names of the first argument. */
  names: NameKind | null;
};

/** What `cairn names` lists for completion. */
export const nameKinds = ['runs', 'recipes', 'datasets', 'models'] as const;
export type NameKind = (typeof nameKinds)[number];

const namesOfArgument: Readonly<Record<string, NameKind>> = { run: 'runs', recipe: 'recipes', dataset: 'datasets' };
const namesOfCommand: Readonly<Record<string, NameKind>> = {
  'recipe show': 'recipes',
  'dataset show': 'datasets',
  models: 'models',
  compare: 'runs',
};

/** Every visible command below `program`, itself first: the input of the completion scripts. */
export function commandTree(program: Command, path: readonly string[] = []): CompletionNode[] {
  const visible = program.createHelp().visibleCommands(program);
  const subcommands = visible.filter((command) => command.name() !== 'help');
  const argument = program.registeredArguments[0];
  const node: CompletionNode = {
    path,
    description: program.description(),
    commands: subcommands.map((command) => ({ name: command.name(), description: command.description() })),
    options: program.createHelp().visibleOptions(program).map(optionOf),
    choices: argument?.argChoices ?? [],
    names: namesOfCommand[path.join(' ')] ?? namesOfArgument[argument?.name() ?? ''] ?? null,
  };
  return [node, ...subcommands.flatMap((command) => commandTree(command, [...path, command.name()]))];
}

function optionOf(option: Option): CompletionOption {
  const name = option.long ?? option.short ?? '';
  return {
    name,
    short: option.short ?? null,
    description: option.description,
    takesValue: option.required,
    choices: option.argChoices ?? [],
    names: namesOfArgument[name.replace(/^--/, '')] ?? null,
  };
}
