import { commitText, type RunSource } from '@cairn/contract';

/** A commit, with a link to its page at the code host, which learns nothing about this one. */
export function Commit({ source }: { source: RunSource }) {
  const text = commitText(source);
  if (source.url === null) return text;
  return (
    <a href={source.url} target="_blank" rel="noopener noreferrer">
      {text}
    </a>
  );
}
