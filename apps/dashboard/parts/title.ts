import { useEffect } from 'react';
import type { Look } from './looks.ts';

/** Names the tab after its page, with the state of what it shows in the title and the favicon: `Failed: mini-1 · Cairn`. */
export function useTitle(name: string, look?: Look): void {
  const state = look?.label;
  const colour = look?.colour;
  useEffect(() => {
    document.title = `${state === undefined ? '' : `${state}: `}${name} · Cairn`;
    const icon = document.querySelector<HTMLLinkElement>('link[rel="icon"]');
    const href = colour === undefined ? '/favicon.svg' : `/favicon-${colour}.svg`;
    if (icon !== null && icon.getAttribute('href') !== href) icon.setAttribute('href', href);
    return () => icon?.setAttribute('href', '/favicon.svg');
  }, [name, state, colour]);
}
