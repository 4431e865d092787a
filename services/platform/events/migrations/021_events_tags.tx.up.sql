-- What the change made stale in the cache, and the mark that says so in Redis while it is under way: whoever relays the
-- event does again what the writer did, or may have died before (platform/cache).
ALTER TABLE events ADD COLUMN mark text, ADD COLUMN tags text[];
