import picocolors from 'picocolors';

type Paint = (text: string) => string;

/** The few ways to highlight text. Without colour each returns its text unchanged. */
export type Paints = { bold: Paint; dim: Paint; good: Paint; bad: Paint; warn: Paint; accent: Paint };
export type Style = Paints & { isColoured: boolean };

export function createStyle(isColoured: boolean): Style {
  const colours = picocolors.createColors(isColoured);
  return {
    isColoured,
    bold: colours.bold,
    dim: colours.dim,
    good: colours.green,
    bad: colours.red,
    warn: colours.yellow,
    accent: colours.cyan,
  };
}

export type Glyphs = {
  blocked: string;
  ready: string;
  active: readonly string[];
  succeeded: string;
  reused: string;
  failed: string;
  cancelled: string;
  barFull: string;
  barEmpty: string;
  arrow: string;
  dot: string;
  ellipsis: string;
};

const unicode: Glyphs = {
  blocked: '·',
  ready: '○',
  active: ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'],
  succeeded: '✔',
  reused: '↺',
  failed: '✖',
  cancelled: '⊘',
  barFull: '━',
  barEmpty: '─',
  arrow: '→',
  dot: '·',
  ellipsis: '…',
};

const ascii: Glyphs = {
  blocked: '.',
  ready: 'o',
  active: ['|', '/', '-', '\\'],
  succeeded: '+',
  reused: '=',
  failed: 'x',
  cancelled: '-',
  barFull: '#',
  barEmpty: '-',
  arrow: '->',
  dot: '-',
  ellipsis: '...',
};

/** Characters beyond ASCII only where the locale says that they can be shown (locale(7): LC_ALL over LC_CTYPE over LANG). */
export function glyphsFor(env: Readonly<Record<string, string | undefined>>): Glyphs {
  const locale = env.LC_ALL || env.LC_CTYPE || env.LANG;
  // Without any locale it is a container or CI, whose logs are UTF-8; the locales C and POSIX are ASCII by name.
  return locale === undefined || locale === '' || /utf-?8/i.test(locale) ? unicode : ascii;
}

/** The style of an output: its colours and the characters it can show. */
export type Look = { style: Style; glyphs: Glyphs };
