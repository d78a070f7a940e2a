export { createAdmissionCache } from './admission-cache.ts';
export { type ApiDeps, buildApi } from './build-api.ts';
export { buildInternalApi, type InternalApiDeps } from './build-internal-api.ts';
export { createEventFeed, type EventFeed } from './events/feed.ts';
