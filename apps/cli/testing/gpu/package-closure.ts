/** What package-lock.json says of one package, as far as it is needed here. */
export type LockedPackage = {
  link?: boolean;
  resolved?: string;
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
  peerDependencies?: Record<string, string>;
};

/**
 * The folders of all packages that the workspaces need to run, by the `packages` of package-lock.json: each name is looked for as
 * Node looks for it, in `node_modules` from the folder of the package that wants it upwards. What the lock does not have is left out.
 */
export function packageClosure(locked: Readonly<Record<string, LockedPackage>>, workspaces: readonly string[]): string[] {
  const found = new Set<string>();
  const open = [...workspaces];
  for (let folder = open.pop(); folder !== undefined; folder = open.pop()) {
    const entry = locked[folder];
    if (found.has(folder) || entry === undefined) continue;
    found.add(folder);
    if (entry.link === true && entry.resolved !== undefined) open.push(entry.resolved);
    const wanted = Object.keys({ ...entry.dependencies, ...entry.optionalDependencies, ...entry.peerDependencies });
    for (const name of wanted) {
      const place = placesAbove(folder)
        .map((above) => `${above}node_modules/${name}`)
        .find((path) => path in locked);
      if (place !== undefined) open.push(place);
    }
  }
  return [...found].sort();
}

/** `a/node_modules/b` is below itself, `a` and the root; each with the slash that follows it. */
function placesAbove(folder: string): string[] {
  const parts = folder.split('/node_modules/');
  const places = parts.map((_, index) => `${parts.slice(0, parts.length - index).join('/node_modules/')}/`);
  return [...places, ''];
}
