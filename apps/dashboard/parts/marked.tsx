/** A text whose names of settings, values and commands are in backquotes. */
export function Marked({ text }: { text: string }) {
  return text.split('`').map((part, index) => {
    // Every second part was in backquotes. The text never changes.
    const key = `${index}`;
    return index % 2 === 1 ? <code key={key}>{part}</code> : part;
  });
}
