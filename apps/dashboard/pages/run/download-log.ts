import type { CairnClient } from '@cairn/client';
import type { LogStream } from '@cairn/contract';

const pageBytes = 1024 * 1024;

/** Saves a whole log as a file, as the program wrote it. */
export async function downloadLog(client: CairnClient, log: { attemptId: string; stream: LogStream; name: string }): Promise<void> {
  const parts: Blob[] = [];
  for (let offset = 0; ; ) {
    const page = await client.readLog(log.attemptId, { stream: log.stream, offset, limit: pageBytes });
    // A Blob may lie on the disk; a long list of texts would fill the memory.
    if (page.text !== '') parts.push(new Blob([page.text]));
    if (page.end || page.nextOffset === offset) break;
    offset = page.nextOffset;
  }
  const address = URL.createObjectURL(new Blob(parts, { type: 'text/plain' }));
  const link = document.createElement('a');
  link.href = address;
  link.download = log.name;
  link.click();
  URL.revokeObjectURL(address);
}
