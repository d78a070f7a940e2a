import { join } from 'node:path';
import { CairnError } from '@cairn/contract';
import { Command, CommanderError } from 'commander';
import { collect, wholeNumber } from '../commands/options.ts';
import { homeOf } from '../connection.ts';
import { exitCodesHelp } from '../exit-codes.ts';
import { parseSetOptions } from '../recipe/set-option.ts';

export type DemoOptions = {
  home: string;
  recipe: string;
  seed: number;
  set: Record<string, unknown>;
  /** Leaves the service running at the end. */
  isKept: boolean;
};

/**
 * The options of the demo; null when its help was requested and printed.
 *
 * @throws CairnError `invalid_request` or `invalid_setting`
 */
export function parseDemoOptions(args: readonly string[], env: Readonly<Record<string, string | undefined>>): DemoOptions | null {
  const command = new Command('npm run demo --')
    .description(
      'Makes a small landmark collection, trains four stages on it, extracts, searches and scores, all through the real service.',
    )
    .option('--keep', 'leaves the service running at the end, until Ctrl-C')
    .option('--seed <number>', 'seed of the generated collection', wholeNumber(0, 2 ** 31 - 1), 0)
    .option('--home <folder>', 'where everything is stored (default: the folder demo in $CAIRN_HOME, else in ~/.local/share/cairn)')
    .option('-s, --set <path=value>', 'overrides a setting, such as stages.512_all.epochs=1 (repeatable)', collect)
    .option(
      '--recipe <name>',
      'mini: minutes, and it learns; mini-resnet50: the same with a backbone of the reference; mini-submission: two models searched together; tiny: seconds, the same graph; or any other',
      'mini',
    )
    .exitOverride()
    .configureOutput({ writeErr: () => undefined })
    .addHelpText('after', exitCodesHelp());
  try {
    command.parse([...args], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return null;
    throw new CairnError('invalid_request', error.message.replace(/^error: /, ''), {
      details: { remedy: '`npm run demo -- --help` shows the options.' },
    });
  }
  const { keep, seed, home, set, recipe } = command.opts<{
    keep?: true;
    seed: number;
    home?: string;
    set?: string[];
    recipe: DemoOptions['recipe'];
  }>();
  return { home: home ?? join(homeOf(env, undefined), 'demo'), recipe, seed, set: parseSetOptions(set ?? []), isKept: keep === true };
}
