import { isCairnError, safeName } from '@cairn/contract';
import { Argument, type Command, type Option } from 'commander';
import type { Registrar, Session } from '../cli.ts';

const shells = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof shells)[number];

/** The completion script of a shell for the command tree; its first node is the program. */
function completionScript(shell: Shell, tree: readonly CompletionNode[]): string {
  switch (shell) {
    case 'bash':
      return bashScript(tree);
    case 'zsh':
      return zshScript(tree);
    case 'fish':
      return fishScript(tree);
  }
}

const keyOf = (node: CompletionNode): string => node.path.map((word) => ` ${word}`).join('');
const namesCall = (what: string): string => `$(cairn names ${what} 2>/dev/null)`;
const globalsOf = (tree: readonly CompletionNode[]): readonly CompletionOption[] => tree[0]?.options ?? [];

/** Patterns of a case over the commands that have been typed. */
function pathPatterns(tree: readonly CompletionNode[]): string {
  return tree
    .filter((node) => node.path.length > 0)
    .map((node) => `"${keyOf(node)}"`)
    .join('|');
}

function bashScript(tree: readonly CompletionNode[]): string {
  const values = tree.flatMap((node) =>
    optionsOf(node, tree)
      .filter((option) => option.takesValue)
      .map((option) => {
        const patterns = [option.name, option.short].flatMap((name) => (name === null ? [] : [`"${keyOf(node)}:${name}"`]));
        const words = option.names === null ? option.choices.join(' ') : namesCall(option.names);
        // No words: bash falls back to file names.
        return `    ${patterns.join('|')}) COMPREPLY=(${words === '' ? '' : `$(compgen -W "${words}" -- "$cur")`}); return ;;`;
      }),
  );
  const words = tree.map((node) => {
    const options = optionsOf(node, tree).map(({ name }) => name);
    const plain = [...node.commands.map(({ name }) => name), ...node.choices, ...(node.names === null ? [] : [namesCall(node.names)])];
    return `    "${keyOf(node)}") if [[ "$cur" == -* ]]; then words="${options.join(' ')}"; else words="${plain.join(' ')}"; fi ;;`;
  });
  return `# bash completion of cairn. Use it with: source <(cairn completion bash)
_cairn() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" prev="\${COMP_WORDS[COMP_CWORD-1]}" at="" words="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$at \${COMP_WORDS[i]}" in
      ${pathPatterns(tree)}) at="$at \${COMP_WORDS[i]}" ;;
    esac
  done
  case "$at:$prev" in
${values.join('\n')}
  esac
  case "$at" in
${words.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _cairn cairn
`;
}

function zshScript(tree: readonly CompletionNode[]): string {
  const entry = (name: string, description: string): string =>
    quote(description === '' ? name : `${name}:${description.replaceAll(':', '\\:')}`);
  const values = tree.flatMap((node) =>
    optionsOf(node, tree)
      .filter((option) => option.takesValue)
      .map((option) => {
        const patterns = [option.name, option.short].flatMap((name) => (name === null ? [] : [`"${keyOf(node)}:${name}"`]));
        const words = option.names === null ? option.choices.map(quote).join(' ') : `\${(f)"${namesCall(option.names)}"}`;
        return `    ${patterns.join('|')}) ${words === '' ? '_files' : `candidates=(${words}); _describe value candidates`}; return ;;`;
      }),
  );
  const words = tree.map((node) => {
    const options = optionsOf(node, tree).map(({ name, description }) => entry(name, description));
    const plain = [
      ...node.commands.map(({ name, description }) => entry(name, description)),
      ...node.choices.map(quote),
      ...(node.names === null ? [] : [`\${(f)"${namesCall(node.names)}"}`]),
    ];
    return `    "${keyOf(node)}") if [[ "$cur" == -* ]]; then candidates=(${options.join(' ')}); else candidates=(${plain.join(' ')}); fi ;;`;
  });
  return `#compdef cairn
# zsh completion of cairn. Use it with: source <(cairn completion zsh)
_cairn() {
  local cur="\${words[CURRENT]}" prev="\${words[CURRENT-1]}" at="" i
  local -a candidates
  for ((i = 2; i < CURRENT; i++)); do
    case "$at \${words[i]}" in
      ${pathPatterns(tree)}) at="$at \${words[i]}" ;;
    esac
  done
  case "$at:$prev" in
${values.join('\n')}
  esac
  case "$at" in
${words.join('\n')}
  esac
  if (( \${#candidates} )); then _describe cairn candidates; else _files; fi
}
compdef _cairn cairn
`;
}

