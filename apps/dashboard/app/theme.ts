import { Button, type CSSVariablesResolver, createTheme, type MantineColorsTuple } from '@mantine/core';

/** Shades 6 (light) and 8 (dark) fill buttons with white text: both have a contrast of at least 4.5 with it. */
const teal: MantineColorsTuple = [
  '#e6f7f5',
  '#cdebe8',
  '#9dd7d1',
  '#6ac2b9',
  '#3fa99e',
  '#1d8f84',
  '#0f766e',
  '#0d6b64',
  '#0b5f59',
  '#084b46',
];

/** For what destroys something: white text on shade 6 has a contrast of 5.9. */
const red: MantineColorsTuple = [
  '#fdeaea',
  '#f9cfcf',
  '#f1a3a3',
  '#e67676',
  '#da5151',
  '#cf3b3b',
  '#c22f2f',
  '#a92727',
  '#8f2020',
  '#701818',
];

/** Mantine's dark shades, with the blue of the surfaces. */
const dark: MantineColorsTuple = [
  '#d3dae1',
  '#b6c0ca',
  '#8d99a6',
  '#66727f',
  '#3b4551',
  '#333c47',
  '#222933',
  '#14181d',
  '#101317',
  '#0b0e11',
];

export const theme = createTheme({
  primaryColor: 'teal',
  primaryShade: { light: 6, dark: 6 },
  colors: { teal, red, dark },
  fontFamily: 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif',
  fontFamilyMonospace: 'ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace',
  defaultRadius: 'sm',
  respectReducedMotion: true,
  components: {
    // One height for what stands in a row: buttons, menus and fields of the size `xs`.
    Button: Button.extend({ defaultProps: { size: 'compact-sm' } }),
  },
});

/** Mantine's own dimmed, placeholder and error colours have too little contrast for small text. */
export const cssVariables: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    '--mantine-color-dimmed': '#52606d',
    '--mantine-color-placeholder': '#5f6b78',
    '--mantine-color-error': '#b42318',
    '--mantine-color-anchor': '#0d6b64',
  },
  dark: {
    '--mantine-color-dimmed': '#a3afbb',
    '--mantine-color-placeholder': '#98a4b0',
    '--mantine-color-error': '#ff9a8f',
    '--mantine-color-anchor': '#5fd0c5',
  },
});
