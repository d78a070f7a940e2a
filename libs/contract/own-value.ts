/** The value of a record's own key; undefined for what it has not, `constructor` and `toString` among them. */
export function ownValue<T>(record: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}