function fishScript(tree: readonly CompletionNode[]): string {
  const lines = tree.flatMap((node) => {
    const condition = `-n ${quote(fishCondition(node))}`;
    const own = node.path.length === 0 ? [] : node.options;
    return [
      ...node.commands.map(({ name, description }) => `complete -c cairn ${condition} -f -a ${quote(name)} -d ${quote(description)}`),
      ...node.choices.map((choice) => `complete -c cairn ${condition} -f -a ${quote(choice)}`),
      ...(node.names === null ? [] : [`complete -c cairn ${condition} -f -a ${quote(`(cairn names ${node.names} 2>/dev/null)`)}`]),
      ...own.map((option) => `complete -c cairn ${condition} ${fishOption(option)}`),
    ];
  });
  return `# fish completion of cairn. Use it with: cairn completion fish | source
${globalsOf(tree)
  .map((option) => `complete -c cairn ${fishOption(option)}`)
  .join('\n')}
${lines.join('\n')}
`;
}

function fishOption(option: CompletionOption): string {
  const short = option.short === null ? '' : `-s ${option.short.replace('-', '')} `;
  const choices = option.names === null ? option.choices.join(' ') : `(cairn names ${option.names} 2>/dev/null)`;
  const value = option.takesValue ? (choices === '' ? ' -r' : ` -x -a ${quote(choices)}`) : '';
  return `${short}-l ${option.name.replace(/^--/, '')}${value} -d ${quote(option.description)}`;
}

/** True when the node's own words have been typed and none of its subcommands. */
function fishCondition({ path, commands }: CompletionNode): string {
  if (path.length === 0) return '__fish_use_subcommand';
  const typed = path.map((word) => `__fish_seen_subcommand_from ${word}`);
  const below = commands.map(({ name }) => name).join(' ');
  return [...typed, ...(below === '' ? [] : [`not __fish_seen_subcommand_from ${below}`])].join('; and ');
}

/** A command's own options and the global ones. */
function optionsOf(node: CompletionNode, tree: readonly CompletionNode[]): CompletionOption[] {
  const own = [...node.options];
  const names = new Set(own.map(({ name }) => name));
  return node.path.length === 0 ? own : [...own, ...globalsOf(tree).filter(({ name }) => !names.has(name))];
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

type CompletionOption = {
  /** Such as `--recipe`. */
  name: string;
  short: string | null;
  description: string;
  takesValue: boolean;
  choices: readonly string[];
  /** The kind of names that the service can list: see {@link nameKinds}. */
  names: NameKind | null;
};

type CompletionNode = {
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
const nameKinds = ['runs', 'recipes', 'datasets', 'models'] as const;
type NameKind = (typeof nameKinds)[number];

const namesOfArgument: Readonly<Record<string, NameKind>> = { run: 'runs', recipe: 'recipes', dataset: 'datasets' };
const namesOfCommand: Readonly<Record<string, NameKind>> = {
  'recipe show': 'recipes',
  'dataset show': 'datasets',
  models: 'models',
  compare: 'runs',
  diff: 'runs',
  lineage: 'runs',
};

/** Every visible command below `program`, itself first: the input of the completion scripts. */
function commandTree(program: Command, path: readonly string[] = []): CompletionNode[] {
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

export function addCompletion({ program, action }: Registrar): void {
  program
    .command('completion')
    .description("prints the shell's completion script: source <(cairn completion bash)")
    .addArgument(new Argument('<shell>', 'which shell').choices(shells))
    .action(
      action(async ({ ui }: Session, shell: Shell) => {
        ui.stdout.write(completionScript(shell, commandTree(program)));
        return undefined;
      }),
    );
  // Called by the scripts while a user types: no answer is better than a late one or an error.
  program.command('names', { hidden: true }).addArgument(new Argument('<kind>').choices(nameKinds)).action(action(printNames));
}

async function printNames({ ui, client, signal }: Session, kind: NameKind): Promise<undefined> {
  const limit = { signal: AbortSignal.any([signal, AbortSignal.timeout(2000)]), timeoutMs: 2000 };
  const fetchNames: Record<NameKind, () => Promise<string[]>> = {
    runs: async () => (await (await client()).listRuns({ limit: 50 }, limit)).items.map(({ name }) => name),
    recipes: async () => (await (await client()).listRecipes(limit)).items.map(({ name }) => name),
    datasets: async () => (await (await client()).listDatasets({ limit: 50 }, limit)).items.map(({ name }) => name),
    models: async () => (await (await client()).listModels({ limit: 50 }, limit)).items.map(({ name }) => name),
  };
  try {
    const names = new Set(await fetchNames[kind]());
    // The shells expand the words of a list: a name that contains more than a name would be executed.
    for (const name of names) if (safeName.safeParse(name).success) ui.stdout.write(`${name}\n`);
  } catch (error) {
    if (!isCairnError(error) && !limit.signal.aborted) throw error;
  }
  return undefined;
}
