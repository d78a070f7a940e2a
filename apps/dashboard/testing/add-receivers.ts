import type { CairnClient } from '@cairn/client';

/** Adds a webhook `chat` for the ends of runs, and a code host `hub`. */
export async function addReceivers(client: CairnClient): Promise<void> {
  await client.addWebhook({ name: 'chat', url: 'https://chat.example.org/hook', events: ['run.ended'] });
  await client.addCodeHost({
    name: 'hub',
    provider: 'github',
    url: 'https://github.com',
    repositories: ['team/landmarks'],
    token: 'a-token-of-the-code-host',
  });
}
