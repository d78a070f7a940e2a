import { isCairnError, safeName } from '@cairn/contract';
import { Argument } from 'commander';
import type { Registrar, Session } from '../cli.ts';
import { commandTree, completionScript, type NameKind, nameKinds, type Shell, shells } from '../completion/completion-scripts.ts';

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
